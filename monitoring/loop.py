"""The loop: a failing test asks for a new model, and it is brought to users if it shows that it is one to ship.

new data -> training -> the gate -> a Bento -> approval -> shadow and canary -> champion, or a stop with the reason.
Each step is written to the ledger before it is taken, and each can be taken twice without harm, so a loop that was
killed goes on from where it was, and a step that could not be taken is tried again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from data import durations
from data.errors import BentocastError
from data.monitoring import Loop as Settings
from data.verdict import Outcome, Verdict
from deploy.rollouts.states import PAUSED, PROMOTED, RUNNING
from monitoring.faults import RefusedError, StopError, WaitError
from monitoring.ledger import AWAY, HEALED, REFUSED, STOPPED, WAITING, Ledger, Retraining

#: A wait between retrainings that came to nothing grows with each, up to so many times the first.
LONGEST_COOLDOWN = 16
#: Users may have the model: whatever is away, nothing but a decision ends a retraining here.
WITH_USERS = {"rollout", "crown"}
#: What goes on with a rollout that has not ended.
GOES_ON = {
    PAUSED: "`python -m deploy resume`, `promote` or `abort`",
    RUNNING: "the loop goes on when nobody drives it",
}
#: Of a test that looks at more than the model, the checks that a new one mends; of others, all.
MENDED: Mapping[str, frozenset[str]] = {"staleness": frozenset({"table", "features", "training", "model"})}

About = dict[str, Any]


class Steps(Protocol):
    """What the loop does to the world; each may be done twice.

    Raises:
        StopError: the retraining has to stop here, with the reason.
        WaitError: somebody has to decide, or to end what he does.
        BentocastError: of any other kind, or an OSError: something is away, and the step is to be taken later.
    """

    def fetch(self) -> None:
        """Bring new data."""

    def train(self) -> str:
        """Train on it, register the model, and ask the gate: the version's number in the registry, if it passed."""

    def build(self, version: str) -> str:
        """Import a version and build it: the Bento's tag."""

    def proposed(self, retraining: Retraining) -> None:
        """Tell people that a Bento waits for their word."""

    def approved(self, retraining: Retraining) -> bool | None:
        """What the webhook says of it, or None if it has not decided."""

    def rollout(self, tag: str, since: float) -> tuple[str, str]:
        """Bring a Bento to users, or go on with that: how it ended (as in `deploy.rollouts.states`), and why."""

    def crown(self, version: str, tag: str, reason: str) -> None:
        """Make a version the champion, if its Bento still serves."""

    def told(self, retraining: Retraining) -> None:
        """Tell people how it ended."""


