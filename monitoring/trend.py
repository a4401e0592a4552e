"""Whether numbers rise: robust slopes and tests of trend, for figures over versions and memory over time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Points that a slope is taken over at most; it looks at every pair of them.
MOST = 400


class Trend(NamedTuple):
    """How numbers rise.

    Attributes:
        slope: median of the slopes between all pairs of points (Theil 1950, Sen 1968).
        certainty: standard score of the number of rising less falling pairs (Mann 1945, Kendall 1975); 0 is no trend.
    """

    slope: float
    certainty: float


def trend(times: Floats, values: Floats) -> Trend:
    """Of points in the order of time; fewer than three have no trend.

    Args:
        times: shape (n,), rising.
        values: shape (n,); thinned out evenly if there are more than `MOST`.
    """
    if times.size > MOST:
        kept = np.linspace(0, times.size - 1, MOST).astype(np.int64)
        times, values = times[kept], values[kept]
    count = times.size
    if count < 3:
        return Trend(0.0, 0.0)
    first, second = np.triu_indices(count, 1)
    rise = values[second] - values[first]
    slope = float(np.median(rise / (times[second] - times[first])))
    score = float(np.sign(rise).sum())
    ties = np.unique(values, return_counts=True)[1]
    variance = (count * (count - 1) * (2 * count + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    certainty = 0.0 if variance <= 0 else (score - math.copysign(1, score)) / math.sqrt(variance) if score else 0.0
    return Trend(slope, certainty)


def leaking(times: Floats, values: Floats, warm_up: float) -> Trend:
    """The trend of a process' memory after it warmed up; no trend while it is slowing down, as a cache that fills does.

    A process that was started again under the same name begins anew: what lies before a fall to under 80 % is left out.

    Args:
        times: shape (n,), seconds, rising.
        values: shape (n,), bytes.
        warm_up: seconds from the start that are left out.
    """
    falls = np.flatnonzero(values[1:] < 0.8 * values[:-1])
    if falls.size:
        times, values = times[falls[-1] + 1 :], values[falls[-1] + 1 :]
    kept = times >= times[0] + warm_up if times.size else np.zeros(0, np.bool_)
    times, values = times[kept], values[kept]
    half = times.size // 2
    found, late = trend(times, values), trend(times[half:], values[half:])
    if late.slope < 0.5 * found.slope:
        return Trend(max(0.0, late.slope), 0.0)
    return found
