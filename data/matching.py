"""Means over the most recent values, whole seasons back, at which a condition was the same as at a given time.

The mean of the last five values at this hour on days of the same kind is a better guess than the
value a day or a week ago, and it knows a holiday.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
