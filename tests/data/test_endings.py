"""Windows at chosen rows: the bits of the whole panel, however many are asked for at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data import windows
from data.endings import Endings, Tree
from data.windows import Part, parts
from tests.data.drawn import Floats, Integers, age, many_series, same_bits

MANY = settings(max_examples=100, deadline=None)
MEANS = st.lists(st.integers(1, 40), max_size=4)
SPREADS = st.lists(st.integers(2, 40), max_size=4)
LAGS = st.lists(st.integers(1, 40), max_size=4)


@MANY
@given(many_series(), MEANS, SPREADS, LAGS)
def test_chosen_rows_have_the_bits_of_the_whole_panel(
    series: tuple[Floats, Integers], means: list[int], spreads: list[int], lags: list[int]
) -> None:
    values, offsets = series
    rows = np.flatnonzero(age(offsets) >= max([*means, *spreads, *lags, 1]) - 1)
    assume(rows.size > 0)
    wanted = windows.over_panel(values, offsets, [1, *means], spreads, lags)[:, rows]
    assert same_bits(Endings([1, *means], spreads, lags).at(values, rows), wanted)


@pytest.mark.parametrize("origins", [1, 2, 63, 700])
def test_windows_of_many_lengths_have_the_bits_of_the_whole_panel(origins: int) -> None:
    generator = np.random.default_rng(origins)
    values = generator.normal(size=5_000) * 10.0 ** generator.uniform(-12, 12, 5_000)
    means, spreads, lags = [1, 2, 3, 24, 255, 256, 257, 720, 1_023], [2, 3, 24, 127, 720, 1_024], [1, 7, 1_100]
    rows = 1_099 + generator.integers(0, 5_000 - 1_099, origins)
    wanted = windows.over_panel(values, np.array([0, 5_000]), means, spreads, lags)[:, rows]
    assert same_bits(Endings(means, spreads, lags).at(values, rows), wanted)


@MANY
@given(st.lists(st.floats(-1e6, 1e6), min_size=9, max_size=9))
def test_values_taken_out_give_what_they_give_in_place(recent: list[float]) -> None:
    endings = Endings([2, 9], [5], [3])
    values = np.array([7.0, *recent, 8.0])
    assert same_bits(endings.of(values[None, 1:10]), endings.at(values, np.array([9])))


def test_minus_zero_is_kept() -> None:
    zeros = np.array([-0.0, -0.0, -0.0])
    got = Endings([1, 3], [], [2]).at(zeros, np.array([2]))
    assert same_bits(got, np.full((3, 1), -0.0))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_tree_adds_the_newer_half_to_the_older_one_next_to_it(lengths: list[int]) -> None:
    tree = Tree((part for length in lengths for part in parts(length)), leaf=1)
    assert all(leaf.size == 1 for leaf in tree.leaves)
    made = dict(enumerate(tree.leaves))
    for newer, older, both in tree.rounds:
        for left, right, whole in zip(*(range(len(tree.nodes))[part] for part in (newer, older, both)), strict=True):
            assert made[right] == Part(made[left].size, made[left].back + made[left].size)
            made[whole] = Part(2 * made[left].size, made[left].back)
    assert [made[place] for place in range(len(tree.nodes))] == tree.nodes
    assert set(itertools.chain(*map(parts, lengths))) <= set(tree.nodes)
