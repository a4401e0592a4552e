"""Means over the most recent values, whole seasons back, at which a condition was the same as at a given time.

The mean of the last five values at this hour on days of the same kind is a better guess than the
value a day or a week ago, and it knows a holiday. The level of the last hours over what these means
expected of them (a ratio) says how unusual today is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from data import calendar, windows
from data.panel import Panel
from data.params import CalendarName

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Added to both sides of a ratio of levels, as a share of the scale, so that a quiet hour does not blow it up.
RATIO_FLOOR = 0.02
#: Rows of a panel whose matches are looked up at a time, to bound memory.
BLOCK_ROWS = 1 << 18


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
    """

    match: str
    season: int
    lookback: int
    counts: tuple[int, ...]
    ratios: tuple[int, ...]
    ratio_count: int

    @property
    def context(self) -> int:
        """Values of the history that are looked at."""
        return self.lookback + max(self.ratios, default=0)

    def at(self, panel: Panel, rows: Integers) -> Floats:
        """Matched means of chosen rows, of any shape: shape (counts, *rows.shape)."""
        return self._means(panel, self._condition(panel), rows, self.counts)

    def ratio_table(self, panel: Panel, scale: Floats) -> Floats:
        """Shape (ratios, rows): the ratios at every row; NaN where a window reaches before the series' start.

        Args:
            panel: the series.
            scale: shape (rows,), in the target's unit.
        """
        condition = self._condition(panel)
        expected = np.empty(panel.target.size)
        for start in range(0, panel.target.size if self.ratios else 0, BLOCK_ROWS):
            rows = np.arange(start, min(start + BLOCK_ROWS, panel.target.size))
            expected[rows] = self._means(panel, condition, rows, (self.ratio_count,))[0]
        above = windows.over_panel(panel.target, panel.offsets, self.ratios)
        return _ratio(above, windows.over_panel(expected, panel.offsets, self.ratios), scale)

    def ratio_rows(self, panel: Panel, origins: Integers, scale: Floats) -> Floats:
        """Shape (ratios, origins): the same as `ratio_table`, bit for bit, at chosen rows.

        Args:
            panel: the series.
            origins: rows with `context - 1` rows of their series before them.
            scale: shape (origins,), in the target's unit.
        """
        span = max(self.ratios, default=1)
        rows = origins[:, None] + np.arange(1 - span, 1)
        expected = self._means(panel, self._condition(panel), rows, (self.ratio_count,))[0].ravel()
        above = windows.at(panel.target, origins, self.ratios)
        return _ratio(above, windows.at(expected, np.arange(1, origins.size + 1) * span - 1, self.ratios), scale)

    def _condition(self, panel: Panel) -> Floats:
        if self.match in panel.covariates:
            return panel.covariates[self.match]
        return calendar.compute(cast("CalendarName", self.match), panel.times).astype(np.float64)

    def _means(self, panel: Panel, condition: Floats, rows: Integers, counts: Sequence[int]) -> Floats:
        oldest = panel.offsets[:-1][panel.series[rows]]
        return means(panel.target, condition, rows, oldest, season=self.season, lookback=self.lookback, counts=counts)


def means(
    values: Floats,
    condition: Floats,
    rows: Integers,
    oldest: Integers,
    *,
    season: int,
    lookback: int,
    counts: Sequence[int],
) -> Floats:
    """Mean of the newest `count` matches before each row, for several counts at once.

    Args:
        values: shape (n,), all series one after another.
        condition: shape (n,), equal where two rows match; it must reach each of `rows`.
        rows: any shape, the rows to compute for; their own values are not looked at.
        oldest: shape of `rows`, the first row of the series each one belongs to.
        season: steps between the rows that are compared.
        lookback: steps that are searched, a multiple of `season`.
        counts: how many matches are averaged; fewer where the lookback has fewer.

    Returns:
        Shape (counts, *rows.shape); NaN where nothing matches.
    """
    wanted = condition[rows]
    found = np.zeros(rows.shape, dtype=np.int64)
    total = np.zeros((len(counts), *rows.shape))
    for back in range(season, lookback + 1, season):
        row = rows - back
        inside = row >= oldest
        row = np.where(inside, row, 0)
        match = inside & (condition[row] == wanted)
        value = values[row]
        for place, count in enumerate(counts):
            total[place] += np.where(match & (found < count), value, 0.0)
        found += match
    with np.errstate(invalid="ignore"):
        return np.stack([part / np.minimum(found, count) for part, count in zip(total, counts, strict=True)])


def _ratio(above: Floats, below: Floats, scale: Floats) -> Floats:
    floor = RATIO_FLOOR * scale
    return np.asarray((above + floor) / (below + floor))
