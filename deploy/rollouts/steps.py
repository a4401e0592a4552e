"""The steps of a rollout: traffic is moved to where each wants it, and what comes of it is counted and judged.

Each step is written to the journal before it is taken, and each can be taken twice without harm.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from data import durations
from data.deployment import Plan, Step
from data.rollout import Judgement
from data.verdict import Outcome, Verdict
from deploy import versions
from deploy.faults import AskedError, InstanceError, RolloutError
from deploy.fleet import Fleet
from deploy.journal import Rollout
from deploy.judging import judge
from deploy.judging.answers import Answers
from deploy.rollouts import live
from deploy.rollouts.progress import Progress
from deploy.rollouts.states import ENDED, PAUSED, PROMOTED, ROLLED_BACK, WISHES
from deploy.router.counters import Counters
from deploy.router.routing import WHOLE, Choice, Mirror
from deploy.versions import Version

#: So often the counters are read, and a verdict asked for.
COUNT_SECONDS = 0.5
#: Looks of a step are kept so many times as close as the step is long by then: enough for a picture.
LOOKS_KEPT = 200
#: After a change of weights, requests that were sent before it are given so long before anything is counted.
SETTLE_SECONDS = 1.0
#: What was just started is slow at first: the first requests do not count.
WARM_UP_SECONDS = 3.0
#: Instances that a plan took from the version before are waited for so long before users go back to it.
WHOLE_SECONDS = 30.0
#: So often a person is told that nothing is new.
TELL_SECONDS = 5.0


@dataclass
class Clock:
    """Time, as the steps of a rollout see it.

    Attributes:
        sleep: waits, seconds.
        now: seconds since 1970.
        monotonic: seconds that no change of the time of day touches.
    """

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


@dataclass
class Steps:
    """Takes the steps of one rollout.

    Attributes:
        fleet: what is up.
        rollout: which.
        plan: its own.
        progress: what was seen so far.
        clock: of it all.
    """

    fleet: Fleet
    rollout: Rollout
    plan: Plan
    progress: Progress
    clock: Clock
    _answers: Answers | None = field(default=None, init=False)
    _told: tuple[object, float] = field(default=(None, 0.0), init=False)
    _has_entered: bool = field(default=False, init=False)

    @classmethod
    def of(cls, fleet: Fleet, rollout: Rollout, clock: Clock) -> Steps:
        """Those of a rollout, from what the journal says of it."""
        return cls(fleet, rollout, Plan.model_validate(rollout.plan), recall(fleet, rollout.id), clock)

    def take(self) -> tuple[str, str]:
        """Take the steps that are left: the state to end in, and why.

        Raises:
            BentocastError: one could not be taken.
        """
        plan, progress = self.plan, self.progress
        begun = progress.step
        self.fleet.say(f"starting {self.rollout.candidate}")
        with self._comparing():
            for place in range(max(0, begun), len(plan.steps)):
                if place > begun:
                    step, now = plan.steps[place], self.clock.now()
                    progress.take(place, now, copies=step.mirror is not None)
                    self.fleet.journal.step(self.rollout.id, progress.written(), step.model_dump(mode="json"), now)
                try:
                    ended = self._take()
                except AskedError as err:
                    return WISHES[err.wish], err.message
                if ended:
                    return ended
        return (PROMOTED if plan.end == "promote" else ENDED), _short(progress.verdict(plan.steps, self._judgement))

    @property
    def _step(self) -> Step:
        return self.plan.steps[self.progress.step]

    @property
    def _judgement(self) -> Judgement:
        """As it was when the rollout began, for it stands in the journal with the plan."""
        return self.fleet.plan.judgement if self.plan.judgement is None else self.plan.judgement

    def _take(self) -> tuple[str, str] | None:
        """One step: nothing if it is over and the next may come, or how the rollout ends (or pauses) here."""
        plan, progress, journal, number = self.plan, self.progress, self.fleet.journal, self.rollout.id
        step = self._step
        self._enter()
        if plan.end == "stay" and progress.step == len(plan.steps) - 1:
            journal.keep(number, progress.written())
            return PAUSED, f"{step} as long as you like"
        last = self.clock.monotonic()
        while True:
            self.clock.sleep(COUNT_SECONDS)
            now = self.clock.monotonic()
            progress.spent, last = progress.spent + now - last, now
            if any(one.fault for one in self.fleet.of(progress.baseline)):
                self._enter()  # which brings another
            verdict = self._look()
            self._heed()
            if verdict.outcome in (Outcome.FAIL, Outcome.ERROR):  # what cannot be judged is not left with users
                return ROLLED_BACK, _short(verdict)
            if self._is_over(verdict):
                return None
            if progress.spent > durations.seconds(step.at_most):
                return self._undecided(f"undecided after {step.at_most}: {_short(verdict)}")

    def _undecided(self, why: str) -> tuple[str, str]:
        if self.plan.undecided == "rollback":
            return ROLLED_BACK, why
        fleet, progress = self.fleet, self.progress
        progress.spent = 0.0
        make_whole(fleet, self.plan, fleet.version(progress.stable), progress.instances)
        hold(fleet, self.rollout.id, progress, self.clock.now())
        fleet.back()  # nobody judges until somebody goes on
        return PAUSED, f"users are back with {self.rollout.stable}; {why}"

    def _heed(self) -> None:
        """Do what somebody asks for before anything else.

        Raises:
            AskedError: somebody does.
        """
        wish = self.fleet.journal.wished(self.rollout.id)
        if wish:
            self.fleet.journal.wish(self.rollout.id, "")
            raise AskedError(wish)

    def _is_over(self, verdict: Verdict) -> bool:
        """Whether enough was seen for the next step, without a doubt; after the last one the verdict has to be a pass."""
        step, progress = self._step, self.progress
        if progress.sums(progress.candidate).seen < step.requests:
            return False
        if step.at_least is not None and progress.spent < durations.seconds(step.at_least):
            return False
        if step.mirror is not None and any(
            check.name == "answers" and check.outcome is not Outcome.PASS for check in verdict.checks
        ):
            return False  # no user gets an answer of a candidate that was not compared
        return judge.is_enough(verdict, is_last=progress.step == len(self.plan.steps) - 1)

    def _look(self) -> Verdict:
        """Read what came, judge it, and write both down."""
        step, progress = self._step, self.progress
        reading = self._reading()
        progress.add(reading)
        if progress.choose_edges(progress.sums(progress.stable), self._judgement):
            progress.count_from(reading)
        if self._answers:
            # Once users get the candidate, a record that is away for a while is no reason to take it back.
            with contextlib.suppress(*((RolloutError,) if step.mirror is None else ())):
                progress.answers = self._answers.look(progress.copied_until)
                progress.accuracy = self._answers.accuracy
        verdict = progress.verdict(self.plan.steps, self._judgement)
        sums = {name: progress.sums(name) for name in (progress.stable, progress.candidate)}
        shown = {
            "step": progress.step,
            "counts": {name: {"requests": one.seen, "errors": one.errors} for name, one in sums.items()},
            "verdict": verdict.model_dump(mode="json"),
        }
        every = progress.spent / LOOKS_KEPT
        self.fleet.journal.look(self.rollout.id, progress.written(), shown, self.clock.now(), every)
        self._tell(verdict)
        return verdict

    def _enter(self) -> None:
        """Move traffic to where the step wants it, and begin to count: what came while no command looked does not."""
        fleet, step, progress = self.fleet, self._step, self.progress
        stable, candidate = progress.stable, progress.candidate
        before = fleet.router.counted([stable]).values()
        progress.choose_edges(sum((one[stable] for one in before), Counters()), self._judgement)
        many = needed(step, progress.instances)
        parts = round((step.weight or 0) * WHOLE)
        weights = {stable: WHOLE - parts, candidate: parts}
        compared = [versions.take(fleet.place, self.rollout.candidate)]
        known = {one.name for one in fleet.instances()} if self._has_entered else set()
        fleet.bring(compared[0], many, self._heed)
        if self.plan.has_baseline(step):
            compared.append(replace(fleet.version(stable), name=progress.baseline))
            self._bring_baseline(compared[1], many)
            weights = {stable: WHOLE - 2 * parts, progress.baseline: parts, candidate: parts}
        header = self.plan.header(step)
        choices = (Choice(header.name, header.value, candidate),) if header else ()
        is_warm = known >= {one.name for version in compared for one in fleet.of(version.name)}
        self._heed()  # nobody is moved on after it
        fleet.move(
            weights=weights,
            mirror=Mirror(candidate, step.mirror) if step.mirror else None,
            choices=choices,
        )
        for one in choices:
            fleet.say(f"who sends {header} gets {self.rollout.candidate}: {one.curl(fleet.address)}")
        if progress.baseline not in weights and fleet.of(progress.baseline):
            fleet.retire(progress.baseline)
        if step.weight or step.mirror:
            for version in compared:  # there may be more of a step before, or of what was kept up
                if len(fleet.of(version.name)) > many:
                    fleet.scale(version, many)
        if self.plan.replace and step.weight:
            fleet.scale(fleet.version(stable), left(progress.instances, many))
        self.clock.sleep(SETTLE_SECONDS if is_warm else WARM_UP_SECONDS)
        progress.count_from(self._reading())
        self._has_entered = True

    def _bring_baseline(self, version: Version, many: int) -> None:
        try:
            self.fleet.bring(version, many, self._heed)
        except InstanceError as err:
            raise InstanceError(
                f"the baseline of {version.tag}, which the candidate is compared with, does not get ready: `baseline: false` "
                f"in the plan does without. {err.message}"
            ) from err

    @contextmanager
    def _comparing(self) -> Iterator[None]:
        """Answers are compared if requests are copied and there is a record of them.

        To the end, since actual values come later than answers.
        """
        url, rollout = self.fleet.record_url(), self.rollout
        if url is None or not any(step.mirror for step in self.plan.steps):
            yield
            return
        assert rollout.stable is not None, "there is a version before it"
        self._answers = Answers(url, rollout.stable, rollout.candidate, rollout.began)
        try:
            yield
        finally:
            self._answers.close()

    def _reading(self) -> dict[int, dict[str, Counters]]:
        router, progress = self.fleet.router, self.progress
        if self._step.mirror is None:
            beside = [progress.baseline] if self.plan.has_baseline(self._step) else []
            return router.counted([progress.stable, *beside, progress.candidate])
        answered = router.counted([progress.stable])
        copied = router.counted([progress.candidate], mirrored=True)
        return {port: {**answered[port], **copied[port]} for port in answered}

    def _tell(self, verdict: Verdict) -> None:
        """A line when something is new, and every few seconds."""
        said, now = (self.progress.step, verdict.outcome), self.clock.monotonic()
        if said == self._told[0] and now - self._told[1] < TELL_SECONDS:
            return
        self._told = (said, now)
        self.fleet.say(live.line(self.plan, self.progress, verdict))


def recall(fleet: Fleet, number: int) -> Progress:
    """What the journal says was seen of a rollout."""
    written = fleet.journal.progress(number)
    assert written is not None, "it is written with the rollout"
    return Progress.read(written)


def hold(fleet: Fleet, number: int, progress: Progress, now: float) -> None:
    """What comes from here on, until somebody goes on, was not split as the step has it, and does not count."""
    progress.held = True
    fleet.journal.held(number, progress.written(), now)


def needed(step: Step, instances: int) -> int:
    """Instances of the candidate: as many as its share of requests takes, so that each of both versions has as much to do."""
    return max(1, math.ceil((step.weight or step.mirror or 0) * instances))


def left(instances: int, many: int) -> int:
    """Instances of the version before that stay where so many of the candidate replace them."""
    return max(1, instances - many)


def make_whole(fleet: Fleet, plan: Plan, version: Version, many: int) -> None:
    """Give the version before the instances back that the plan replaced, before all users are: those left cannot take them.

    A candidate that fails has users meanwhile, so what does not come soon is not waited for.
    """
    if not plan.replace:
        return
    late = time.monotonic() + WHOLE_SECONDS

    def in_time() -> None:
        if time.monotonic() > late:
            raise InstanceError(f"others were not ready within {WHOLE_SECONDS:.0f} s")

    try:
        fleet.bring(version, many, in_time)
    except InstanceError as err:
        fleet.say(f"{version.name} takes all users back with fewer instances than before: {err.message}")


def _short(verdict: Verdict) -> str:
    """What decided: the checks with the verdict's outcome, or that all passed."""
    if verdict.passed:
        return f"all of {len(verdict.checks)} checks passed"
    deciding = [check.text for check in verdict.checks if check.outcome is verdict.outcome]
    return f"{verdict.outcome}: {'; '.join(deciding)}"
