"""The highest rate at which a service keeps its objective: double the rate until it breaks, then halve the gap.

A probe on a noisy machine is wrong now and then, so a rate is decided by two probes that agree, of three at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from data.loadtest import Objective
from loadtests.faults import LoadtestError

if TYPE_CHECKING:
    from loadtests.arrivals import Told  # it needs gevent, which takes over a whole process

#: The search ends when the lowest rate that broke is no further above the highest that was kept.
CLOSE = 1.05
FACTOR = 2.0
MOST_RATES = 30
#: A generator that is busier than this, or late by more than this share of the objective, measures itself.
BUSY, LATE = 0.9, 0.5


class Limit(StrEnum):
    """What kept the rate from being higher."""

    SERVICE = "the service"
    GENERATOR = "the generator"
    NONE = "nothing: the search ended before"


@dataclass(frozen=True)
class Probe:
    """What happened at a rate.

    Attributes:
        rate: requests/s that were offered.
        latency: seconds, at the objective's percentile.
        errors: share of requests that were not answered right.
        late: seconds that the generator was late (p99).
        busy: share of a core that the generator used.
        kept: whether the objective was kept.
        fault: of the generator, if it could not make that rate.
    """

    rate: float
    latency: float
    errors: float
    late: float
    busy: float
    kept: bool
    fault: str | None = None


@dataclass
class Knee:
    """Where a service stops to keep its objective.

    Attributes:
        objective: what is to be kept.
        kept: the highest rate at which it was, requests/s; 0 if at none.
        broken: the lowest rate at which it was not; infinite if at none.
        limit: what broke it.
        probes: all, in the order in which they were made.
    """

    objective: Objective
    kept: float = 0.0
    broken: float = float("inf")
    limit: Limit = Limit.NONE
    probes: list[Probe] = field(default_factory=list)


@dataclass(frozen=True)
class Climbed:
    """A knee, and of what.

    Attributes:
        bento: tag that the service says it serves.
        knee: what was found.
        protocol: that was spoken.
    """

    bento: str
    knee: Knee
    protocol: str


def probe(told: Told, rate: float, objective: Objective) -> Probe:
    """Judge one probe.

    Raises:
        LoadtestError: no request was due.
    """
    if not told.asked:
        raise LoadtestError(f"no request was due at {rate:.3g} requests/s: make the probes longer (--seconds)")
    errors = told.failed / told.asked
    latency = told.percentile(objective.percentile)
    late = float(np.quantile(told.late, 0.99))
    kept = latency <= objective.seconds and errors <= objective.errors  # NaN, with no right answer, is not
    fault = None
    if not kept and (told.generator >= BUSY or late > LATE * objective.seconds):
        fault = f"{told.generator:.0%} of a core, late by {late * 1e3:.1f} ms (p99)"
    return Probe(rate, latency, errors, late, told.generator, kept, fault)


def search(ask: Callable[[float], Probe], start: float, objective: Objective) -> Knee:
    """Find the knee.

    Args:
        ask: offers a rate and says what happened.
        start: rate of the first probe, requests/s.
        objective: what is to be kept.

    Raises:
        LoadtestError: the objective is broken at every rate, down to a thousandth of the start.
    """
    knee, rate = Knee(objective), start
    for _ in range(MOST_RATES):
        told = _decided(ask, rate, knee)
        if told.kept:
            knee.kept = max(knee.kept, rate)
        else:
            knee.broken = min(knee.broken, rate)
            knee.limit = Limit.GENERATOR if told.fault else Limit.SERVICE
        if knee.kept and knee.broken <= knee.kept * CLOSE:
            break
        if knee.broken < start / 1_000:
            raise LoadtestError(
                f"the objective is not kept at any rate: at {rate:.3g} requests/s the latency is "
                f"{told.latency * 1e3:.1f} ms (limit {objective.seconds * 1e3:g} ms) and {told.errors:.1%} of requests fail"
            )
        rate = _next(knee)
    return knee


def _decided(ask: Callable[[float], Probe], rate: float, knee: Knee) -> Probe:
    """The second of two probes that agree."""
    seen: dict[bool, Probe] = {}
    while True:
        told = ask(rate)
        knee.probes.append(told)
        if told.kept in seen:
            return told
        seen[told.kept] = told


def _next(knee: Knee) -> float:
    if not knee.kept:
        return knee.broken / FACTOR
    if knee.broken == float("inf"):
        return knee.kept * FACTOR
    return math.sqrt(knee.kept * knee.broken)
