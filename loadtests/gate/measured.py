"""What a gate saw, and what it concluded."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from data.loadtest import Loadtest
from data.verdict import Verdict
from loadtests.gate.bentos import Bento
from loadtests.gate.judge import Round

BASELINE, CANDIDATE = "baseline", "candidate"
SIDES = (BASELINE, CANDIDATE)
#: A round alternates between the sides this often: what a machine does to one for a while it does to the other too.
PIECES = 3
#: How long throughput is measured, as a share of how long latencies are.
SATURATED = 0.75


@dataclass
class Measured:
    """All that a gate saw.

    Attributes:
        rate: requests/s at which latencies were measured.
        capacity: answers/s of the baseline in the warm-up.
        rounds: one after another.
        latencies: of right answers, by side, seconds; of all rounds.
        late_p50: of each round, seconds that the generator was late, median over requests.
        late_p99: the same of the latest hundredth.
        busiest: of each round, the largest share of a core that the generator used.
        faults: what was wrong, by side, and how often.
    """

    rate: float = 0.0
    capacity: float = 0.0
    rounds: list[Round] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    late_p50: list[float] = field(default_factory=list)
    late_p99: list[float] = field(default_factory=list)
    busiest: list[float] = field(default_factory=list)
    faults: dict[str, dict[str, int]] = field(default_factory=lambda: {side: {} for side in SIDES})


@dataclass(frozen=True)
class Gated:
    """What a gate found.

    Attributes:
        began: UTC.
        seconds: from the start of the Bentos to the verdict.
        sides: the Bentos.
        settings: of the load test.
        seed: of order, schedules and requests.
        measured: all rounds.
        verdict: on the candidate.
        ready_seconds: from start to ready, by side.
    """

    began: dt.datetime
    seconds: float
    sides: dict[str, Bento]
    settings: Loadtest
    seed: int
    measured: Measured
    verdict: Verdict
    ready_seconds: dict[str, float]
