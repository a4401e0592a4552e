"""A canary: traffic moves to the candidate step by step while it is judged, and is promoted or rolled back in the end.

Each step is written to the journal before it is taken, and each can be taken twice without harm; so a rollout whose
command was killed goes on from where it was with `resume`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from data import durations
from data.deployment import Canary, Step
from data.errors import BentocastError
from data.verdict import Outcome, Verdict
from deploy import versions
from deploy.answers import Answers
from deploy.faults import RolloutError
from deploy.fleet import Fleet
from deploy.journal import Rollout
from deploy.meter import Meter
from deploy.progress import Progress
from deploy.router.counters import Counters
from deploy.router.routing import WHOLE, Mirror

LOCK = "rollout"
#: So often the counters are read, and a verdict asked for.
LOOK_SECONDS = 0.5
#: After a change of weights, requests that were sent before it are given so long before anything is counted.
SETTLE_SECONDS = 1.0
#: So often a person is told that nothing is new.
TELL_SECONDS = 5.0

PROMOTED, ROLLED_BACK, PAUSED, RUNNING = "promoted", "rolled back", "paused", "running"
#: What may be asked of a rollout, and the state that it brings.
WISHES = {"pause": PAUSED, "promote": PROMOTED, "abort": ROLLED_BACK}


@dataclass
class Driver:
    """Drives one rollout to its end.

    Attributes:
        fleet: what is up.
        sleep: waits, seconds.
        now: seconds since 1970.
    """

    fleet: Fleet
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    told: tuple[object, float] = field(default=(None, 0.0), init=False)

    def begin(self, tag: str, plan: Canary) -> str:
        """Begin a rollout and drive it to its end.

        Args:
            tag: of the candidate.
            plan: that it goes by.

        Returns:
            How it ended: `promoted`, `rolled back` or `paused`.

        Raises:
            BusyError: another rollout is under way.
            RolloutError: it cannot begin; nothing was changed.
        """
        fleet = self.fleet
        traffic = fleet.traffic()
        candidate = versions.take(fleet.place, tag)
        if candidate.name == traffic.stable:
            raise RolloutError(f"{tag} serves already")
        stable = fleet.of(traffic.stable)
        if not stable:
            raise RolloutError("the version that serves has no instance: see `python -m deploy status`")
        with self._alone():
            number = fleet.journal.begin(
                "canary", stable[0].tag, candidate.tag, plan.model_dump(mode="json"), self.now()
            )
            return self._drive(number)

    def resume(self) -> str:
        """Go on with the rollout that is under way; does no harm if there is none to go on with.

        Raises:
            RolloutError: there is none.
            BusyError: another command drives it.
        """
        with self._alone():
            rollout = self._under_way()
            self.fleet.journal.wish(rollout.id, "")
            return self._drive(rollout.id)

    def ask(self, wish: str) -> str:
        """Ask something of the rollout that is under way: of the command that drives it, or do it here.

        Args:
            wish: `pause`, `promote` or `abort`.
        """
        rollout = self._under_way()
        self.fleet.journal.wish(rollout.id, wish)
        if self.fleet.place.is_held(LOCK):
            return f"asked the command that drives rollout {rollout.id} to {wish}"
        with self._alone():
            return self._drive(rollout.id)

    def _alone(self) -> AbstractContextManager[None]:
        return self.fleet.place.held(LOCK, "another command drives the rollout: see `python -m deploy status`")

    def _under_way(self) -> Rollout:
        rollout = self.fleet.journal.under_way()
        if rollout is None:
            raise RolloutError("no rollout is under way: see `python -m deploy history`")
        return rollout

    def _drive(self, number: int) -> str:
        """Go on from what the journal says, to the end; whatever is wrong, users stay with the stable version."""
        journal = self.fleet.journal
        ending = journal.last(number, "ending")
        rollout = self._found(number)
        if ending:
            return self._end(rollout, ending.about["state"], ending.about["reason"])
        try:
            journal.set_state(number, RUNNING)
            state, reason = self._steps(rollout)
        except KeyboardInterrupt:
            journal.set_state(number, PAUSED, "interrupted")
            raise
        except BentocastError as err:
            state, reason = ROLLED_BACK, err.message
        except Exception as err:
            self._close(rollout, ROLLED_BACK, f"a fault of this program: {type(err).__name__}: {err}")
            raise
        if state == PAUSED:
            journal.set_state(number, PAUSED, reason)
            self.fleet.say(f"paused: {reason}; go on with `resume`, or end it with `promote` or `abort`")
            return PAUSED
        return self._close(rollout, state, reason)

    def _close(self, rollout: Rollout, state: str, reason: str) -> str:
        self.fleet.journal.add(rollout.id, "ending", {"state": state, "reason": reason}, self.now())
        return self._end(rollout, state, reason)

    def _found(self, number: int) -> Rollout:
        rollout = self.fleet.journal.rollout(number)
        assert rollout is not None, "it was just written"
        return rollout

    def _steps(self, rollout: Rollout) -> tuple[str, str]:
        """Take the steps that are left: the state to end in, and why."""
        fleet = self.fleet
        plan = Canary.model_validate(rollout.plan)
        candidate = versions.take(fleet.place, rollout.candidate)
        kept = fleet.journal.progress(rollout.id)
        progress = Progress.read(kept) if kept else Progress(fleet.traffic().stable, candidate.name)
        fleet.say(f"starting {candidate.tag}")
        fleet.bring(candidate, 1)
        began = progress.step
        for place in range(max(0, began), len(plan.steps)):
            if place > began:
                progress.step, progress.began = place, self.now()
            ended = self._step(rollout, plan, progress)
            if ended:
                return ended
        return PROMOTED, _short(progress.verdict(plan.steps, fleet.plan.judgement))

    def _step(self, rollout: Rollout, plan: Canary, progress: Progress) -> tuple[str, str] | None:
        """One step: nothing if it is over and the next may come, or how the rollout ends (or pauses) here."""
        step = plan.steps[progress.step]
        self._enter(rollout, step, progress)
        with self._compared(rollout, step, progress) as answers:
            while True:
                self.sleep(LOOK_SECONDS)
                verdict = self._look(rollout, plan, progress, answers)
                wish = self._found(rollout.id).wish
                if wish:
                    self.fleet.journal.wish(rollout.id, "")
                    return WISHES[wish], f"asked to {wish}"
                if verdict.outcome is Outcome.FAIL:
                    return ROLLED_BACK, _short(verdict)
                if self._is_over(plan, progress, verdict):
                    return None
                if self.now() - progress.began > durations.seconds(step.at_most):
                    why = f"undecided after {step.at_most}: {_short(verdict)}"
                    return (ROLLED_BACK if plan.undecided == "rollback" else PAUSED), why

    def _is_over(self, plan: Canary, progress: Progress, verdict: Verdict) -> bool:
        """Whether enough was seen for the next step; after the last one the verdict has to be a pass."""
        step = plan.steps[progress.step]
        if progress.here.seen < step.requests or verdict.outcome is Outcome.ERROR:
            return False
        if step.at_least is not None and self.now() - progress.began < durations.seconds(step.at_least):
            return False
        if step.mirror is not None and any(
            check.name == "answers" and check.outcome is not Outcome.PASS for check in verdict.checks
        ):
            return False  # no user gets an answer of a candidate that was not compared
        return verdict.passed or progress.step < len(plan.steps) - 1

    def _look(self, rollout: Rollout, plan: Canary, progress: Progress, answers: Answers | None) -> Verdict:
        """Read what came, judge it, and write both down."""
        progress.meters[progress.step].add(self._reading(plan.steps[progress.step], progress))
        if answers:
            progress.answers = answers.look()
        verdict = progress.verdict(plan.steps, self.fleet.plan.judgement)
        shown = {
            "step": progress.step,
            "counts": {
                name: {"requests": counted.seen, "errors": counted.errors}
                for name, counted in progress.meters[progress.step].sums.items()
            },
            "verdict": verdict.model_dump(mode="json"),
        }
        self.fleet.journal.look(rollout.id, progress.written(), shown, self.now())
        self._tell(plan, progress, verdict)
        return verdict

    def _enter(self, rollout: Rollout, step: Step, progress: Progress) -> None:
        """Move traffic to where the step wants it, and begin (or go on) to count."""
        fleet = self.fleet
        begun = progress.step in progress.meters
        if not begun:
            before = self.fleet.router.counted([progress.stable]).values()
            progress.choose_edges(sum((one[progress.stable] for one in before), Counters()), fleet.plan.judgement)
            fleet.journal.step(rollout.id, progress.written(), step.model_dump(mode="json"), self.now())
        if step.mirror is not None:
            fleet.move(weights={progress.stable: WHOLE}, mirror=Mirror(progress.candidate, step.mirror))
        else:
            assert step.weight is not None, "a step has one or the other"
            parts = round(step.weight * WHOLE)
            fleet.move(weights={progress.stable: WHOLE - parts, progress.candidate: parts}, mirror=None)
        if not begun:
            self.sleep(SETTLE_SECONDS)
            progress.meters[progress.step] = Meter()
            progress.meters[progress.step].zero(self._reading(step, progress))

    @contextmanager
    def _compared(self, rollout: Rollout, step: Step, progress: Progress) -> Iterator[Answers | None]:
        """What compares answers while requests are copied, if there is a record of them."""
        url = self.fleet.record_url()
        if step.mirror is None or url is None:
            yield None
            return
        assert rollout.stable is not None, "a canary has a version before it"
        answers = Answers(url, rollout.stable, rollout.candidate, progress.began)
        try:
            yield answers
        finally:
            answers.close()

    def _reading(self, step: Step, progress: Progress) -> dict[int, dict[str, Counters]]:
        if step.mirror is None:
            return self.fleet.router.counted([progress.stable, progress.candidate])
        answered = self.fleet.router.counted([progress.stable])
        copied = self.fleet.router.counted([progress.candidate], mirrored=True)
        return {port: {**answered[port], **copied[port]} for port in answered}

    def _tell(self, plan: Canary, progress: Progress, verdict: Verdict) -> None:
        """A line when something is new, and every few seconds."""
        step, seen = plan.steps[progress.step], progress.here
        share = f"copies of {step.mirror:.0%}" if step.mirror is not None else f"weight {step.weight:.0%}"
        said = (progress.step, verdict.outcome)
        if said == self.told[0] and self.now() - self.told[1] < TELL_SECONDS:
            return
        self.told = (said, self.now())
        self.fleet.say(
            f"step {progress.step + 1} of {len(plan.steps)} ({share}): {seen.seen:,} requests, {seen.errors:,} errors; "
            f"{', '.join(f'{check.name} {check.outcome}' for check in verdict.checks)}"
        )

    def _end(self, rollout: Rollout, state: str, reason: str) -> str:
        """Bring users to where they are to stay, then end the other version; may be done twice."""
        fleet = self.fleet
        candidate = versions.take(fleet.place, rollout.candidate)
        assert rollout.stable is not None, "a canary has a version before it"
        before = versions.take(fleet.place, rollout.stable)
        if state == PROMOTED:
            fleet.bring(candidate, max(1, len(fleet.of(before.name))))
            fleet.move(stable=candidate.name, weights={candidate.name: WHOLE}, mirror=None)
            fleet.retire(before.name)
        else:
            fleet.move(stable=before.name, weights={before.name: WHOLE}, mirror=None)
            fleet.retire(candidate.name)
        fleet.journal.end(rollout.id, state, reason, self.now())
        fleet.say(f"{rollout.candidate} {state}: {reason}")
        return state


def _short(verdict: Verdict) -> str:
    """What decided: the checks with the verdict's outcome, or that all passed."""
    if verdict.passed:
        return f"all of {len(verdict.checks)} checks passed"
    deciding = [check.text for check in verdict.checks if check.outcome is verdict.outcome]
    return f"{verdict.outcome}: {'; '.join(deciding)}"
