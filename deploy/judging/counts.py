"""What a rollout counts of its two versions, and at which latencies it compares them.

The trap is in the counting. One request is one draw of the weight: a retry is not, so count a request once, by its last
answer, and gRPC's errors by their status, since they ride on HTTP 200. Counters and histograms that are read at
different moments disagree: read them after the same flush, and give `requests` from the same place as `over`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from data.rollout import STEP

#: Quantiles of the stable version's latencies at which slowness is judged.
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
#: By how much edges may be rounded, in their ratio to each other.
ROUNDED = 0.01


class Split(NamedTuple):
    """A count of each version."""

    canary: int
    stable: int


NONE = Split(0, 0)


@dataclass(frozen=True, slots=True)
class Phase:
    """What was counted while the weight stayed the same.

    Attributes:
        weight: share of requests that the canary was given, above 0 and below 1: at 0 or 1 nothing is compared.
        requests: answered.
        errors: of these, answered by a fault of the service.
        over: of these, by edge in seconds, those that took longer. Empty in a phase whose latencies do not count, such
            as one before the edges were chosen (see `edges`).
        timed: of these, those that `over` is of, where the stable version's are of its baseline alone, which is given as many
            requests as the canary: what waits in line waits alike. None where they are all of them.
        refused: of these, answered as if the client were at fault.
        drawn: chance decided who got a request, as the weight has it. Copies of requests are not drawn: how many have been
            answered by now says who is quicker, not how they were split.
    """

    weight: float
    requests: Split
    errors: Split
    over: Mapping[float, Split] = field(default_factory=dict)
    timed: Split | None = None
    refused: Split = NONE
    drawn: bool = True

    @property
    def timed_requests(self) -> Split:
        """Requests whose latencies are compared."""
        return self.timed or self.requests

    @property
    def timed_weight(self) -> float:
        """Share of these that the canary was given."""
        return self.weight if self.timed is None else 0.5


class Pairs(NamedTuple):
    """What was compared pair by pair: how often the canary was the worse one, and how often it was not.

    Pairs must not share their luck. Of a forecast count one step, not the whole horizon, whose errors rise and fall
    together.
    """

    worse: int
    other: int


def edges(over: Mapping[float, int], requests: int, room: int = 3) -> tuple[float, ...]:
    """The edges nearest to the stable version's median, p75, p90, p95 and p99, at which slowness will be judged.

    Chosen from what the stable version answered before the canary got any traffic: edges picked from the counts that are
    then judged would be those at which the canary happens to look slow, and its e-values would be none. Without
    such traffic there are no edges, and slowness stays inconclusive. A rollout may then choose them from the stable
    version's counts so far, and begin a new phase: those before it, given without `over`, do not count.

    Args:
        over: stable version's requests that took longer than each edge, in seconds.
        requests: all of the stable version's.
        room: steps of `STEP` that the grid goes on above the highest edge, to compare with a slower canary:
            `SlownessLimits.excluded_steps`, or `room` where copies are compared.

    Returns:
        In order; fewer than five where they coincide, none where no request is over an edge.

    Raises:
        ValueError: counts that cannot be.
    """
    _check_edges("before the canary", over)
    for edge, count in over.items():
        _check_count("before the canary", f"requests over {edge:g} s", "stable version", count, requests)
    low = [edge for edge in over if at_least(over, edge * STEP**room) is not None]
    shares = {edge: over[edge] / requests for edge in low if over[edge]}
    return tuple(sorted({_nearest(shares, 1 - quantile) for quantile in QUANTILES})) if shares else ()


def at_least(edges: Iterable[float], seconds: float) -> float | None:
    """The lowest edge that is no lower than a time, up to rounding, or None."""
    return min((edge for edge in edges if edge >= seconds * (1 - ROUNDED)), default=None)


def at_most(edges: Iterable[float], seconds: float) -> float | None:
    """The highest edge that is no higher than a time, up to rounding, or None."""
    return max((edge for edge in edges if edge <= seconds * (1 + ROUNDED)), default=None)


def check(phases: Sequence[Phase], chosen: Sequence[float]) -> None:
    """Refuse counts that cannot be.

    Args:
        phases: to check.
        chosen: edges that each phase with latencies must have.

    Raises:
        ValueError: a weight that is not above 0 and below 1, a count that is no whole number from 0 to its requests, more
            requests over a higher edge, an edge that is no time, or one of those chosen that is missing.
    """
    for number, one in enumerate(phases, 1):
        where = f"phase {number}"
        if not 0 < one.weight < 1:
            raise ValueError(f"{where}: got a weight of {one.weight:g}, wanted one above 0 and below 1")
        for version in ("canary", "stable"):
            _check_version(where, version, one)
        _check_edges(where, one.over)
        missing = sorted(set(chosen) - set(one.over)) if one.over else []
        if missing:
            raise ValueError(f"{where}: has no edge of {missing[0]:g} s, wanted all that were chosen")


def check_pairs(name: str, seen: Pairs) -> None:
    """Refuse pairs that cannot be.

    Raises:
        ValueError: a count that is no whole number, 0 or more.
    """
    for what, count in zip(("worse", "other"), seen, strict=True):
        if not 0 <= count < math.inf or count % 1:
            raise ValueError(f"{name}: got {count:,} {what} pairs, wanted a whole number, 0 or more")


def _check_version(where: str, version: str, one: Phase) -> None:
    asked: float = getattr(one.requests, version)
    name = "canary" if version == "canary" else "stable version"
    _check_count(where, "requests", name, asked, math.inf)
    for bad in ("errors", "refused"):
        _check_count(where, bad, name, getattr(getattr(one, bad), version), asked)
    most: float = getattr(one.timed_requests, version)
    _check_count(where, "timed requests", name, most, asked)
    for edge in sorted(one.over):
        _check_count(where, f"requests over {edge:g} s", name, getattr(one.over[edge], version), most)
        most = getattr(one.over[edge], version)


def _check_count(where: str, what: str, version: str, count: float, most: float) -> None:
    if not 0 <= count <= most or count % 1:  # the rest of infinity is not a number either
        wanted = "0 or more" if math.isinf(most) else f"0 to {most:,}"
        raise ValueError(f"{where}: got {count:,} {what} of the {version}, wanted a whole number, {wanted}")


def _check_edges(where: str, over: Mapping[float, object]) -> None:
    for edge in over:
        if not 0 < edge < math.inf:
            raise ValueError(f"{where}: got an edge of {edge:g} s, wanted one above 0")


def _nearest(shares: Mapping[float, float], share: float) -> float:
    """The edge that is exceeded about that often; of some as near, the lowest."""
    return min(sorted(shares), key=lambda edge: abs(math.log(shares[edge] / share)))
