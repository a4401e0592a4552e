"""Moving averages and spreads whose bits depend on the window's content alone.

A running sum (pandas, coreforecast) carries the rounding of everything before the window, so the value
in training and the value from a client's shorter history differ in their last bits. Here a window is
summed by doubling: the sum over 2n values is the sum over the newer n plus the sum over the older n,
and a window of any length is put together from powers of two, newest first. Each pass is one
vectorised addition, so k windows of up to w values cost O(rows * (log w + k)), and the order of
additions is the same wherever the window stands. Spreads merge squared deviations the same way
(Chan, Golub and LeVeque 1979), which keeps them exact for a large mean with a small spread.

Two shapes of one computation: `over_panel` for every row of many series, `at` for chosen rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Rows worked on at a time: the doubling tables of a block stay in the processor's cache.
BLOCK_ROWS = 32_768


class Moments(NamedTuple):
    """Sum and sum of squared deviations over `size` values, per row."""

    size: int
    total: Floats
    deviation: Floats | None

    def shift(self, by: int) -> Moments:
        """The moments of the window that ends `by` rows earlier, for rows `by` and later."""
        deviation = None if self.deviation is None else self.deviation[:-by]
        return Moments(self.size, self.total[:-by], deviation)

    def tail(self, start: int) -> Moments:
        """The rows from `start` on."""
        return Moments(self.size, self.total[start:], None if self.deviation is None else self.deviation[start:])


def merge(newer: Moments, older: Moments) -> Moments:
    """Moments of two adjoining windows taken together."""
    size = newer.size + older.size
    deviation = None
    if newer.deviation is not None and older.deviation is not None:
        gap = newer.total / newer.size - older.total / older.size
        deviation = newer.deviation + older.deviation + gap * gap * (newer.size * older.size / size)
    return Moments(size, newer.total + older.total, deviation)


def over_panel(
    values: Floats, offsets: Integers, means: Sequence[int], spreads: Sequence[int] = (), out: Floats | None = None
) -> Floats:
    """Moving averages and spreads at every row of a panel.

    Args:
        values: shape (rows,), all series one after another, each without gaps.
        offsets: shape (series + 1,), where each series starts, and the number of rows.
        means: lengths of the moving averages, in steps.
        spreads: lengths of the standard deviations (divisor n - 1), in steps, each 2 or more.
        out: where to write the result.

    Returns:
        Shape (len(means) + len(spreads), rows); NaN where the window reaches before the series' start.
    """
    lengths = [*means, *spreads]
    out = np.empty((len(lengths), values.size)) if out is None else out
    longest = max(lengths, default=1)
    with np.errstate(over="ignore", invalid="ignore"):
        for first, start, stop in _blocks(offsets, longest):
            table = _doubling(values[first:stop], longest, with_deviation=bool(spreads))
            _write(out[:, start:stop], table, means, spreads)
    for row, length in zip(out, lengths, strict=True):
        row[heads(offsets, length - 1)] = np.nan
    return out


def heads(offsets: Integers, count: int) -> Integers:
    """The first `count` rows of each series, or as many as it has."""
    sizes = np.minimum(np.diff(offsets), count)
    begins = np.repeat(offsets[:-1], sizes)
    return np.asarray(begins + np.arange(begins.size) - np.repeat(np.cumsum(sizes) - sizes, sizes))


def at(values: Floats, ends: Integers, means: Sequence[int], spreads: Sequence[int] = ()) -> Floats:
    """The same numbers as `over_panel`, bit for bit, at chosen rows only.

    Args:
        values: shape (rows,); each window must lie within its series.
        ends: shape (origins,), the row each window ends with.
        means: as in `over_panel`.
        spreads: as in `over_panel`.

    Returns:
        Shape (len(means) + len(spreads), origins).
    """
    out = np.empty((len(means) + len(spreads), ends.size))
    with np.errstate(over="ignore", invalid="ignore"):
        for row, length in enumerate([*means, *spreads]):
            wants_spread = row >= len(means)
            window = values[ends[:, None] + np.arange(1 - length, 1)]
            moments = _of_columns(window, with_deviation=wants_spread)
            out[row] = _spread(moments) if wants_spread else moments.total / length
    return out


def _of_columns(window: Floats, *, with_deviation: bool) -> Moments:
    """Moments of each row of a (origins, length) array, in `over_panel`'s order of additions."""
    whole: Moments | None = None
    stop = window.shape[1]
    for size in _powers(stop):
        total = window[:, stop - size : stop]
        deviation = np.zeros_like(total) if with_deviation else None
        part = Moments(1, total, deviation)
        while part.total.shape[1] > 1:
            older, newer = (
                Moments(
                    part.size, part.total[:, side::2], None if part.deviation is None else part.deviation[:, side::2]
                )
                for side in (0, 1)
            )
            part = merge(newer, older)
        flat = Moments(size, part.total[:, 0], None if part.deviation is None else part.deviation[:, 0])
        whole = flat if whole is None else merge(whole, flat)
        stop -= size
    assert whole is not None
    return whole


def _doubling(values: Floats, longest: int, *, with_deviation: bool) -> list[Moments]:
    """Moments over 1, 2, 4, ... values, each for the rows that have as many before them."""
    table = [Moments(1, values, np.zeros_like(values) if with_deviation else None)]
    while 2 * table[-1].size <= longest:
        last = table[-1]
        table.append(merge(last.tail(last.size), last.shift(last.size)))
    return table


def _write(out: Floats, table: list[Moments], means: Sequence[int], spreads: Sequence[int]) -> None:
    """Fill `out`, the last rows of the block, with the windows that end there."""
    rows = out.shape[1]
    for row, length in enumerate([*means, *spreads]):
        window = _window(table, length)
        short = max(0, rows - window.total.size)
        ended = window.tail(window.total.size - (rows - short))
        out[row, :short] = np.nan
        if row < len(means):
            np.divide(ended.total, length, out=out[row, short:])
        else:
            out[row, short:] = _spread(ended)


def _window(table: list[Moments], length: int) -> Moments:
    """Moments over `length` values, for the rows of the block that have as many before them."""
    sizes = _powers(length)
    whole = table[sizes[0].bit_length() - 1]
    for size in sizes[1:]:
        older = table[size.bit_length() - 1]
        if older.total.size <= whole.size:
            return Moments(length, np.empty(0), np.empty(0))
        reach = older.shift(whole.size)
        whole = merge(whole.tail(whole.total.size - reach.total.size), reach)
    return whole


def _spread(moments: Moments) -> Floats:
    assert moments.deviation is not None
    return np.sqrt(moments.deviation / (moments.size - 1))


def _powers(length: int) -> list[int]:
    """The powers of two that add up to `length`, smallest first."""
    return [1 << bit for bit in range(length.bit_length()) if length >> bit & 1]


def _blocks(offsets: Integers, longest: int) -> Iterator[tuple[int, int, int]]:
    """Ranges (first row to read, first row to write, row to stop at) that cover the panel.

    A block reads up to `longest - 1` rows before those it writes. What it reads of an earlier series
    is masked at the end, so series need not be told apart inside a block.
    """
    rows = int(offsets[-1])
    step = max(BLOCK_ROWS, 4 * longest)
    for start in range(0, rows, step):
        yield max(0, start - longest + 1), start, min(rows, start + step)
