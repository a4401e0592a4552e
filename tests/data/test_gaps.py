"""Gaps are filled as pandas fills them, and a fill never changes a known value."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import gaps
from data.params import Gap
from tests.data.drawn import same_bits

VALUES = st.lists(st.floats(-1e12, 1e12) | st.just(np.nan), min_size=1, max_size=30)
RULES: list[Gap] = ["zero", "forward", "interpolate"]


@given(VALUES)
def test_zero_agrees_with_pandas(values: list[float]) -> None:
    series = np.array(values)
    assert same_bits(gaps.fill(series, "zero"), pd.Series(series).fillna(0.0).to_numpy())


@given(VALUES, st.floats(-1e12, 1e12))
def test_forward_agrees_with_pandas(values: list[float], first: float) -> None:
    series = np.array([first, *values])
    assert same_bits(gaps.fill(series, "forward"), pd.Series(series).ffill().to_numpy())


@given(VALUES, st.floats(-1e12, 1e12))
def test_interpolate_agrees_with_pandas(values: list[float], first: float) -> None:
    series = np.array([first, *values])
    wanted = pd.Series(series).interpolate(method="linear").to_numpy()
    size = float(np.nanmax(np.abs(series)))
    np.testing.assert_allclose(gaps.fill(series, "interpolate"), wanted, rtol=1e-12, atol=1e-13 * size)


@pytest.mark.parametrize("rule", RULES)
@given(values=VALUES, first=st.floats(-1e12, 1e12))
def test_fill_keeps_what_is_known_and_leaves_no_gap(rule: Gap, values: list[float], first: float) -> None:
    series = np.array([first, *values])
    given_bytes = series.tobytes()
    filled = gaps.fill(series, rule)
    known = ~np.isnan(series)
    assert filled.shape == series.shape
    assert np.isfinite(filled).all()
    assert same_bits(filled[known], series[known])
    assert series.tobytes() == given_bytes


@pytest.mark.parametrize("rule", ["zero", "forward"])
@given(values=VALUES, first=st.floats(-1e12, 1e12), cut=st.integers(1, 31))
def test_fill_by_what_came_before_does_not_look_ahead(rule: Gap, values: list[float], first: float, cut: int) -> None:
    series = np.array([first, *values])
    assert same_bits(gaps.fill(series[:cut], rule), gaps.fill(series, rule)[:cut])


def test_interpolate_goes_straight_and_holds_the_last_value() -> None:
    values = np.array([1.0, np.nan, np.nan, 4.0, np.nan, np.nan])
    assert gaps.fill(values, "interpolate").tolist() == [1, 2, 3, 4, 4, 4]


@pytest.mark.parametrize("rule", ["forward", "interpolate"])
def test_fill_refuses_a_series_without_a_first_value(rule: Gap) -> None:
    with pytest.raises(ValueError, match="the first value is missing, so there is nothing to fill from"):
        gaps.fill(np.array([np.nan, 1.0]), rule)
