"""Errors of forecasts, day by day and slice by slice, in units of what the backtest lets expect.

Training measures the backtest with it and monitoring what was served, so that one is the other's reference. A plain MAE
rises and falls with demand (on the sample from 0.7 to 1.3 times the backtest's within half a year); in units of the
expected error of a series, at the level that is forecast, it does not. See docs/decisions/0013-quality.md.

Two passes over the forecasts, each in parts of any size: `Levels`, then `Errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from data.accuracy import Expected

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Steps ahead are looked at in so many groups at most.
STEP_GROUPS = 24
#: With fewer values a day there is no shape of a day to speak of, and nothing is taken out of the errors.
SHAPE_VALUES = 8
#: The forecast's level is looked at in so many groups.
LEVEL_GROUPS = 4
DAY = 86_400
#: 1 January 1970 was a Thursday.
_THURSDAY, _SATURDAY = 3, 5


class Batch(NamedTuple):
    """Forecasts beside what came; n steps.

    Attributes:
        series: shape (n,), numbers of series, from 0.
        step: shape (n,), 1 for the first after the origin.
        time: shape (n,), seconds since 1970, the time that is forecast.
        forecast: shape (n,).
        actual: shape (n,), NaN where there is none.
    """

    series: Integers
    step: Integers
    time: Integers
    forecast: Floats
    actual: Floats

    def take(self, kept: NDArray[np.bool_]) -> Batch:
        """Some of the steps."""
        return Batch(self.series[kept], self.step[kept], self.time[kept], self.forecast[kept], self.actual[kept])


@dataclass
class Units:
    """`Expected` for the series of a table, as arrays.

    Attributes:
        sizes: shape (series,).
        levels: shape (levels,), rising.
        errors: shape (series, levels).
        steps: shape (horizon,).
    """

    sizes: Floats
    levels: Floats
    errors: Floats
    steps: Floats

    @classmethod
    def of(cls, expected: Expected, names: Sequence[str], sizes: Floats) -> Self:
        """For some series; `sizes`, of shape (series,), is used for those that the backtest did not have."""
        return cls(
            np.array([expected.sizes.get(name, size) for name, size in zip(names, sizes, strict=True)]),
            np.array(expected.levels),
            np.array([expected.errors.get(name, expected.usual) for name in names]).reshape(
                len(names), len(expected.levels)
            ),
            np.array(expected.steps),
        )

    def quarter(self, series: Integers, forecast: Floats) -> Integers:
        """In which of `LEVEL_GROUPS` the level of each forecast lies, from 0."""
        edges = self.levels[:: max(1, self.levels.size // LEVEL_GROUPS)][1:LEVEL_GROUPS]
        return np.searchsorted(edges, forecast / self.sizes[series])

    def error(self, batch: Batch, forecast: Floats) -> Floats:
        """The expected absolute error of each step, in the target's unit: between the levels on a line."""
        size = self.sizes[batch.series]
        place = np.interp(forecast / size, self.levels, np.arange(self.levels.size))
        low = np.minimum(place.astype(np.int64), self.levels.size - 2)
        over = place - low
        of_series = self.errors[batch.series, low] * (1 - over) + self.errors[batch.series, low + 1] * over
        return np.asarray(size * of_series * self.steps[np.minimum(batch.step, self.steps.size) - 1])


