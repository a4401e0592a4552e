"""Figures of several rounds: the median of per-round ratios, with the smallest and largest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Ratio(NamedTuple):
    """How many times as much; over rounds."""

    median: float
    low: float
    high: float


def ratio(ours: Sequence[float], others: Sequence[float]) -> Ratio:
    """Compare round by round, so that what slows a whole round down cancels.

    Raises:
        ValueError: not the same number of rounds, or none.
    """
    if len(ours) != len(others) or not ours:
        raise ValueError(f"got {len(ours)} and {len(others)} rounds, wanted the same number, one or more")
    made = [own / other if other else math.inf for own, other in zip(ours, others, strict=True)]
    return Ratio(statistics.median(made), min(made), max(made))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed (nearest rank); NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
