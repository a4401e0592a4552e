"""Values that break limits, against a loop over them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data import invariants
from data.params import ColumnLimits

NAN = float("nan")
STRETCHES = st.lists(st.lists(st.sampled_from([NAN, -1.0, 0.0, 1.0, 2.0]), min_size=1, max_size=8), max_size=4)


def flat(stretches: list[list[float]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values = np.array([value for part in stretches for value in part], dtype=np.float64)
    return values, np.cumsum([0, *map(len, stretches)])[:-1].astype(np.int64)


@given(STRETCHES)
def test_runs_are_those_that_a_loop_finds(stretches: list[list[float]]) -> None:
    values, begins = flat(stretches)
    wanted = [
        size
        for part in stretches
        for value, group in itertools.groupby(part)
        for size in ([len(list(group))] if value == value else [1] * len(list(group)))
    ]
    assert invariants.runs(values, begins).tolist() == wanted


@given(STRETCHES, st.none() | st.floats(-1, 2), st.none() | st.floats(-1, 2), st.integers(2, 5))
def test_counts_are_those_that_a_loop_finds(
    stretches: list[list[float]], low: float | None, high: float | None, hours: int
) -> None:
    values, begins = flat(stretches)
    limits = ColumnLimits.model_construct(low=low, high=high, constant=f"{hours}h")
    runs = invariants.runs(values, begins).tolist()
    assert invariants.count(values, begins, limits, 3_600) == {
        "low": sum(low is not None and value < low for value in values.tolist()),
        "high": sum(high is not None and value > high for value in values.tolist()),
        "constant": sum(run for run in runs if run > hours),
        "missing": sum(value != value for value in values.tolist()),
    }


@pytest.mark.parametrize("size", [0, 5])
def test_column_without_limits_breaks_none(size: int) -> None:
    values = np.full(size, 1e300)
    found = invariants.count(values, np.zeros(1, np.int64), ColumnLimits(), 60)
    assert found == dict.fromkeys(invariants.KINDS, 0)


def test_run_that_lasts_just_as_long_as_allowed_is_no_fault() -> None:
    values, begins = np.array([5.0] * 4 + [6.0]), np.zeros(1, np.int64)
    assert invariants.count(values, begins, ColumnLimits(constant="1h"), 900)["constant"] == 0
    assert invariants.count(values, begins, ColumnLimits(constant="45min"), 900)["constant"] == 4