@dataclass(frozen=True)
class Days:
    """Days of 24 hours that end at a moment: day 0 is the oldest of `count`, the last one ends at `end`."""

    end: int
    count: int
    step_seconds: int

    def of(self, time: Integers) -> Integers:
        """The day of each time; below 0 or above the last for times outside."""
        return self.count - 1 - (self.end - 1 - time) // DAY

    @property
    def values(self) -> int:
        """Values of one series that a day has."""
        return max(1, DAY // self.step_seconds)


@dataclass
class Levels:
    """First pass: sums of forecasts and of actual values, by series and day."""

    days: Days
    actual: Floats = field(init=False)
    forecast: Floats = field(init=False)
    count: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.actual, self.forecast, self.count = (np.zeros((0, self.days.count)) for _ in range(3))

    def add(self, batch: Batch) -> None:
        """Take in some steps; those without an actual value or outside the days are left out."""
        batch, day = known(batch, self.days)
        more = int(batch.series.max(initial=-1)) + 1 - len(self.count)
        if more > 0:
            grow = ((0, more), (0, 0))
            self.actual, self.forecast, self.count = (
                np.pad(one, grow) for one in (self.actual, self.forecast, self.count)
            )
        cell = batch.series * self.days.count + day
        self.actual += self._sum(cell, batch.actual)
        self.forecast += self._sum(cell, batch.forecast)
        self.count += self._sum(cell)

    def _sum(self, cell: Integers, weights: Floats | None = None) -> Floats:
        return np.bincount(cell, weights, self.count.size).reshape(self.count.shape).astype(np.float64)

    @property
    def sizes(self) -> Floats:
        """Shape (series,): mean size of a series' forecasts; 1 where that is nothing."""
        mean = np.abs(self.forecast.sum(axis=1)) / np.maximum(self.count.sum(axis=1), 1)
        return np.where(mean > 0, mean, 1.0)

    def factors(self) -> Floats:
        """Shape (series, days): what makes a day's forecasts of a series as large as its actual values.

        NaN where a series stood still, 1 where days have no level (values of both signs, or few a day).
        """
        if self.days.values < SHAPE_VALUES:
            return np.ones_like(self.actual)
        possible = (self.actual > 0) & (self.forecast > 0)
        ratio = self.actual / np.where(possible, self.forecast, 1.0)
        return np.where(possible, ratio, np.where((self.actual == 0) | (self.forecast == 0), np.nan, 1.0))


class Sums(NamedTuple):
    """Sums over steps, each of shape (slices, days): errors in expected errors, with the same in the target's unit."""

    shape: Floats
    shaped: Floats
    error: Floats
    bias: Floats
    absolute: Floats
    rows: Floats


@dataclass
class Errors:
    """Second pass: sums of errors by slice and day.

    A slice is a series, a group of steps, an hour of the day, a kind of day, or a quarter of the levels. All are
    disjoint within their family, and every step counts once in each.
    """

    names: Sequence[str]
    units: Units
    levels: Levels
    _factors: Floats = field(init=False)
    _sums: dict[str, Sums] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._factors = self.levels.factors()

    def add(self, batch: Batch) -> None:
        """Take in some steps, as `Levels.add` did."""
        days = self.levels.days
        batch, day = known(batch, days)
        factor = self._factors[batch.series, day]
        unit = self.units.error(batch, batch.forecast)
        difference = batch.forecast - batch.actual
        shaped = ~np.isnan(factor)
        moved = np.where(shaped, batch.forecast * factor, batch.forecast)
        shape = np.where(shaped, np.abs(moved - batch.actual) / self.units.error(batch, moved), 0.0)
        columns = (shape, shaped, np.abs(difference) / unit, difference / unit, np.abs(difference), None)
        for family, (size, code) in self._families(batch).items():
            made = [np.bincount(code * days.count + day, one, size * days.count).reshape(size, -1) for one in columns]
            before = self._sums.get(family)
            self._sums[family] = Sums(*(made if before is None else map(np.add, before, made)))

    def _families(self, batch: Batch) -> dict[str, tuple[int, Integers]]:
        steps = self.units.steps.size
        groups = min(steps, STEP_GROUPS)
        day = batch.time // DAY + _THURSDAY
        return {
            "series": (len(self.names), batch.series),
            "step": (groups, (np.minimum(batch.step, steps) - 1) * groups // steps),
            "hour": (24, batch.time % DAY // 3_600),
            "weekend": (2, (day % 7 >= _SATURDAY).astype(np.int64)),
            "level": (
                LEVEL_GROUPS,
                self.units.quarter(batch.series, batch.forecast),
            ),
        }

    def slices(self) -> Iterator[tuple[str, Sums]]:
        """Each slice that has any steps, by name, with its sums, each of shape (days,)."""
        for family, sums in self._sums.items():
            for place in np.flatnonzero(sums.rows.sum(axis=1)):
                yield f"{family} {self._name(family, int(place))}", Sums(*(one[place] for one in sums))

    def _name(self, family: str, place: int) -> str:
        if family == "series":
            return self.names[place]
        if family == "step":
            steps = self.units.steps.size
            groups = min(steps, STEP_GROUPS)
            first, last = -(-place * steps // groups) + 1, -(-(place + 1) * steps // groups)
            return str(first) if first == last else f"{first}-{last}"
        return str(place + 1 if family == "level" else place)

    def all(self) -> Sums:
        """Over all series, each of shape (days,)."""
        found = self._sums.get("series")
        return Sums(*(one.sum(axis=0) for one in found)) if found else Sums(*(np.zeros(self.levels.days.count),) * 6)

    def shape(self) -> Floats:
        """Shape (days,): the median over series of the logarithm of their errors; NaN where too few have enough values.

        The median, since one series that stands still for a day is no fault of the model's.
        """
        if not (found := self._sums.get("series")):
            return np.full(self.levels.days.count, np.nan)
        each = log_mean(found.shape, found.shaped, self.levels.days.values / 2)
        least = max(1, (found.rows.sum(axis=1) > 0).sum() / 2)
        enough = (~np.isnan(each)).sum(axis=0) >= least
        return np.array([np.nanmedian(column) if ok else np.nan for column, ok in zip(each.T, enough, strict=True)])


def log_mean(sums: Floats, count: Floats, least: float) -> Floats:
    """The logarithm of sums / count; NaN where fewer than `least` were counted, or the sum is nothing."""
    possible = (count >= max(least, 1)) & (sums > 0)
    return np.where(possible, np.log(np.where(possible, sums, 1.0) / np.where(possible, count, 1.0)), np.nan)


def known(batch: Batch, days: Days) -> tuple[Batch, Integers]:
    """The steps inside the days that have a forecast and an actual value, and the day of each."""
    day = days.of(batch.time)
    kept = np.isfinite(batch.actual) & np.isfinite(batch.forecast) & (day >= 0) & (day < days.count)
    return batch.take(kept), day[kept]
