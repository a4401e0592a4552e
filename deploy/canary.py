"""A canary: traffic moves to the candidate step by step while it is judged, and is promoted or rolled back in the end.

Each step is written to the journal before it is taken, and each can be taken twice without harm; so a rollout whose
command was killed goes on from where it was with `resume`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from data import durations
from data.deployment import Canary, Step
from data.errors import BentocastError
from data.verdict import Outcome, Verdict
from deploy import counts, judge, versions
from deploy.counts import Phase, Split
from deploy.faults import RolloutError
from deploy.fleet import Fleet
from deploy.journal import Rollout
from deploy.meter import Meter
from deploy.router.counters import Counters
from deploy.router.routing import WHOLE, Mirror
from deploy.versions import Version

LOCK = "rollout"
#: So often the counters are read, and a verdict asked for.
LOOK_SECONDS = 0.5
#: After a change of weights, requests that were sent before it are given so long before anything is counted.
SETTLE_SECONDS = 1.0
#: Latencies of the stable version that say where to compare.
FEWEST_TIMES = 200

PROMOTED, ROLLED_BACK, PAUSED, RUNNING = "promoted", "rolled back", "paused", "running"


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
    told: str = field(default="", init=False)

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
        fleet, journal = self.fleet, self.fleet.journal
        plan = Canary.model_validate(rollout.plan)
        candidate = versions.take(fleet.place, rollout.candidate)
        last = journal.last(rollout.id, "step")
        first = last.about["step"] if last else 0
        fleet.say(f"starting {candidate.tag}")
        fleet.bring(candidate, 1)
        verdict: Verdict | None = None
        for place in range(first, len(plan.steps)):
            begun = last is not None and place == first
            if not begun:
                journal.add(rollout.id, "step", {"step": place}, self.now())
            outcome = self._step(rollout, plan, place, candidate, begun=begun)
            if isinstance(outcome, tuple):
                return outcome
            verdict = outcome
        assert verdict is not None, "a plan has a step"
        return PROMOTED, str(verdict)

    def _step(
        self, rollout: Rollout, plan: Canary, place: int, candidate: Version, *, begun: bool
    ) -> Verdict | tuple[str, str]:
        """One step: its last verdict, or how the rollout ends (or pauses) here."""
        journal, step = self.fleet.journal, plan.steps[place]
        meter = self._enter(rollout, step, place, candidate, begun=begun)
        began = self.now() if not begun else self._begun_at(rollout)
        last_step = place == len(plan.steps) - 1
        while True:
            self.sleep(LOOK_SECONDS)
            meter.add(self._reading(candidate, step))
            journal.add(rollout.id, "counts", {"step": place, **meter.written()}, self.now())
            verdict = self._judge(rollout, plan, candidate)
            self._tell(place, plan, candidate, meter, verdict)
            wish = self._found(rollout.id).wish
            if wish:
                return self._wished(rollout, wish)
            if verdict.outcome is Outcome.FAIL:
                return ROLLED_BACK, str(verdict)
            enough = meter.sums.get(candidate.name, Counters()).seen >= step.requests
            took = self.now() - began
            long_enough = step.at_least is None or took >= durations.seconds(step.at_least)
            if enough and long_enough and (verdict.passed or not last_step) and verdict.outcome is not Outcome.ERROR:
                return verdict
            if took > durations.seconds(step.at_most):
                why = f"undecided after {step.at_most}: {verdict}"
                return (ROLLED_BACK, why) if plan.undecided == "rollback" else (PAUSED, why)

    def _wished(self, rollout: Rollout, wish: str) -> tuple[str, str]:
        self.fleet.journal.wish(rollout.id, "")
        states = {"pause": PAUSED, "promote": PROMOTED, "abort": ROLLED_BACK}
        return states[wish], f"asked to {wish}"

    def _enter(self, rollout: Rollout, step: Step, place: int, candidate: Version, *, begun: bool) -> Meter:
        """Move traffic to where the step wants it, and begin (or go on) to count."""
        fleet, journal = self.fleet, self.fleet.journal
        stable = fleet.traffic().stable
        if step.mirror is not None:
            fleet.move(weights={stable: WHOLE}, mirror=Mirror(candidate.name, step.mirror))
        else:
            assert step.weight is not None, "a step has one or the other"
            self._choose_edges(rollout, place, stable)
            parts = round(step.weight * WHOLE)
            fleet.move(weights={stable: WHOLE - parts, candidate.name: parts}, mirror=None)
        before = journal.last(rollout.id, "counts")
        if begun and before and before.about["step"] == place:
            return Meter.read(before.about)
        self.sleep(SETTLE_SECONDS)
        meter = Meter()
        meter.zero(self._reading(candidate, step))
        return meter

    def _begun_at(self, rollout: Rollout) -> float:
        step = self.fleet.journal.last(rollout.id, "step")
        assert step is not None, "it was begun"
        return step.at

    def _reading(self, candidate: Version, step: Step) -> dict[int, dict[str, Counters]]:
        stable = self.fleet.traffic().stable
        if step.mirror is None:
            return self.fleet.router.counted([stable, candidate.name])
        answered = self.fleet.router.counted([stable])
        copied = self.fleet.router.counted([candidate.name], mirrored=True)
        return {port: {**answered[port], **copied[port]} for port in answered}

    def _judge(self, rollout: Rollout, plan: Canary, candidate: Version) -> Verdict:
        """On all steps with a weight so far."""
        stable = self.fleet.traffic().stable
        newest: dict[int, Meter] = {}
        edges: tuple[float, ...] = ()
        since = 0
        for event in self.fleet.journal.events(rollout.id):
            if event.kind == "counts":
                newest[event.about["step"]] = Meter.read(event.about)
            elif event.kind == "edges":
                edges, since = tuple(event.about["edges"]), event.about["step"]
        phases = [
            _phase(
                weight,
                meter.sums.get(candidate.name, Counters()),
                meter.sums.get(stable, Counters()),
                timed=bool(edges) and place >= since,
            )
            for place, meter in sorted(newest.items())
            if (weight := plan.steps[place].weight) is not None
        ]
        return judge.judge(phases, edges, self.fleet.plan.judgement)

    def _choose_edges(self, rollout: Rollout, place: int, stable: str) -> None:
        """Choose where latencies are compared, from what the stable version took before this step."""
        if self.fleet.journal.last(rollout.id, "edges"):
            return
        counted = sum((one[stable] for one in self.fleet.router.counted([stable]).values()), Counters())
        over, timed = counted.over(), counted.within.get(float("inf"), 0)
        if timed < FEWEST_TIMES:
            return
        edges = counts.edges(over, timed, self.fleet.plan.judgement.slowness.excluded_steps)
        self.fleet.journal.add(rollout.id, "edges", {"step": place, "edges": edges}, self.now())

    def _tell(self, place: int, plan: Canary, candidate: Version, meter: Meter, verdict: Verdict) -> None:
        step = plan.steps[place]
        share = f"mirror {step.mirror:.0%}" if step.mirror is not None else f"weight {step.weight:.0%}"
        seen = meter.sums.get(candidate.name, Counters())
        text = f"step {place + 1} of {len(plan.steps)} ({share}): {seen.seen:,} requests, {seen.errors:,} errors"
        line = f"{text}, {verdict.outcome}"
        if line != self.told:
            self.told = line
            self.fleet.say(line)

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


def _phase(weight: float, canary: Counters, stable: Counters, *, timed: bool) -> Phase:
    over_canary, over_stable = canary.over(), stable.over()
    edges = over_canary.keys() & over_stable.keys() if timed else set()
    return Phase(
        weight=weight,
        requests=Split(canary.seen, stable.seen),
        errors=Split(canary.errors, stable.errors),
        over={edge: Split(over_canary[edge], over_stable[edge]) for edge in sorted(edges)},
    )
