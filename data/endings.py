"""Moving averages and spreads that end at chosen rows: the numbers of `windows.over_panel`, bit for bit, for serving.

Which value is added to which depends on the declared lengths alone. It is laid out once, so that a
request costs one look-up and one addition for each doubling, however many windows there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from data.windows import Part, parts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Endings:
    """Windows and lags of declared lengths.

    Args:
        means: lengths of the moving averages, in steps.
        spreads: lengths of the standard deviations (divisor n - 1), in steps, each 2 or more.
        lags: which of the newest values, counted from 1, the row's own.
    """

    def __init__(self, means: Sequence[int], spreads: Sequence[int] = (), lags: Sequence[int] = ()) -> None:
        windows = [*map(parts, (*means, *spreads)), *([Part(1, lag - 1)] for lag in lags)]
        self._tree = Tree(itertools.chain(*windows), leaf=1)
        self._parts = self._tree.places(windows)
        self._longest = max((*means, *spreads, *lags), default=1)
        self._leaves = np.array([self._longest - 1 - leaf.back for leaf in self._tree.leaves], dtype=np.int64)
        self._lengths = np.array([*means, *spreads, *(1 for _ in lags)], dtype=np.float64)[:, None]
        self._spread = slice(len(means), len(means) + len(spreads))
        self._spreads = _Spreads(windows[self._spread], self._tree) if spreads else None

    def at(self, values: Floats, ends: Integers) -> Floats:
        """What ends at chosen rows: shape (len(means) + len(spreads) + len(lags), origins).

        Args:
            values: shape (rows,); each window must lie within its series.
            ends: shape (origins,), the row each window ends with.
        """
        stretches = np.ndarray((values.size - self._longest + 1, self._longest), np.float64, values, strides=(8, 8))
        return self.of(stretches[ends - (self._longest - 1)])

    def of(self, recent: Floats) -> Floats:
        """The same for values that were taken out already.

        Args:
            recent: shape (origins, longest), the values up to each origin.
        """
        sums = np.empty((len(self._tree.nodes) + 1, len(recent)))
        sums[: self._leaves.size] = recent.T.take(self._leaves, axis=0)
        sums[-1] = -0.0  # for a part that is missing: x + -0.0 is x to the last bit
        for newer, older, both in self._tree.rounds:
            np.add(sums[newer], sums[older], out=sums[both])
        added = sums.take(self._parts, axis=0)
        totals = np.add.accumulate(added, axis=0)
        out = np.asarray(totals[-1] / self._lengths)
        if self._spreads:
            where = self._spread
            out[where] = self._spreads.of(sums, added[:, where], totals[:, where])
        return out


class Tree:
    """Where the sums over powers of two stand in one array, so that each doubling is one addition.

    The leaves come first, then the sums of two leaves, and so on. Among the sums of one size the newer
    halves of all longer ones come first, then their older halves, in the order of the sums that they make.

    Args:
        parts: what is summed.
        leaf: how many values a leaf stands for.

    Attributes:
        nodes: what each sum is over.
        leaves: the first of them.
        place: where the sum over a node stands.
        rounds: where the newer halves, the older halves and their sums stand.
    """

    def __init__(self, parts: Iterable[Part], leaf: int) -> None:
        parts = set(parts)
        levels: list[list[Part]] = [[]]
        size = max((part.size for part in parts), default=leaf)
        while size >= leaf:
            halves = [Part(size, node.back + older) for older in (0, size) for node in levels[-1]]
            levels.append(halves + sorted(part for part in parts - set(halves) if part.size == size))
            size //= 2
        levels.reverse()
        self.leaves = levels[0]
        self.nodes = list(itertools.chain(*levels))
        self.place = {node: place for place, node in enumerate(self.nodes)}
        self.rounds: list[tuple[slice, slice, slice]] = []
        start = 0
        for below, level in itertools.pairwise(levels[:-1]):
            middle, stop, above = start + len(level), start + 2 * len(level), start + len(below)
            self.rounds.append((slice(start, middle), slice(middle, stop), slice(above, above + len(level))))
            start = above

    def places(self, windows: Sequence[Sequence[Part]]) -> Integers:
        """Shape (parts, windows): where each part of each window stands; past the last sum for one that is missing."""
        found = ([self.place.get(part, len(self.nodes)) for part in window] for window in windows)
        return np.array(list(itertools.zip_longest(*found, fillvalue=len(self.nodes))), dtype=np.int64)


class _Spreads:
    """Standard deviations of windows whose sums are known.

    Args:
        windows: the parts of each.
        sums: where the sums of the parts stand.
    """

    def __init__(self, windows: Sequence[Sequence[Part]], sums: Tree) -> None:
        self._tree = Tree((part for part in itertools.chain(*windows) if part.size > 1), leaf=2)
        nodes = self._tree.nodes
        self._newer = np.array([sums.place[Part(node.size // 2, node.back)] for node in nodes])
        self._older = np.array([sums.place[Part(node.size // 2, node.back + node.size // 2)] for node in nodes])
        self._weights = np.array([1 / node.size for node in nodes])[:, None]
        self._parts = self._tree.places(windows)
        merged = list(itertools.zip_longest(*windows, fillvalue=Part(1, 0)))[1:]
        shape = (len(merged), len(windows), 1)
        self._back = np.array([[max(1, part.back) for part in row] for row in merged], dtype=np.float64).reshape(shape)
        self._size = np.array([[part.size for part in row] for row in merged], dtype=np.float64).reshape(shape)
        self._merging = np.array([[part.merging for part in row] for row in merged]).reshape(shape)
        self._free = np.array([sum(part.size for part in window) - 1 for window in windows])[:, None]

    def of(self, sums: Floats, added: Floats, totals: Floats) -> Floats:
        """Shape (windows, origins).

        Args:
            sums: shape (sums + 1, origins), as the tree says.
            added: shape (parts, windows, origins), the sum of each part.
            totals: of the same shape, the sum of each part and all newer ones.
        """
        squares = np.empty((len(self._tree.nodes) + 1, sums.shape[1]))
        np.subtract(sums.take(self._newer, axis=0), sums.take(self._older, axis=0), out=squares[:-1])
        squares[-1] = 0.0
        squares *= squares
        squares[:-1] *= self._weights
        for newer, older, both in self._tree.rounds:
            merged = squares[both]
            merged += squares[newer]
            merged += squares[older]
        count, windows = self._parts.shape
        gap = totals[: count - 1] / self._back - added[1:count] / self._size
        deviations = np.empty((2 * count - 1, windows, sums.shape[1]))
        deviations[::2] = squares.take(self._parts, axis=0)
        np.multiply(gap * gap, self._merging, out=deviations[1::2])
        return np.asarray(np.sqrt(np.add.accumulate(deviations, axis=0)[-1] / self._free))
