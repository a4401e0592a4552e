"""A rollout while it goes on: redrawn every second on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TextIO

from data import durations
from data.deployment import Plan
from data.verdict import Check, Outcome, Verdict
from deploy.fleet import state_of
from deploy.journal import Journal, Rollout
from deploy.judging import judge
from deploy.place import Place
from deploy.rollouts.progress import Progress
from deploy.rollouts.states import GONE, GONE_ADVICE, RUNNING

REDRAW_SECONDS = 1.0
#: Letters of a bar.
BAR = 20
FULL, EMPTY = "█", "░"
#: To the first of so many lines above, and everything from there on away.
_BACK = "\x1b[{}F\x1b[J"


@dataclass(frozen=True)
class Moment:
    """A rollout as the journal has it, unless nobody drives it any more.

    Attributes:
        rollout: of which.
        plan: that it goes by; None for a way back, which has none.
        progress: so far.
        verdict: of the last look, or None before the first.
    """

    rollout: Rollout
    plan: Plan | None
    progress: Progress
    verdict: Verdict | None

    @classmethod
    def of(cls, journal: Journal, place: Place, number: int) -> Moment:
        """Read it."""
        rollout, written, look = journal.rollout(number), journal.progress(number), journal.last(number, "look")
        assert rollout is not None, "it was under way"
        assert written is not None, "it is written with the rollout"
        if state_of(rollout, place) == GONE:
            rollout = replace(rollout, state=GONE, reason=GONE_ADVICE)
        return cls(
            rollout,
            Plan.model_validate(rollout.plan) if rollout.plan else None,
            Progress.read(written),
            Verdict.model_validate(look.about["verdict"]) if look else None,
        )

    @property
    def changes(self) -> tuple[object, ...]:
        """What is worth a line when it is another one."""
        checks = self.verdict.checks if self.verdict else ()
        told: list[tuple[str, str]] = [(check.name, check.outcome) for check in checks]
        if self.plan and self.verdict and self.progress.step >= 0:
            told.append(("doubt", _doubts(self.plan, self.progress, self.verdict)))
        return (self.rollout.state, self.progress.step, *told)


def line(plan: Plan, progress: Progress, verdict: Verdict) -> str:
    """Where a rollout stands."""
    seen, doubts = progress.sums(progress.candidate), _doubts(plan, progress, verdict)
    return (
        f"step {progress.step + 1} of {len(plan.steps)} ({plan.steps[progress.step]}): {seen.seen:,} requests, "
        f"{seen.errors:,} errors; {', '.join(f'{check.name} {check.outcome}' for check in verdict.checks)}"
        f"{f'; no more weight while there is doubt: {doubts}' if doubts else ''}"
    )


def picture(moment: Moment) -> list[str]:
    """The same at length: what is left of the step, and each check's evidence as a share of what it needs.

    Args:
        moment: the rollout.
    """
    rollout, plan, progress = moment.rollout, moment.plan, moment.progress
    lines = [f"{rollout.strategy} {rollout.id} of {rollout.candidate}: {rollout.state}{_why(rollout)}"]
    if plan is None or progress.step < 0:
        return [*lines, "  starting"] if rollout.ended is None else lines
    step, seen = plan.steps[progress.step], progress.sums(progress.candidate)
    left = durations.seconds(step.at_most) - progress.spent
    lines += [
        f"  step {progress.step + 1} of {len(plan.steps)}: {step}",
        f"  requests {_bar(seen.seen / step.requests)} {seen.seen:,} of {step.requests:,} wanted, {seen.errors:,} errors",
        f"  time     {_bar(1 - left / durations.seconds(step.at_most))} {_minutes(left)} left of {step.at_most}",
    ]
    if moment.verdict:
        doubts = _doubts(plan, progress, moment.verdict)
        if doubts and rollout.state == RUNNING:
            lines.append(f"  waits    no more weight while there is doubt: {doubts}")
        lines += ["", "  check     so far        evidence of harm                 evidence that there is none"]
        lines += [_check(check) for check in moment.verdict.checks]
    return lines


@dataclass
class Follower:
    """Shows a rollout until it ends.

    Attributes:
        journal: that it is in.
        place: of its deployment.
        out: where it is shown.
        sleep: waits, seconds.
    """

    journal: Journal
    place: Place
    out: TextIO
    sleep: Callable[[float], None] = time.sleep
    _drawn: int = field(default=0, init=False)
    _told: tuple[object, ...] = field(default=(), init=False)

    def follow(self, number: int) -> None:
        """Until it has ended; a pause is no end."""
        while True:
            moment = Moment.of(self.journal, self.place, number)
            self._show(moment)
            if moment.rollout.ended is not None:
                return
            self.sleep(REDRAW_SECONDS)

    def _show(self, moment: Moment) -> None:
        if self.out.isatty():
            columns = shutil.get_terminal_size().columns  # a line that wraps would be two to go back over
            lines = [text[: columns - 1] for text in picture(moment)]
            back = _BACK.format(self._drawn) if self._drawn else ""
            self.out.write(back + "\n".join(lines) + "\n")
            self._drawn = len(lines)
        elif moment.changes != self._told:
            self._told = moment.changes
            rollout, is_counting = moment.rollout, moment.plan and moment.verdict and moment.progress.step >= 0
            if rollout.ended is None and is_counting and rollout.state == RUNNING:
                assert moment.plan is not None, "it is counting"
                assert moment.verdict is not None, "it is counting"
                self.out.write(line(moment.plan, moment.progress, moment.verdict) + "\n")
            else:
                self.out.write(picture(moment)[0] + "\n")
        self.out.flush()


def _doubts(plan: Plan, progress: Progress, verdict: Verdict) -> str:
    """Checks that a step waits for, though it has had its requests; the last one waits for a pass."""
    is_open, is_last = verdict.outcome is Outcome.INCONCLUSIVE, progress.step == len(plan.steps) - 1
    if not is_open or is_last or progress.sums(progress.candidate).seen < plan.steps[progress.step].requests:
        return ""
    return ", ".join(check.name for check in judge.doubts(verdict))


def _check(check: Check) -> str:
    """Its evidence both ways: logarithms, as shares of the limits at which it fails and passes."""
    harm, harmless = (_evidence(check, name) for name in ("log_harm", "log_harmless"))
    return f"  {check.name:8}  {check.outcome:12}  {harm:31}  {harmless}".rstrip()


def _evidence(check: Check, name: str) -> str:
    numbers = check.numbers
    if name not in numbers:
        return ""
    share = max(0.0, numbers[name] / numbers[f"{name}_limit"])
    return f"{_bar(share)} {min(share, 9.99):4.0%}"


def _bar(share: float) -> str:
    full = round(BAR * max(0.0, min(1.0, share)))
    return FULL * full + EMPTY * (BAR - full)


def _why(rollout: Rollout) -> str:
    return f": {rollout.why}" if rollout.why else ""


def _minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
