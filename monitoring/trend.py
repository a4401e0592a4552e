"""Whether numbers rise: robust slopes and tests of trend, for figures over versions and memory over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Moments, and the value at each; shape (n,) both.
Life = tuple[Floats, Floats]

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
    return shared([(times, values)])


def shared(lives: Sequence[Life]) -> Trend:
    """The trend within several lives; nothing is made of the steps between them (Hirsch, Slack & Smith 1982).

    Args:
        lives: each in the order of time; those of fewer than three points are left out.
    """
    slopes: list[Floats] = []
    score = variance = 0.0
    for times, values in map(_thinned, lives):
        count = times.size
        if count < 3:
            continue
        first, second = np.triu_indices(count, 1)
        rise = values[second] - values[first]
        slopes.append(rise / (times[second] - times[first]))
        score += float(np.sign(rise).sum())
        ties = np.unique(values, return_counts=True)[1]
        variance += float(count * (count - 1) * (2 * count + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    if not slopes:
        return Trend(0.0, 0.0)
    certainty = 0.0 if variance <= 0 else (score - math.copysign(1, score)) / math.sqrt(variance) if score else 0.0
    return Trend(float(np.median(np.concatenate(slopes))), certainty)


def lives(times: Floats, values: Floats) -> list[Life]:
    """A process' memory, apart where it was started again under the same name: at a fall to under 80 %; oldest first.

    Args:
        times: shape (n,), seconds, rising.
        values: shape (n,), bytes.
    """
    falls = np.flatnonzero(values[1:] < 0.8 * values[:-1]) + 1
    return list(zip(np.split(times, falls), np.split(values, falls), strict=True))


def warmed(life: Life, warm_up: float) -> Life:
    """A life without so many seconds from its start."""
    times, values = life
    kept = times >= times[0] + warm_up if times.size else np.zeros(0, np.bool_)
    return times[kept], values[kept]


def lived(life: Life) -> float:
    """Seconds from the first point of a life to its last."""
    times, _ = life
    return float(times[-1] - times[0]) if times.size else 0.0


def leaking(parts: Sequence[Life]) -> Trend:
    """The trend of lives that are warm; no trend while they are slowing down, as a cache that fills does."""
    found = shared(parts)
    late = shared([(times[times.size // 2 :], values[times.size // 2 :]) for times, values in parts])
    if late.slope < 0.5 * found.slope:
        return Trend(max(0.0, late.slope), 0.0)
    return found


def _thinned(life: Life) -> Life:
    times, values = life
    if times.size <= MOST:
        return life
    kept = np.linspace(0, times.size - 1, MOST).astype(np.int64)
    return times[kept], values[kept]
