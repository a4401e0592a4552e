"""Which of two versions forecast the same thing better, once actual values of it are in the record.

One pair a series and origin, whoever asked how often: steps of a forecast are wrong together. A pair is counted once, at the
first look at which any of its steps has an actual value, by all steps that have one by then; one that were judged again with
each value that comes would be no evidence that may be looked at at any time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from deploy.judging.counts import Pairs
from service.record.join import StoredActuals, StoredForecast, StoredForecasts, join
from service.record.pairs import actuals

#: Series and origins that wait for actual values, and as many that were counted; the oldest are forgotten.
MOST = 20_000
#: Sums of errors that are as close as this are the same, up to rounding.
SAME = 1e-9

Key = tuple[str, int]


class Accuracy:
    """Compares as actual values come in.

    Every second tie counts as one in which the candidate was worse: ties count half. So a candidate with the same model stands
    at one half and can pass; were they left out, it never could.

    Args:
        most: series and origins that wait at once.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._waiting: dict[Key, tuple[StoredForecast, StoredForecast]] = {}
        self._counted: dict[Key, None] = {}
        self._ties = 0
        self.pairs: Pairs | None = None

    def add(self, stable: StoredForecast, candidate: StoredForecast) -> None:
        """Two forecasts of the same; left out if there are two of this series and origin already."""
        key = stable.series, stable.origin
        if key not in self._counted and key not in self._waiting and stable.mean.shape == candidate.mean.shape:
            self._waiting[key] = _bare(stable), _bare(candidate)
            _forget(self._waiting, self._most)

    def look(self, connection: Connection) -> None:
        """Count those that have an actual value by now."""
        if not self._waiting:
            return
        keys, both = list(self._waiting), list(self._waiting.values())
        sides = [[pair[side] for pair in both] for side in (0, 1)]
        stable, candidate = map(StoredForecasts.of, sides)
        times = stable.unrolled()[2]
        window = int(times.min()), int(times.max()) + 1
        known = actuals(connection, [stable], window)
        if not known.times.size:
            return
        left, right = (_errors(side, known, window) for side in (stable, candidate))
        same = np.isclose(left, right, rtol=SAME, atol=0.0)  # infinite ones are the same too
        for place in np.flatnonzero(~np.isnan(left)):
            self._count(bool(right[place] > left[place]), tie=bool(same[place]))
            del self._waiting[keys[place]]
            self._counted[keys[place]] = None
        _forget(self._counted, self._most)

    def _count(self, worse: bool, *, tie: bool) -> None:  # noqa: FBT001
        if tie:
            self._ties += 1
            worse = self._ties % 2 == 0
        pairs = self.pairs or Pairs(0, 0)
        self.pairs = Pairs(pairs.worse + worse, pairs.other + (not worse))


def _bare(forecast: StoredForecast) -> StoredForecast:
    """Without its quantiles."""
    return replace(forecast, levels=np.empty(0), quantiles=np.empty((0, forecast.mean.size)))


def _errors(forecasts: StoredForecasts, known: StoredActuals, window: tuple[int, int]) -> NDArray[np.float64]:
    """Sum of absolute errors over the steps that have an actual value, shape (forecasts,); NaN where none has."""
    (joined,) = join([forecasts], known, window)
    rows, *_ = forecasts.unrolled()
    there = ~np.isnan(joined.actual)
    errors = np.abs(joined.forecast - joined.actual)[there]
    errors[np.isnan(errors)] = np.inf  # a forecast that is no number is the worst
    sums, steps = (np.bincount(rows[there], weights, minlength=forecasts.horizon.size) for weights in (errors, None))
    return np.where(steps > 0, sums, np.nan)


def _forget(kept: dict[Key, Any], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