@dataclass
class Loop:
    """Drives retrainings, one at a time.

    Attributes:
        settings: when, and how.
        ledger: of them.
        steps: how each step is taken.
        say: tells a person what goes on.
        now: seconds since 1970.
    """

    settings: Settings
    ledger: Ledger
    steps: Steps
    say: Callable[[str], None]
    now: Callable[[], float]

    def turn(self, verdicts: Mapping[str, Verdict], trained_until: float | None = None) -> Retraining | None:
        """Go on with the retraining that is under way, or begin one if a test asks for it, or its time has come.

        Args:
            verdicts: of the tests, by name.
            trained_until: when the data that the model was trained on ended, seconds since 1970, if that is known.

        Returns:
            The retraining as it stands now, or None if there is nothing to do.
        """
        under_way = self.ledger.under_way()
        if under_way is None:
            reason = self.reason(verdicts, trained_until)
            if not reason:
                return None
            left = self.cooling()
            if left > 0:
                self.say(f"{reason}: the next retraining may begin in {durations.name(math.ceil(left))}")
                return None
            under_way = self.ledger.begin(reason, "fetch", self.now())
            self.say(f"retraining {under_way.id}: {reason}")
        return self._drive(under_way)

    def begin(self, reason: str) -> Retraining:
        """Begin one because somebody asks for it, whatever the tests say, and drive it.

        Args:
            reason: that person's.

        Raises:
            LoopError: one is under way.
        """
        return self._drive(self.ledger.begin(reason, "fetch", self.now()))

    def reason(self, verdicts: Mapping[str, Verdict], trained_until: float | None = None) -> str:
        """Why a model is to be made anew, or nothing."""
        asked = asks(verdicts, self.settings.tests)
        if asked or self.settings.schedule is None or trained_until is None:
            return asked
        late = self.now() - trained_until > durations.seconds(self.settings.schedule)
        return f"schedule: the model's data ended more than {self.settings.schedule} ago" if late else ""

    def cooling(self) -> float:
        """Seconds until a retraining may begin; models in a row that were not ones to ship make it longer."""
        past = self.ledger.all()
        if not past or past[0].ended is None:
            return 0.0
        since = itertools.takewhile(lambda one: one.state != HEALED, past)
        vain = sum(REFUSED in one.about for one in since)
        pause = durations.seconds(self.settings.cooldown) * min(LONGEST_COOLDOWN, 2.0 ** min(vain, LONGEST_COOLDOWN))
        return max(0.0, past[0].ended + pause - self.now())

    def _drive(self, retraining: Retraining) -> Retraining:
        try:
            self._steps(retraining)
        except WaitError as err:
            self._wait(self._now_at(retraining), err.message)
        except StopError as err:
            self._end(retraining, STOPPED, err.message, {REFUSED: True} if isinstance(err, RefusedError) else {})
        except BentocastError as err:
            self._later(self._now_at(retraining), err.message)
        except OSError as err:
            self._later(self._now_at(retraining), f"{err}: make room on the disk, or mend what this names")
        return self._now_at(retraining)

    def _wait(self, retraining: Retraining, why: str, away: About | None = None) -> None:
        if (retraining.state, retraining.why) != (WAITING, why):
            self.say(f"retraining {retraining.id} waits: {why}")
        self.ledger.wait(retraining.id, why, _found(retraining) | (away or {}))

    def _later(self, retraining: Retraining, why: str) -> None:
        """What the step needs is away: it is tried again, and given up after a while if users cannot have the model yet."""
        since, longest = retraining.about.get(AWAY, self.now()), self.settings.at_most
        if retraining.step not in WITH_USERS and self.now() - since > durations.seconds(longest):
            self._end(retraining, STOPPED, f"{retraining.step}: {why}; it was tried for {longest}")
        else:
            self._wait(retraining, f"{retraining.step}: {why}; it is tried again", {AWAY: since})

    def _now_at(self, retraining: Retraining) -> Retraining:
        return next(one for one in self.ledger.all() if one.id == retraining.id)

    def _steps(self, retraining: Retraining) -> None:
        about, steps = _found(retraining), self.steps
        step = retraining.step
        if step == "fetch":
            steps.fetch()
            step = self._next(retraining, "train", about)
        if step == "train":
            about["version"] = steps.train()
            step = self._next(retraining, "build", about)
        if step == "build":
            about["bento"] = steps.build(about["version"])
            step = self._next(retraining, "approve", about)
        if step == "approve":
            self._approve(self._now_at(retraining))
            step = self._next(retraining, "rollout", about)
        if step == "rollout":
            state, why = steps.rollout(about["bento"], retraining.began)
            if state in GOES_ON:
                raise WaitError(f"the rollout of {about['bento']} is {state} ({why}): {GOES_ON[state]}")
            if state != PROMOTED:
                raise RefusedError(f"{about['bento']} {state}: {why}")
            step = self._next(retraining, "crown", about | {"rollout": why})
        if step == "crown":
            steps.crown(about["version"], about["bento"], retraining.reason)
            self._end(retraining, HEALED, f"{about['bento']} serves")

    def _next(self, retraining: Retraining, step: str, about: About) -> str:
        self.ledger.step(retraining.id, step, about)
        self.say(f"retraining {retraining.id}: {step}")
        return step

    def _approve(self, retraining: Retraining) -> None:
        """Go on at once, or once somebody has said so."""
        if self.settings.approval == "none":
            return
        said: bool | None = {"approve": True, "reject": False}.get(retraining.wish)
        if said is None and self.settings.approval == "webhook":
            said = self.steps.approved(retraining)
        if said is None:
            if retraining.state != "waiting":
                self.steps.proposed(retraining)
            raise WaitError(
                f"{retraining.about['bento']} waits for approval: `python -m monitoring approve`, or `reject`"
            )
        if not said:
            raise RefusedError(f"{retraining.about['bento']} was rejected")

    def _end(self, retraining: Retraining, state: str, why: str, said: About | None = None) -> None:
        """Told before it is written: a version that was taken back, and is not marked so, would be tried again."""
        now, last = self.now(), self._now_at(retraining)
        about = _found(last) | (said or {})
        self.steps.told(replace(last, state=state, why=why, ended=now, about=about))
        self.ledger.end(retraining.id, state, why, now, about)
        self.say(f"retraining {retraining.id} {state}: {why}")


def _found(retraining: Retraining) -> About:
    """What the steps found out."""
    return {name: value for name, value in retraining.about.items() if name != AWAY}


def asks(verdicts: Mapping[str, Verdict], tests: tuple[str, ...]) -> str:
    """Which tests ask for a new model, and what they say; nothing if none does.

    Only a failing check asks, and only one that a new model mends: a test that could not be run, or saw too little, says
    nothing about the model.
    """
    failing = {name: _failing(name, verdicts[name]) for name in tests if name in verdicts}
    return "; ".join(f"{name}: {', '.join(texts)}" for name, texts in failing.items() if texts)


def _failing(test: str, verdict: Verdict) -> list[str]:
    mended = MENDED.get(test)
    failing = [check for check in verdict.checks if check.outcome is Outcome.FAIL]
    return [check.text for check in failing if mended is None or check.name in mended]
