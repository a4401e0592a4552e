"""Means over the most recent values, whole seasons back, at which a condition was the same as at a given time.

The mean of the last five values at this hour on days of the same kind is a better guess than the
value a day or a week ago, and it knows a holiday. The level of the last hours over what these means
expected of them (a ratio) says how unusual today is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from data import calendar, windows
from data.endings import Endings
from data.panel import Panel
from data.params import CalendarName

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Added to both sides of a ratio of levels, as a share of the scale, so that a quiet hour does not blow it up.
RATIO_FLOOR = 0.02
#: Rows of a panel whose matches are looked up at a time, so that they stay in the processor's cache.
BLOCK_ROWS = 2_048
#: Columns from which adding up row after row is faster than NumPy's own loop, which walks down the columns.
WIDE = 256


class Lookback:
    """The rows one, two, ... seasons before some rows, and means over the newest of them that match.

    Args:
        season: steps between the rows that are compared.
        lookback: steps that are searched, a multiple of `season`.
        steps: the rows to compute for, counted from an origin.
        counts: how many matches each mean takes; fewer where the lookback has fewer.
    """

    def __init__(self, season: int, lookback: int, steps: Integers, counts: Sequence[int]) -> None:
        self._steps = steps.size
        self._back = np.arange(0, lookback + 1, season)
        self._looked = (steps[:, None] - self._back).ravel()
        self._counts = np.array(counts, dtype=np.int64)[:, None]
        self._rank = np.arange(min(max(counts), lookback // season))[:, None]
        self._last = np.minimum(counts, self._rank.size) - 1
        # No match at all gives no mean; where there are some, but fewer than wanted, nothing is added.
        self._missing = np.where(self._rank == 0, np.nan, 0.0)

    def means(self, values: Floats, condition: Floats, origins: Integers, ages: Integers | None = None) -> Floats:
        """Mean of the newest `count` matches before each row.

        Args:
            values: shape (n,), all series one after another; at the rows themselves they are not looked at.
            condition: shape (n,), equal where two rows match; it must reach each of the rows.
            origins: shape (origins,).
            ages: shape (origins,), how many rows of its series stand before each origin, where they may be fewer than
                the lookback; for the one step 0.

        Returns:
            Shape (counts, origins, steps); NaN where nothing matches.
        """
        looked = origins[:, None] + self._looked
        # Rows before the first one of all are in no series: what is taken for them is masked by the ages.
        kinds = condition.take(looked, mode="clip").reshape(-1, self._back.size)
        match = kinds == kinds[:, :1]
        match[:, 0] = False
        if ages is not None:
            match &= self._back <= ages[:, None]
        places = match.ravel().nonzero()[0]
        if not places.size:
            return np.full((self._counts.size, origins.size, self._steps), np.nan)
        begins = places.searchsorted(np.arange(0, match.size + 1, self._back.size))
        found = begins[1:] - begins[:-1]
        newest = looked.take(places.take(begins[:-1] + self._rank, mode="clip"))
        totals = running(np.where(self._rank < found, values.take(newest), self._missing))
        means = totals.take(self._last, axis=0) / np.minimum(found, self._counts)
        return np.asarray(means.reshape(-1, origins.size, self._steps))


def running(values: Floats) -> Floats:
    """Sums down the first axis, one row after another, so that the bits are the same for any width."""
    if values.shape[1] < WIDE:
        return np.add.accumulate(values, axis=0)
    for upto, after in itertools.pairwise(values):
        np.add(upto, after, out=after)
    return values


@dataclass(frozen=True)
class Matcher:
    """Matched means and ratios of a panel's target.

    Attributes:
        match: what must be equal: a covariate of the panel, or a calendar feature.
        season: steps between the rows that are compared.
        lookback: steps that are searched, a multiple of `season`.
        counts: how many matches each mean takes.
        ratios: steps of the windows that the level is compared over.
        ratio_count: how many matches the expected level takes.
        horizon: steps ahead that have matched means.
    """

    match: str
    season: int
    lookback: int
    counts: tuple[int, ...]
    ratios: tuple[int, ...]
    ratio_count: int
    horizon: int

    @property
    def context(self) -> int:
        """Values of the history that are looked at."""
        return self.lookback + max(self.ratios, default=0)

    @property
    def span(self) -> int:
        """Rows up to the origin that the ratios look at."""
        return max(self.ratios, default=0)

    def condition(self, panel: Panel) -> Floats:
        """Shape (rows,): equal where two rows match."""
        if self.match in panel.covariates:
            return panel.covariates[self.match]
        return calendar.compute(cast("CalendarName", self.match), panel.times).astype(np.float64)

    def ahead(self, panel: Panel, condition: Floats, origins: Integers) -> Floats:
        """The matched means of the steps ahead: shape (counts, origins, horizon).

        Args:
            panel: the series.
            condition: see `condition`.
            origins: rows with `context - 1` rows of their series before them.
        """
        return self._ahead.means(panel.target, condition, origins)

    def expected(self, panel: Panel, condition: Floats, origins: Integers) -> Floats:
        """The means that ratios take, of the rows up to each origin: shape (origins, span)."""
        return np.asarray(self._upto.means(panel.target, condition, origins)[0])

    def around(self, panel: Panel, condition: Floats, origins: Integers) -> tuple[Floats, Floats]:
        """`ahead` and `expected`, bit for bit, looked up in one go."""
        found = self._around.means(panel.target, condition, origins)
        return found[:-1, :, self.span :], found[-1, :, : self.span]

    def ratio_table(self, panel: Panel, above: Floats, scale: Floats) -> Floats:
        """Shape (ratios, rows): the ratios at every row; NaN where a window reaches before the series' start.

        Args:
            panel: the series.
            above: shape (ratios, rows), the target's moving averages over the windows.
            scale: shape (rows,), in the target's unit.
        """
        condition = self.condition(panel)
        expected = np.empty(panel.target.size)
        for start in range(0, panel.target.size, BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            rows = np.arange(start, min(start + BLOCK_ROWS, panel.target.size))
            expected[block] = self._own.means(panel.target, condition, rows, panel.age[block])[0, :, 0]
        return _ratio(above, windows.over_panel(expected, panel.offsets, self.ratios), scale)

    def ratio_rows(self, expected: Floats, above: Floats, scale: Floats) -> Floats:
        """Shape (ratios, origins): the same as `ratio_table`, bit for bit, at chosen rows.

        Args:
            expected: shape (origins, span), see `expected`.
            above: shape (ratios, origins), the target's moving averages over the windows.
            scale: shape (origins,), in the target's unit.
        """
        return _ratio(above, self._endings.of(expected), scale)

    def _lookback(self, first: int, last: int, *counts: int) -> Lookback:
        return Lookback(self.season, self.lookback, np.arange(first, last + 1), counts)

    @cached_property
    def _ahead(self) -> Lookback:
        return self._lookback(1, self.horizon, *self.counts)

    @cached_property
    def _upto(self) -> Lookback:
        return self._lookback(1 - self.span, 0, self.ratio_count)

    @cached_property
    def _around(self) -> Lookback:
        return self._lookback(1 - self.span, self.horizon, *self.counts, self.ratio_count)

    @cached_property
    def _own(self) -> Lookback:
        return self._lookback(0, 0, self.ratio_count)

    @cached_property
    def _endings(self) -> Endings:
        return Endings(self.ratios)


def _ratio(above: Floats, below: Floats, scale: Floats) -> Floats:
    floor = RATIO_FLOOR * scale
    return np.asarray((above + floor) / (below + floor))
