"""A rollout: a candidate is brought to users by a plan while it is judged, and is promoted or rolled back in the end.

Each step is written to the journal before it is taken, and each can be taken twice without harm; so a rollout whose
command was killed goes on from where it was with `resume`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from data import durations
from data.deployment import Plan, Step
from data.errors import BentocastError
from data.rollout import Judgement
from data.verdict import Outcome, Verdict
from deploy import autoscale, live, versions
from deploy.answers import Answers
from deploy.faults import InstanceError, RolloutError, RouterError
from deploy.fleet import LOCK, Fleet
from deploy.journal import Rollout
from deploy.progress import Progress
from deploy.router.counters import Counters
from deploy.router.routing import WHOLE, Choice, Mirror
from deploy.versions import Version

#: So often the counters are read, and a verdict asked for.
COUNT_SECONDS = 0.5
#: Looks of a step are kept so many times as close as the step is long by then: enough for a picture.
LOOKS_KEPT = 200
#: After a change of weights, requests that were sent before it are given so long before anything is counted.
SETTLE_SECONDS = 1.0
#: A candidate that was just started is slow at first: its first requests do not count.
WARM_UP_SECONDS = 3.0
#: So often a person is told that nothing is new.
TELL_SECONDS = 5.0

PROMOTED, ROLLED_BACK, ENDED, PAUSED, RUNNING = "promoted", "rolled back", "ended", "paused", "running"
#: What may be asked of a rollout, and the state that it brings.
WISHES = {"pause": PAUSED, "promote": PROMOTED, "abort": ROLLED_BACK}
BACK = "rollback"
#: Why one is paused whose command was asked to end; one that was killed is still `running`.
INTERRUPTED = "interrupted"
GONE_BACK = "paused, users are back with the version before: go on with `resume`, or end it with `promote` or `abort`"
GO_ON = "paused, users stay where they are: go on with `resume`, or end it with `promote` or `abort`"


@dataclass
class Driver:
    """Drives one rollout to its end.

    Attributes:
        fleet: what is up.
        sleep: waits, seconds.
        now: seconds since 1970.
        clock: seconds that no change of the time of day touches.
    """

    fleet: Fleet
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    _told: tuple[object, float] = field(default=(None, 0.0), init=False)

    def begin(self, strategy: str, tag: str, plan: Plan) -> str:
        """Begin a rollout and drive it to its end.

        Args:
            strategy: name of the plan.
            tag: of the candidate.
            plan: that it goes by.

        Returns:
            How it ended: `promoted`, `rolled back`, `ended` or `paused`.

        Raises:
            BusyError: another rollout is under way.
            RolloutError: it cannot begin; nothing was changed.
        """
        with self.fleet.alone():
            number = self._write(strategy, tag, plan)
            self._retire_kept(tag)
            return self._drive(number)

    def back(self, tag: str | None) -> str:
        """Go back to an earlier version at once, without judging it.

        Args:
            tag: of its Bento; the version before the one that serves if None.

        Raises:
            BusyError: a rollout is under way: abort it, which leads back too.
            RolloutError: there is no such version.
        """
        with self.fleet.alone():
            number = self._write(BACK, tag or self._before(), None)
            return self._close(self._found(number), PROMOTED, "asked to go back")

    def resume(self) -> str:
        """Go on with the rollout that is under way.

        Raises:
            RolloutError: there is none.
            BusyError: another command drives it.
        """
        with self.fleet.alone():
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
        with self.fleet.alone():
            rollout = self._under_way()
            ending = self.fleet.journal.last(rollout.id, "ending")
            if ending and not (wish == "abort" and ending.about["state"] == PROMOTED):
                return self._drive(rollout.id)
            self.fleet.journal.wish(rollout.id, "")
            if wish == "pause":
                self.fleet.journal.set_state(rollout.id, PAUSED, "asked to pause")
                return PAUSED
            return self._close(rollout, WISHES[wish], f"asked to {wish}")

    def scale(self, many: int) -> None:
        """Have so many instances of the version that serves, whatever they have to do.

        Raises:
            BusyError: a command drives a rollout.
        """
        with self.fleet.alone():
            autoscale.stop(self.fleet)
            rollout = self.fleet.journal.under_way()
            if rollout:
                self._settle(rollout.id)
            stable = self.fleet.traffic().stable
            self.fleet.scale(self.fleet.version(stable), many)
            if rollout:  # which ends with as many
                progress = self._progress(rollout.id)
                progress.instances = many
                self.fleet.journal.keep(rollout.id, progress.written())

    def down(self) -> None:
        """Bring the deployment down, and with it the rollout that is under way.

        Raises:
            BusyError: a command drives it.
        """
        with self.fleet.alone():
            rollout = self.fleet.journal.under_way()
            if rollout:
                self.fleet.journal.end(rollout.id, ENDED, "the deployment was brought down", self.now())
            autoscale.stop(self.fleet)
            self.fleet.down()

    def _write(self, strategy: str, tag: str, plan: Plan | None) -> int:
        """Check that it can begin, and write it down."""
        fleet = self.fleet
        traffic = fleet.traffic()
        candidate = versions.take(fleet.place, tag)
        if candidate.name == traffic.stable:
            raise RolloutError(f"{candidate.tag} serves already")
        stable = fleet.of(traffic.stable)
        if not stable:
            raise RolloutError("the version that serves has no instance: see `python -m deploy status`")
        progress = Progress(traffic.stable, candidate.name, len(stable))
        written = fleet.plan.judged(plan).model_dump(mode="json") if plan else {}
        return fleet.journal.begin(strategy, stable[0].tag, candidate.tag, written, progress.written(), self.now())

    def _before(self) -> str:
        """Tag of the version before the one that serves."""
        serves = self.fleet.traffic().stable
        for rollout in self.fleet.journal.rollouts():
            if rollout.state == PROMOTED and rollout.stable and versions.name(rollout.candidate) == serves:
                return rollout.stable
        raise RolloutError("there is no version before the one that serves: see `python -m deploy history`")

    def _retire_kept(self, tag: str) -> None:
        """End what an earlier rollout kept for a way back, unless it is what comes now."""
        traffic = self.fleet.traffic()
        for version in {one.version for one in self.fleet.instances()} - {traffic.stable, versions.name(tag)}:
            self.fleet.retire(version)

    def _under_way(self) -> Rollout:
        rollout = self.fleet.journal.under_way()
        if rollout is None:
            raise RolloutError("no rollout is under way: see `python -m deploy history`")
        return rollout

    def _found(self, number: int) -> Rollout:
        rollout = self.fleet.journal.rollout(number)
        assert rollout is not None, "it was just written"
        return rollout

    def _progress(self, number: int) -> Progress:
        written = self.fleet.journal.progress(number)
        assert written is not None, "it is written with the rollout"
        return Progress.read(written)

    def _drive(self, number: int) -> str:
        """Go on from what the journal says, to the end; whatever is wrong, users stay with the stable version."""
        try:
            return self._driven(number)
        except (BentocastError, OSError):  # the journal or the disk is away: what was tried could not be written down
            self.fleet.retreat()
            raise

    def _driven(self, number: int) -> str:
        journal = self.fleet.journal
        self._settle(number)
        ending = journal.last(number, "ending")
        rollout = self._found(number)
        if ending:
            return self._end(rollout, ending.about["state"], ending.about["reason"])
        try:
            journal.set_state(number, RUNNING)
            state, reason = self._steps(rollout)
        except KeyboardInterrupt:
            journal.set_state(number, PAUSED, INTERRUPTED)
            self.fleet.say(GO_ON)
            raise
        except BentocastError as err:
            state, reason = ROLLED_BACK, err.message
        except OSError as err:  # the disk
            state, reason = ROLLED_BACK, str(err)
        except Exception as err:
            self._close(rollout, ROLLED_BACK, f"a fault of this program: {type(err).__name__}: {err}")
            raise
        if state == PAUSED:
            journal.set_state(number, PAUSED, reason)
            self.fleet.say(GONE_BACK if self._progress(number).held else GO_ON)
            self._over(number)
            state = WISHES.get(wish := self._found(number).wish, PAUSED)  # asked for while people were told
            if state == PAUSED:
                return PAUSED
            reason = f"asked to {wish}"
        return self._close(rollout, state, reason)

    def _settle(self, number: int) -> None:
        """Write down that users were brought back without the journal, if they were."""
        if self.fleet.router.has_retreated():
            self._hold(number, self._progress(number))
            self.fleet.back()

    def _steps(self, rollout: Rollout) -> tuple[str, str]:
        """Take the steps that are left: the state to end in, and why."""
        plan = Plan.model_validate(rollout.plan)
        progress = self._progress(rollout.id)
        begun = progress.step
        self.fleet.say(f"starting {rollout.candidate}")
        with self._compared(rollout, plan) as answers:
            for place in range(max(0, begun), len(plan.steps)):
                if place > begun:
                    progress.take(place, self.now(), copies=plan.steps[place].mirror is not None)
                ended = self._step(rollout, plan, progress, answers)
                if ended:
                    return ended
        reason = _short(progress.verdict(plan.steps, self._judgement(plan)))
        return (PROMOTED if plan.end == "promote" else ENDED), reason

    def _step(
        self, rollout: Rollout, plan: Plan, progress: Progress, answers: Answers | None
    ) -> tuple[str, str] | None:
        """One step: nothing if it is over and the next may come, or how the rollout ends (or pauses) here."""
        step = plan.steps[progress.step]
        self._enter(rollout, plan, progress)
        if plan.end == "stay" and progress.step == len(plan.steps) - 1:
            self.fleet.journal.keep(rollout.id, progress.written())
            return PAUSED, f"{step} as long as you like"
        last = self.clock()
        while True:
            self.sleep(COUNT_SECONDS)
            now = self.clock()
            progress.spent, last = progress.spent + now - last, now
            verdict = self._look(rollout, plan, progress, answers)
            wish = self._found(rollout.id).wish
            if wish:
                self.fleet.journal.wish(rollout.id, "")
                return WISHES[wish], f"asked to {wish}"
            if verdict.outcome in (Outcome.FAIL, Outcome.ERROR):  # what cannot be judged is not left with users
                return ROLLED_BACK, _short(verdict)
            if self._is_over(plan, progress, verdict):
                return None
            if progress.spent > durations.seconds(step.at_most):
                why = f"undecided after {step.at_most}: {_short(verdict)}"
                if plan.undecided == "rollback":
                    return ROLLED_BACK, why
                progress.spent = 0.0
                self._hold(rollout.id, progress)
                self.fleet.back()  # nobody judges until somebody goes on
                return PAUSED, f"users are back with {rollout.stable}; {why}"

    def _is_over(self, plan: Plan, progress: Progress, verdict: Verdict) -> bool:
        """Whether enough was seen for the next step; after the last one the verdict has to be a pass."""
        step = plan.steps[progress.step]
        if progress.sums(progress.candidate).seen < step.requests:
            return False
        if step.at_least is not None and progress.spent < durations.seconds(step.at_least):
            return False
        if step.mirror is not None and any(
            check.name == "answers" and check.outcome is not Outcome.PASS for check in verdict.checks
        ):
            return False  # no user gets an answer of a candidate that was not compared
        return verdict.passed or progress.step < len(plan.steps) - 1

    def _look(self, rollout: Rollout, plan: Plan, progress: Progress, answers: Answers | None) -> Verdict:
        """Read what came, judge it, and write both down."""
        step, judgement = plan.steps[progress.step], self._judgement(plan)
        reading = self._reading(step, progress)
        progress.add(reading)
        if progress.choose_edges(progress.sums(progress.stable), judgement):
            progress.count_from(reading)
        if answers:
            # Once users get the candidate, a record that is away for a while is no reason to take it back.
            with contextlib.suppress(*((RolloutError,) if step.mirror is None else ())):
                progress.answers = answers.look(progress.copied_until)
                progress.accuracy = answers.accuracy
        verdict = progress.verdict(plan.steps, judgement)
        sums = {name: progress.sums(name) for name in (progress.stable, progress.candidate)}
        shown = {
            "step": progress.step,
            "counts": {name: {"requests": one.seen, "errors": one.errors} for name, one in sums.items()},
            "verdict": verdict.model_dump(mode="json"),
        }
        self.fleet.journal.look(rollout.id, progress.written(), shown, self.now(), progress.spent / LOOKS_KEPT)
        self._tell(plan, progress, verdict)
        return verdict

    def _judgement(self, plan: Plan) -> Judgement:
        """As it was when the rollout began, for it stands in the journal with the plan."""
        return self.fleet.plan.judgement if plan.judgement is None else plan.judgement

    def _hold(self, number: int, progress: Progress) -> None:
        """What comes from here on, until somebody goes on, was not split as the step has it, and does not count."""
        progress.held = True
        self.fleet.journal.held(number, progress.written(), self.now())

    def _enter(self, rollout: Rollout, plan: Plan, progress: Progress) -> None:
        """Move traffic to where the step wants it, and begin (or go on) to count."""
        fleet, step = self.fleet, plan.steps[progress.step]
        if not progress.is_counting:
            before = fleet.router.counted([progress.stable]).values()
            progress.choose_edges(sum((one[progress.stable] for one in before), Counters()), self._judgement(plan))
            if not progress.has_begun:
                fleet.journal.step(rollout.id, progress.written(), step.model_dump(mode="json"), self.now())
        # As many as their share of requests takes, so that each of both versions has as much to do.
        many = max(1, math.ceil((step.weight or step.mirror or 0) * progress.instances))
        fleet.bring(versions.take(fleet.place, rollout.candidate), many)
        stable, candidate = progress.stable, progress.candidate
        parts = round((step.weight or 0) * WHOLE)
        fleet.move(
            weights={stable: WHOLE - parts, candidate: parts},
            mirror=Mirror(candidate, step.mirror) if step.mirror else None,
            choices=(Choice(step.header.name, step.header.value, candidate),) if step.header else (),
        )
        if plan.replace and step.weight:
            fleet.scale(fleet.version(stable), max(1, progress.instances - many))
        if not progress.is_counting:
            self.sleep(SETTLE_SECONDS if progress.counted else WARM_UP_SECONDS)
            progress.count_from(self._reading(step, progress))

    @contextmanager
    def _compared(self, rollout: Rollout, plan: Plan) -> Iterator[Answers | None]:
        """What compares answers if requests are copied and there is a record of them.

        It is there to the end, since actual values come later than answers.
        """
        url = self.fleet.record_url()
        if url is None or not any(step.mirror for step in plan.steps):
            yield None
            return
        assert rollout.stable is not None, "there is a version before it"
        answers = Answers(url, rollout.stable, rollout.candidate, rollout.began)
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

    def _tell(self, plan: Plan, progress: Progress, verdict: Verdict) -> None:
        """A line when something is new, and every few seconds."""
        said = (progress.step, verdict.outcome)
        if said == self._told[0] and self.now() - self._told[1] < TELL_SECONDS:
            return
        self._told = (said, self.now())
        self.fleet.say(live.line(plan, progress, verdict))

    def _close(self, rollout: Rollout, state: str, reason: str) -> str:
        """Write down how it ends, then end it."""
        self.fleet.journal.add(rollout.id, "ending", {"state": state, "reason": reason}, self.now())
        return self._end(rollout, state, reason)

    def _end(self, rollout: Rollout, state: str, reason: str) -> str:
        """Bring users to where they are to stay, then end the other version; may be done twice.

        A candidate that cannot be brought to all users is taken back. A version before that does not get all of its
        instances back serves with those that it has.
        """
        fleet, progress = self.fleet, self._progress(rollout.id)
        assert rollout.stable is not None, "there is a version before it"
        keep = bool(rollout.plan) and Plan.model_validate(rollout.plan).keep
        stays, goes = rollout.stable, rollout.candidate
        if state == PROMOTED:
            stays, goes = goes, stays
        version = versions.take(fleet.place, stays)
        serves = any(not one.fault for one in fleet.of(version.name))
        if state != PROMOTED and serves:  # back at once, then whole again
            fleet.move(version.name, stable=version.name, weights={version.name: WHOLE}, mirror=None, choices=())
        try:
            self._bring(version, progress.instances, needed=state == PROMOTED or not serves)
            fleet.move(stable=version.name, weights={version.name: WHOLE}, mirror=None, choices=())
        except (InstanceError, RouterError) as err:
            if state != PROMOTED:
                raise
            return self._close(rollout, ROLLED_BACK, err.message)
        if not (keep and state == PROMOTED):
            fleet.retire(versions.name(goes))
        fleet.journal.end(rollout.id, state, reason, self.now())
        self._over(rollout.id)
        return state

    def _bring(self, version: Version, many: int, *, needed: bool) -> None:
        """So many instances; if they are not needed, fewer are told of."""
        try:
            self.fleet.bring(version, many)
        except InstanceError as err:
            if needed:
                raise
            self.fleet.say(f"{version.name} has fewer instances than before: {err.message}")

    def _over(self, number: int) -> None:
        """Tell people: here, in a report, by the webhook, and in MLflow. None of it may undo what was done."""
        from deploy import (
            notify,
            report,
            tracked,
        )  # matplotlib takes a second to import, and nobody waits for it before

        fleet, rollout = self.fleet, self._found(number)
        fleet.say(f"{rollout.candidate} {rollout.state}: {rollout.reason}")
        page = None
        try:
            page = report.write(report.Story.of(fleet.journal, rollout), fleet.place.reports)
            fleet.say(f"report: {page}")
        except Exception as err:
            fleet.say(f"no report: {type(err).__name__}: {err}")
        notify.tell(rollout, fleet.say)
        if page is not None and rollout.ended is not None:
            tracked.log(rollout, page, fleet.say)


def _short(verdict: Verdict) -> str:
    """What decided: the checks with the verdict's outcome, or that all passed."""
    if verdict.passed:
        return f"all of {len(verdict.checks)} checks passed"
    deciding = [check.text for check in verdict.checks if check.outcome is verdict.outcome]
    return f"{verdict.outcome}: {'; '.join(deciding)}"
