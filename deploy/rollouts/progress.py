"""What a rollout has seen so far: what was counted in each phase, edges, answers compared; journaled at each look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from data.deployment import Step
from data.rollout import Judgement
from data.verdict import Outcome, Verdict
from deploy import versions
from deploy.judging import counts, judge
from deploy.judging.counts import Pairs, Phase, Split
from deploy.rollouts.meter import Meter, Reading
from deploy.router.counters import Counters
from deploy.router.routing import WHOLE

#: Latencies of the stable version that say where to compare.
FEWEST_TIMES = 200


@dataclass
class Counted:
    """What was counted while nothing changed.

    Attributes:
        step: of the plan.
        timed: whether latencies count: not before it is known at which edges they are compared.
        meter: of both versions.
    """

    step: int
    timed: bool
    meter: Meter


@dataclass
class Progress:
    """All that the judge of one rollout goes by.

    Attributes:
        stable: name of the version that serves.
        candidate: name of the other.
        instances: of the stable version, when it began.
        step: that is under way, from 0; -1 before the first.
        began: when that began, seconds since 1970.
        spent: seconds that it has been driven for, whatever the clock says.
        held: whether users were sent back since something was counted.
        counted: phase by phase; a step has one, and one more each time that it was begun anew or the edges were chosen in it.
        edges: at which latencies are compared.
        copied_until: when the first step began that copies no requests, seconds since 1970; infinite before.
        answers: pairs compared, or None while nothing is.
        accuracy: pairs of forecasts compared with actual values, or None while there are none.
    """

    stable: str
    candidate: str
    instances: int
    step: int = -1
    began: float = 0.0
    spent: float = 0.0
    held: bool = False
    counted: list[Counted] = field(default_factory=list)
    edges: tuple[float, ...] = ()
    copied_until: float = math.inf
    answers: Pairs | None = None
    accuracy: Pairs | None = None

    @property
    def baseline(self) -> str:
        """Name of the stable version's instances that latencies are compared with, where a plan has such."""
        return versions.baseline(self.stable)

    def take(self, step: int, now: float, *, copies: bool) -> None:
        """Begin a step.

        Args:
            step: of the plan, from 0.
            now: seconds since 1970.
            copies: whether requests are copied in it.
        """
        self.step, self.began, self.spent = step, now, 0.0
        if not copies:
            self.copied_until = min(self.copied_until, now)

    def sums(self, version: str) -> Counters:
        """What came to a version, and to its baseline, in the step that is under way."""
        both = (version, versions.baseline(version))
        here = [one.meter.sums for one in self.counted if one.step == self.step]
        return sum((sums[name] for sums in here for name in both if name in sums), Counters())

    def count_from(self, reading: Reading) -> None:
        """Begin a phase."""
        self.held = False
        self.counted.append(Counted(self.step, bool(self.edges), Meter.from_zero(reading)))

    def add(self, reading: Reading) -> None:
        """Add what came since the last reading."""
        self.counted[-1].meter.add(reading)

    def choose_edges(self, before: Counters, judgement: Judgement) -> bool:
        """Choose where latencies will be compared, from what the stable version took so far; whether that was possible.

        What was counted before the choice is not compared, or the edges would be those at which the candidate happens to
        look slow.
        """
        timed = before.within.get(float("inf"), 0)
        if self.edges or timed < FEWEST_TIMES:
            return False
        self.edges = counts.edges(before.over(), timed, judgement.slowness.room)
        return True

    def verdict(self, steps: tuple[Step, ...], judgement: Judgement) -> Verdict:
        """On everything so far.

        With fewer pairs than may pass, accuracy can fail a candidate and is not waited for: as many forecasts as that
        may never come true while the rollout lasts.
        """
        found = judge.judge(self.phases(steps), self.edges, judgement, answers=self.answers, accuracy=self.accuracy)
        few = self.accuracy is not None and sum(self.accuracy) < judgement.pairs
        return Verdict.of(
            [one for one in found.checks if not (few and one.name == "accuracy" and one.outcome is not Outcome.FAIL)]
        )

    def phases(self, steps: tuple[Step, ...]) -> list[Phase]:
        """What the judge takes: what was chosen by a header is not split by chance, and stays out."""
        found = []
        for one in self.counted:
            weight = weight_of(steps[one.step])
            if weight is not None:
                sums, drawn = one.meter.sums, steps[one.step].mirror is None
                canary, stable = (sums.get(name, Counters()) for name in (self.candidate, self.stable))
                found.append(
                    replace(phase(weight, canary, stable, sums.get(self.baseline), timed=one.timed), drawn=drawn)
                )
        return found

    def written(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "stable": self.stable,
            "candidate": self.candidate,
            "instances": self.instances,
            "step": self.step,
            "began": self.began,
            "spent": self.spent,
            "held": self.held,
            "counted": [{"step": one.step, "timed": one.timed, "meter": one.meter.written()} for one in self.counted],
            "edges": list(self.edges),
            "copied_until": self.copied_until if math.isfinite(self.copied_until) else None,
            "answers": list(self.answers) if self.answers else None,
            "accuracy": list(self.accuracy) if self.accuracy else None,
        }

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Progress:
        """From the journal; what an earlier program did not write yet is as if nothing had come of it."""
        return cls(
            written["stable"],
            written["candidate"],
            written["instances"],
            written["step"],
            written["began"],
            written.get("spent", 0.0),
            written.get("held", False),
            [Counted(one["step"], one["timed"], Meter.read(one["meter"])) for one in written["counted"]],
            tuple(written["edges"]),
            math.inf if (ended := written.get("copied_until")) is None else ended,
            Pairs(*written["answers"]) if written["answers"] else None,
            Pairs(*written["accuracy"]) if written.get("accuracy") else None,
        )


def weight_of(step: Step) -> float | None:
    """Share of both versions' requests that are the candidate's, as the router splits them; None where a header decides.

    With copies of a share s of requests, it is s / (1 + s). That one request meets both versions only makes evidence
    smaller than it is: errors that both make speak for neither.
    """
    if step.mirror is not None:
        return step.mirror / (1 + step.mirror)
    return None if step.weight is None else round(step.weight * WHOLE) / WHOLE


def phase(weight: float, canary: Counters, stable: Counters, baseline: Counters | None = None, *, timed: bool) -> Phase:
    """What both versions counted at a weight, as the judge takes it.

    Args:
        weight: share of requests that the canary was given.
        canary: what it counted.
        stable: what the other version counted, but for its baseline.
        baseline: what that counted, if there is one: the only one to compare latencies with.
        timed: whether latencies count.
    """
    whole = stable if baseline is None else stable + baseline
    over_canary, over_stable = canary.over(), (stable if baseline is None else baseline).over()
    edges = over_canary.keys() & over_stable.keys() if timed else set()
    return Phase(
        weight=weight,
        requests=Split(canary.seen, whole.seen),
        errors=Split(canary.errors, whole.errors),
        refused=Split(canary.refused, whole.refused),
        over={edge: Split(over_canary[edge], over_stable[edge]) for edge in sorted(edges)},
        timed=None if baseline is None else Split(canary.seen, baseline.seen),
    )
