"""Window sums: pandas' numbers, and bits that depend on the window's content alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import windows
from tests.data.drawn import NUMBERS, Floats, Integers, age, many_series, same_bits

MANY = settings(max_examples=60, deadline=None)


def rolled(values: Floats, offsets: Integers, length: int, how: Callable[[Floats], float] | str) -> Floats:
    """pandas' rolling window of each series, with pandas' own sum ("mean", "std") or a function of each window."""
    series = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
    windows = pd.Series(values).groupby(series).rolling(length)
    found = windows.agg(how) if isinstance(how, str) else windows.apply(how, raw=True)
    return np.asarray(found, dtype=np.float64)


def deviation(window: Floats) -> float:
    return float(np.std(window, ddof=1))


# pandas' numbers


@MANY
@given(many_series(st.floats(-1e6, 1e6)), st.integers(1, 40))
def test_mean_agrees_with_pandas(series: tuple[Floats, Integers], length: int) -> None:
    values, offsets = series
    got = windows.over_panel(values, offsets, [length])[0]
    wanted = rolled(values, offsets, length, np.mean)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12 * np.abs(values).max())


@MANY
@given(many_series(st.floats(-1e6, 1e6)), st.integers(2, 40))
def test_spread_agrees_with_pandas(series: tuple[Floats, Integers], length: int) -> None:
    values, offsets = series
    got = windows.over_panel(values, offsets, [], [length])[0]
    wanted = rolled(values, offsets, length, deviation)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12 * np.abs(values).max())


@pytest.mark.parametrize("magnitude", [1e-12, 1.0, 1e12])
def test_windows_of_many_lengths_agree_with_pandas(magnitude: float) -> None:
    generator = np.random.default_rng(0)
    offsets = np.array([0, 1, 700, 703, 2_000])
    values = generator.lognormal(size=2_000) * magnitude
    means, spreads = [1, 2, 3, 24, 63, 64, 65, 720], [2, 5, 127, 128, 720]
    got = windows.over_panel(values, offsets, means, spreads)
    for row, length in enumerate(means):
        np.testing.assert_allclose(got[row], rolled(values, offsets, length, "mean"), rtol=1e-11)
    for row, length in enumerate(spreads, start=len(means)):
        np.testing.assert_allclose(got[row], rolled(values, offsets, length, deviation), rtol=1e-9)


def test_spread_of_a_large_level_keeps_its_digits() -> None:
    values = 1e9 + np.array([4.0, 7.0, 13.0, 16.0])
    assert windows.over_panel(values, np.array([0, 4]), [], [4])[0, 3] == pytest.approx(math.sqrt(30), rel=1e-15)


def test_spread_of_equal_values_is_zero_but_for_rounding() -> None:
    spread = windows.over_panel(np.full(9, 0.1), np.array([0, 9]), [], [7])[0, 6:]
    assert spread.tolist() == pytest.approx([0.0] * 3, abs=1e-16)


# The same bits wherever the window stands


@MANY
@given(
    st.lists(NUMBERS, min_size=2, max_size=40),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=5),
)
def test_windows_depend_on_their_content_alone(window: list[float], before: list[float], after: list[float]) -> None:
    size, end = len(window), len(before) + len(window) - 1
    values = np.array(before + window + after)
    moved = windows.over_panel(values, np.array([0, values.size]), [size], [size])[:, end]
    alone = windows.over_panel(np.array(window), np.array([0, size]), [size], [size])[:, -1]
    assert same_bits(moved, alone)
    assert np.isfinite(alone).all()


def test_windows_that_cross_a_block_or_fall_to_two_threads_have_the_same_bits() -> None:
    generator = np.random.default_rng(0)
    edge = windows.BLOCK_ROWS
    offsets = np.array([0, edge - 800, edge - 1, edge, 2 * edge + 5, 2 * edge + 300, 9 * edge])
    values = generator.normal(size=9 * edge) * 10.0 ** generator.uniform(-12, 12, 9 * edge)
    means, spreads, lags = [1, 3, 24, 720], [2, 100, 513], [1, 900]
    got = windows.over_panel(values, offsets, means, spreads, lags)
    for start, stop in itertools.pairwise(offsets):
        for first in range(start, stop, edge // 2):
            part = slice(max(start, first - 899), min(stop, first + edge // 2))
            alone = windows.over_panel(values[part], np.array([0, part.stop - part.start]), means, spreads, lags)
            assert same_bits(got[:, first : part.stop], alone[:, first - part.start :])


def test_windows_longer_than_a_block_agree_with_pandas() -> None:
    length = windows.BLOCK_ROWS + 77
    values = np.random.default_rng(0).normal(size=2 * length)
    got = windows.over_panel(values, np.array([0, values.size]), [length])[0]
    wanted = pd.Series(values).rolling(length).mean()
    np.testing.assert_allclose(got, wanted, atol=1e-12)


# Lags


@MANY
@given(many_series(), st.lists(st.integers(1, 40), min_size=1, max_size=3))
def test_lag_is_the_value_so_many_rows_back(series: tuple[Floats, Integers], lags: list[int]) -> None:
    values, offsets = series
    groups = pd.Series(values).groupby(np.repeat(np.arange(offsets.size - 1), np.diff(offsets)))
    for lag, got in zip(lags, windows.over_panel(values, offsets, [3], [2], lags)[2:], strict=True):
        assert same_bits(got, groups.shift(lag - 1).to_numpy())


# Where there is no window


@MANY
@given(
    many_series(),
    st.lists(st.integers(1, 70), max_size=3),
    st.lists(st.integers(2, 70), max_size=3),
    st.lists(st.integers(1, 70), max_size=3),
)
def test_windows_are_missing_exactly_where_they_reach_before_the_start(
    series: tuple[Floats, Integers], means: list[int], spreads: list[int], lags: list[int]
) -> None:
    values, offsets = series
    got = windows.over_panel(values, offsets, means, spreads, lags)
    for row, length in enumerate([*means, *spreads, *lags]):
        assert np.isnan(got[row]).tolist() == (age(offsets) < length - 1).tolist()


def test_no_windows_give_no_rows() -> None:
    assert windows.over_panel(np.ones(3), np.array([0, 3]), []).shape == (0, 3)


# What a window is put together from


@given(st.integers(1, 5_000))
def test_parts_are_powers_of_two_that_lie_end_to_end(length: int) -> None:
    cut = windows.parts(length)
    assert [part.size.bit_count() for part in cut] == [1] * len(cut)
    assert [part.size for part in cut] == sorted({part.size for part in cut})
    assert [part.back for part in cut] == [0, *itertools.accumulate(part.size for part in cut)][:-1]
    assert sum(part.size for part in cut) == length
