"""Moving averages and spreads whose bits depend on the window's content alone.

A running sum (pandas, coreforecast) carries the rounding of everything before the window, so the value
in training and the value from a client's shorter history differ in their last bits. Here a window is
summed by doubling: the sum over 2n values is the sum over the newer n plus the sum over the older n,
and a window of any length is put together from powers of two, newest first. Each pass is one
vectorised addition, so k windows of up to w values cost O(rows * (log w + k)), and the order of
additions is the same wherever the window stands. Spreads merge squared deviations the same way
(Chan, Golub and LeVeque 1979), which keeps them exact for a large mean with a small spread.

Two shapes of one computation: `over_panel` for every row of many series, `data.endings` for chosen rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Rows worked on at a time: the sums of a block stay in the processor's cache.
BLOCK_ROWS = 65_536
#: Threads that share a panel, at most: the memory's speed is the limit, which a few cores reach.
MOST_THREADS = 4


def over_panel(
    values: Floats, offsets: Integers, means: Sequence[int], spreads: Sequence[int] = (), lags: Sequence[int] = ()
) -> Floats:
    """Moving averages, spreads and lags at every row of a panel.

    Args:
        values: shape (rows,), all series one after another, each without gaps.
        offsets: shape (series + 1,), where each series starts, and the number of rows.
        means: lengths of the moving averages, in steps.
        spreads: lengths of the standard deviations (divisor n - 1), in steps, each 2 or more.
        lags: which of the newest values, counted from 1, the row's own.

    Returns:
        Shape (len(means) + len(spreads) + len(lags), rows); NaN where the window reaches before the series' start.
    """
    out = np.empty((len(means) + len(spreads) + len(lags), values.size))
    fill(list(out), values, offsets, means, spreads, lags)
    return out


def fill(
    out: Sequence[Floats],
    values: Floats,
    offsets: Integers,
    means: Sequence[int],
    spreads: Sequence[int] = (),
    lags: Sequence[int] = (),
) -> None:
    """`over_panel` into memory that is there already, one array of shape (rows,) for each window."""
    rows, threads = values.size, _threads(values.size)
    cuts = [rows * place // threads for place in range(threads + 1)]

    def write(start: int, stop: int) -> None:
        _write([row[start:stop] for row in out], values, start, means, spreads, lags)

    if threads == 1:
        write(0, rows)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(write, cuts[:-1], cuts[1:]))
    for row, length in zip(out, (*means, *spreads, *lags), strict=True):
        row[heads(offsets, length - 1)] = np.nan


def _write(
    out: Sequence[Floats], values: Floats, begin: int, means: Sequence[int], spreads: Sequence[int], lags: Sequence[int]
) -> None:
    """Write the rows from `begin` on, a block at a time."""
    rows = out[0].size if out else 0
    longest = max((*means, *spreads, *lags), default=1)
    step = max(BLOCK_ROWS, 4 * longest)
    block = Block(min(rows, step) + longest - 1, max((*means, *spreads), default=1), with_spreads=bool(spreads))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, rows, step):
            first, stop = max(0, begin + start - longest + 1), min(rows, start + step)
            block.read(values[first : begin + stop])
            block.write(begin + start - first, [row[start:stop] for row in out], means, spreads, lags)


def _threads(rows: int) -> int:
    """As many as there are processors for us, and blocks to work on."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, MOST_THREADS, rows // (4 * BLOCK_ROWS)))


def heads(offsets: Integers, count: int) -> Integers:
    """The first `count` rows of each series, or as many as it has."""
    sizes = np.minimum(np.diff(offsets), count)
    begins = np.repeat(offsets[:-1], sizes)
    return np.asarray(begins + np.arange(begins.size) - np.repeat(np.cumsum(sizes) - sizes, sizes))


class Part(NamedTuple):
    """A power of two of a window's values, the newest of them `back` rows before the window's end."""

    size: int
    back: int

    @property
    def merging(self) -> float:
        """Weight of the squared difference of means when this part is merged with all that is newer."""
        return self.back * self.size / (self.back + self.size)


def parts(length: int) -> list[Part]:
    """What a window of `length` values is put together from, newest first: the powers of two, smallest first."""
    sizes = [1 << bit for bit in range(length.bit_length()) if length >> bit & 1]
    return [Part(size, sum(sizes[:place])) for place, size in enumerate(sizes)]


class Block:
    """Sums over 1, 2, 4, ... values at every row of a block, in memory that is used again for the next block.

    Series are not told apart: what a window takes of an earlier series is masked at the end.

    Args:
        rows: the most that a block reads.
        longest: the longest window.
        with_spreads: whether squared deviations are wanted too.
    """

    def __init__(self, rows: int, longest: int, *, with_spreads: bool) -> None:
        self._sizes = [1 << bit for bit in range(1, longest.bit_length())]
        self._memory = np.empty((1 + with_spreads, len(self._sizes), rows))
        self._totals: dict[int, Floats] = {}
        self._deviations: dict[int, Floats] = {}

    def read(self, values: Floats) -> None:
        """Take a block in."""
        rows = values.size
        self._totals = {1: values}
        self._deviations = {1: np.zeros(rows)} if len(self._memory) > 1 else {}
        for size, memory in zip(self._sizes, self._memory.swapaxes(0, 1), strict=True):
            half = size // 2
            newer, older = slice(size - 1, rows), slice(half - 1, rows - half)
            total = self._totals[half]
            self._totals[size] = memory[0, :rows]
            np.add(total[newer], total[older], out=self._totals[size][newer])
            if self._deviations:
                deviation = self._deviations[half]
                self._deviations[size] = memory[1, :rows]
                merged = np.subtract(total[newer], total[older], out=self._deviations[size][newer])
                merged *= merged
                merged *= 1 / size
                merged += deviation[newer]
                merged += deviation[older]

    def write(
        self, lead: int, out: Sequence[Floats], means: Sequence[int], spreads: Sequence[int], lags: Sequence[int]
    ) -> None:
        """Write what ends at the rows after the first `lead` (see `over_panel`), where as many rows were read before."""
        rows = iter(out)
        for length, row in zip(means, rows, strict=False):
            first = max(lead, length - 1)
            self._mean(length, first, row[first - lead :])
        for length, row in zip(spreads, rows, strict=False):
            first = max(lead, length - 1)
            self._spread(length, first, row[first - lead :])
        for lag, row in zip(lags, rows, strict=False):
            first = max(lead, lag - 1)
            row[first - lead :] = _before(self._totals[1], lag - 1, first)

    def _mean(self, length: int, first: int, out: Floats) -> None:
        newest, *older = parts(length)
        total = self._totals[newest.size][first:]
        for part in older:
            total = np.add(total, _before(self._totals[part.size], part.back, first), out=out)
        np.divide(total, length, out=out)

    def _spread(self, length: int, first: int, out: Floats) -> None:
        newest, *older = parts(length)
        total, deviation = self._totals[newest.size][first:], self._deviations[newest.size][first:]
        for part in older:
            added = _before(self._totals[part.size], part.back, first)
            gap = total / part.back - added / part.size
            deviation = deviation + gap * gap * part.merging + _before(self._deviations[part.size], part.back, first)
            total = total + added
        np.sqrt(deviation / (length - 1), out=out)


def _before(values: Floats, back: int, first: int) -> Floats:
    """What stands `back` rows before each row from `first` on."""
    return values[first - back : max(0, values.size - back)]
