"""The steps of a retraining, as the commands that people type: dvc, bentoml, `python -m training`, `python -m deploy`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from data import store
from data.errors import RegistryError, SourceError
from data.params import Params
from data.verdict import Verdict
from deploy import journals, versions
from deploy.fleet import LOCK
from deploy.journal import Journal, Rollout
from deploy.place import Place
from deploy.rollouts import notify
from deploy.rollouts.states import INTERRUPTED, PAUSED, RUNNING
from monitoring import child
from monitoring.faults import LoopError, RefusedError, StopError, WaitError
from monitoring.ledger import REFUSED, Retraining
from training import registry, tracking

WEBHOOK, APPROVAL = "MONITORING_WEBHOOK", "MONITORING_APPROVAL_URL"
#: Tag of a version in MLflow: how its rollout ended.
ROLLOUT = "rollout"
TIMEOUT_SECONDS = 10.0
#: With which a command of ours ends where something is away, which may be back soon.
AWAY = {SourceError.exit_code, RegistryError.exit_code}


@dataclass(frozen=True)
class Commands:
    """Steps in the project's folder.

    Attributes:
        params: the configuration.
        file: that it was read from.
        place: of the deployment.
        log: file that commands print to.
        say: tells a person what goes on.
    """

    params: Params
    file: Path
    place: Place
    log: Path
    say: Callable[[str], None]

    def fetch(self) -> None:
        """Run the user's command, if there is one; its arguments and what it prints may hold secrets, and go to the log."""
        command = self.params.monitoring.loop.fetch
        if not command:
            return
        code, _ = self._run(*command, at_most=self.params.monitoring.loop.at_most)
        if code:
            raise LoopError(
                f"monitoring.loop.fetch: `{child.shown(command)}` ended with {code}: the reason is in {self.log}"
            )

    def train(self) -> str:
        """`dvc repro`, and what the gate said."""
        self._must(_beside("dvc"), "repro")
        told = json.loads(store.PROMOTE.read_text(encoding="utf-8"))
        number, verdict = str(told["version"]), Verdict.model_validate(told["verdict"])
        if not verdict.passed:
            raise RefusedError(f"version {number} did not pass the gate: {verdict}")
        tracking.connect()
        name = self.params.promote.experiment
        champion = registry.alias(name, registry.CHAMPION)
        before = registry.version(name, number).tags.get(ROLLOUT)
        if before or (champion and champion.number == number):
            raise StopError(
                f"the table holds nothing new: version {number} is what it gives, and that "
                + (f"was tried: {before}" if before else "is the champion")
            )
        return number

    def build(self, version: str) -> str:
        """`python -m training import` and `bentoml build`."""
        self._must(sys.executable, "-m", "training", "--params", str(self.file), "import", "--alias", "challenger")
        labels = self._must(sys.executable, "-m", "training", "labels").split()
        if f"mlflow_version={version}" not in labels:
            raise StopError(f"the challenger is not version {version} any more: somebody trained another one meanwhile")
        told = self._must(_beside("bentoml"), "build", "-o", "tag", *labels)
        return told.strip().rpartition("__tag__:")[2]

    def proposed(self, retraining: Retraining) -> None:
        """Tell the webhook."""
        self._tell(retraining, "waits for approval: `python -m monitoring approve`, or `reject`")

    def approved(self, retraining: Retraining) -> bool | None:
        """Ask the address in MONITORING_APPROVAL_URL: JSON with `approved` true, false or null."""
        url = os.environ.get(APPROVAL)
        if not url:
            raise StopError(f"monitoring.loop.approval is webhook, but {APPROVAL} is not set: nobody can approve")
        try:
            answer = requests.post(url, json=_about(retraining), timeout=TIMEOUT_SECONDS)
            answer.raise_for_status()
            said = answer.json()["approved"]
        except (requests.RequestException, ValueError, KeyError, TypeError) as err:  # the address may hold a secret
            self.say(f"the address in {APPROVAL} gave no decision: {type(err).__name__}")
            return None
        return said if isinstance(said, bool) else None

    def rollout(self, tag: str, since: float) -> tuple[str, str]:
        """`python -m deploy canary`, or `resume` of what was begun, and killed or interrupted with the loop."""
        child.end_left(self._mark)
        begun, how = self._rollout(tag, since), "another command drives it"
        if begun is None:
            self._wait_for_others()
            how = self._canary(tag)
        elif self._is_left(begun):
            how = self._deploy("resume")
        found = self._rollout(tag, since)
        if found is None:
            self._wait_for_others()  # who came first
            raise StopError(f"the rollout of {tag} did not begin: {how}")
        return found.state, how if found.state == RUNNING else found.why

    def _canary(self, tag: str) -> str:
        with tempfile.TemporaryDirectory(prefix="bentocast-") as folder:
            plan = Path(folder) / "plan.yaml"
            chosen = self.params.monitoring.loop.rollout.model_dump(mode="json", exclude_unset=True)
            plan.write_text(yaml.safe_dump(chosen), encoding="utf-8")
            return self._deploy("canary", tag, "--plan", str(plan))

    def _deploy(self, *arguments: str) -> str:
        """How a command on a rollout ended; the rollout has limits of its own, and the command none."""
        code, told = self._run(sys.executable, "-m", "deploy", "--params", str(self.file), *arguments)
        return f"its command ended with {code}: {child.end(told)}"

    def _is_left(self, rollout: Rollout) -> bool:
        """Whether its command was killed or interrupted, and nobody else has gone on with it."""
        interrupted = rollout.state == RUNNING or (rollout.state, rollout.why) == (PAUSED, INTERRUPTED)
        return interrupted and not self.place.is_held(LOCK)

    def _wait_for_others(self) -> None:
        """There can be one rollout, and one command that changes the fleet.

        Raises:
            WaitError: there is.
        """
        with self._journal() as journal:
            other = journal.under_way()
        if other:
            raise WaitError(
                f"{other.strategy} of {other.candidate} is under way ({other.state}), and there can be one rollout: "
                "the loop goes on when that has ended"
            )
        if self.place.is_held(LOCK):
            raise WaitError("another command changes the deployment: the loop goes on when that has ended")

    def _rollout(self, tag: str, since: float) -> Rollout | None:
        """The rollout of a Bento since then."""
        with self._journal() as journal:
            return next((one for one in journal.rollouts() if one.candidate == tag and one.began >= since), None)

    def _journal(self) -> contextlib.closing[Journal]:
        return contextlib.closing(journals.of(self.place))

    def crown(self, version: str, tag: str, reason: str) -> None:
        """The version that serves is the champion, and says how it came there."""
        with self._journal() as journal:
            serves = journal.state().get("stable")
        if serves is None:
            raise WaitError(f"{tag} was promoted, and nothing is up: `python -m deploy up {tag}`")
        if serves != versions.name(tag):
            raise RefusedError(
                f"{tag} was promoted and does not serve any more, {serves} does: somebody went back meanwhile"
            )
        tracking.connect()
        chosen = registry.version(self.params.promote.experiment, version)
        registry.promote(chosen, {ROLLOUT: "promoted", "promoted_because": f"its rollout; {reason}"[:4_000]})

    def told(self, retraining: Retraining) -> None:
        """Tell the webhook, and the registry if a version was rejected or taken back; what serves stays the champion.

        A version that was stopped for another reason, for want of disk say, may be tried again.
        """
        version = retraining.about.get("version")
        if version and REFUSED in retraining.about:
            tracking.connect()
            registry.tag(registry.version(self.params.promote.experiment, version), {ROLLOUT: retraining.why[:4_000]})
        self._tell(retraining, f"{retraining.state}: {retraining.why}")

    def _tell(self, retraining: Retraining, text: str) -> None:
        notify.post(WEBHOOK, _about(retraining) | {"text": f"retraining {retraining.id} {text}"}, self.say)

    def _must(self, *command: str) -> str:
        code, told = self._run(*command, at_most=self.params.monitoring.loop.at_most)
        if code:
            fault = LoopError if child.of_stage(code, told) in AWAY else StopError
            raise fault(f"`{child.shown(command)}` ended with {code}: {child.end(told)}; all of it is in {self.log}")
        return told

    def _run(self, *command: str, at_most: str | None = None) -> tuple[int, str]:
        """Exit code and words of a command, as `monitoring.child.run` says."""
        return child.run(command, self._mark, self.log, at_most)

    @property
    def _mark(self) -> str:
        return str(self.place.folder)


def _about(retraining: Retraining) -> dict[str, Any]:
    return {
        "retraining": retraining.id,
        "reason": retraining.reason,
        "state": retraining.state,
        "why": retraining.why,
        **retraining.about,
    }


def _beside(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).with_name(name))
