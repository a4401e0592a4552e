"""What a rollout has seen so far: counts of each step, edges, answers compared; kept in the journal at each look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.deployment import Step
from data.rollout import Judgement
from data.verdict import Verdict
from deploy import counts, judge
from deploy.counts import Pairs, Phase, Split
from deploy.meter import Meter
from deploy.router.counters import Counters

#: Latencies of the stable version that say where to compare.
FEWEST_TIMES = 200


@dataclass
class Progress:
    """All that the judge of one rollout goes by.

    Attributes:
        stable: name of the version that serves.
        candidate: name of the other.
        step: that is under way, from 0; -1 before the first.
        began: when it began, seconds since 1970.
        meters: by step.
        edges: at which latencies are compared.
        timed_from: the first step whose latencies count: edges are chosen before it.
        answers: pairs compared, or None while nothing is.
    """

    stable: str
    candidate: str
    step: int = -1
    began: float = 0.0
    meters: dict[int, Meter] = field(default_factory=dict)
    edges: tuple[float, ...] = ()
    timed_from: int = 0
    answers: Pairs | None = None

    @property
    def here(self) -> Counters:
        """What came to the candidate in the step that is under way."""
        meter = self.meters.get(self.step)
        return meter.sums.get(self.candidate, Counters()) if meter else Counters()

    def choose_edges(self, before: Counters, judgement: Judgement) -> None:
        """Choose where latencies are compared, from what the stable version took before this step."""
        timed = before.within.get(float("inf"), 0)
        if not self.edges and timed >= FEWEST_TIMES:
            self.edges = counts.edges(before.over(), timed, judgement.slowness.excluded_steps)
            self.timed_from = self.step

    def phases(self, steps: tuple[Step, ...]) -> list[Phase]:
        """What the judge takes.

        A copy of a share s of requests is as if the candidate had a weight of s / (1 + s). That one request meets both
        versions only makes evidence smaller than it is: errors that both make speak for neither.
        """
        found = []
        for place, meter in sorted(self.meters.items()):
            step = steps[place]
            weight = step.weight if step.weight is not None else step.mirror / (1 + step.mirror)  # type: ignore[operator]
            canary, stable = (meter.sums.get(name, Counters()) for name in (self.candidate, self.stable))
            found.append(_phase(weight, canary, stable, timed=bool(self.edges) and place >= self.timed_from))
        return found

    def verdict(self, steps: tuple[Step, ...], judgement: Judgement) -> Verdict:
        """On everything so far."""
        return judge.judge(self.phases(steps), self.edges, judgement, answers=self.answers)

    def written(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "stable": self.stable,
            "candidate": self.candidate,
            "step": self.step,
            "began": self.began,
            "meters": {str(place): meter.written() for place, meter in self.meters.items()},
            "edges": list(self.edges),
            "timed_from": self.timed_from,
            "answers": list(self.answers) if self.answers else None,
        }

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Progress:
        """From the journal."""
        return cls(
            written["stable"],
            written["candidate"],
            written["step"],
            written["began"],
            {int(place): Meter.read(meter) for place, meter in written["meters"].items()},
            tuple(written["edges"]),
            written["timed_from"],
            Pairs(*written["answers"]) if written["answers"] else None,
        )


def _phase(weight: float, canary: Counters, stable: Counters, *, timed: bool) -> Phase:
    over_canary, over_stable = canary.over(), stable.over()
    edges = over_canary.keys() & over_stable.keys() if timed else set()
    return Phase(
        weight=weight,
        requests=Split(canary.seen, stable.seen),
        errors=Split(canary.errors, stable.errors),
        over={edge: Split(over_canary[edge], over_stable[edge]) for edge in sorted(edges)},
    )
