"""Figures against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.training import tiny
from training import metrics
from training.forecasts import Bounds, Forecasts

Floats = NDArray[np.float64]


def made(actual: Floats, point: Floats, naive: Floats) -> Forecasts:
    origins, horizon = actual.shape
    return Forecasts(
        fold=np.zeros(origins, np.int64),
        origins=np.arange(origins),
        times=np.full(origins, np.datetime64("2024-01-01", "s")),
        inputs=np.zeros((origins * horizon, 1), np.float32),
        scale=np.ones(origins),
        actual=actual,
        point=point,
        naive=naive,
    )


def drawn(seed: int, origins: int, horizon: int, hidden: float) -> tuple[Forecasts, Bounds]:
    draw = np.random.default_rng(seed)
    actual, point, naive = 5 + 10 * draw.standard_normal((3, origins, horizon))
    actual[draw.random(actual.shape) < hidden] = np.nan
    actual[0] = 7.0
    width = draw.random(actual.shape)
    width[: origins // 2] = np.nan
    return made(actual, point, naive), {0.8: (point - 8 * width, point + 8 * width), 0.995: (point - 9, point + 9)}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999), origins=st.integers(1, 9), horizon=st.integers(1, 5), hidden=st.sampled_from([0.0, 0.4])
)
def test_summary_is_that_of_a_plain_loop(seed: int, origins: int, horizon: int, hidden: float) -> None:
    forecasts, bounds = drawn(seed, origins, horizon, hidden)
    cells = [cell for cell in np.ndindex(origins, horizon) if not math.isnan(forecasts.actual[cell])]
    errors = [float(forecasts.point[cell] - forecasts.actual[cell]) for cell in cells]
    naive = [abs(float(forecasts.naive[cell] - forecasts.actual[cell])) for cell in cells]
    size = [abs(float(forecasts.actual[cell])) for cell in cells]
    mae = mean([abs(error) for error in errors])
    wanted = {
        "mae": mae,
        "rmse": math.sqrt(mean([error**2 for error in errors])),
        "bias": mean(errors),
        "wape": mae / mean(size),
        "naive_mae": mean(naive),
        "mae_ratio": mae / mean(naive),
    }
    for level, (low, high) in bounds.items():
        held = [cell for cell in cells if not math.isnan(low[cell])]
        inside = [float(low[cell] <= forecasts.actual[cell] <= high[cell]) for cell in held]
        widths = [float(high[cell] - low[cell]) for cell in np.ndindex(origins, horizon) if not math.isnan(low[cell])]
        wanted[f"coverage_{level * 100:g}"] = mean(inside)
        wanted[f"width_{level * 100:g}"] = mean(widths) / mean(size)
    found = metrics.summary(forecasts, bounds)
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted, nan_ok=True)
    assert all(type(value) is float for value in found.values())


def test_summary_without_a_naive_error_has_no_ratio() -> None:
    values = np.array([[1.0, 2.0]])
    found = metrics.summary(made(values, values + 1, values), {})
    assert found["naive_mae"] == 0
    assert math.isnan(found["mae_ratio"])


def test_summary_of_an_idle_series_has_no_relative_error() -> None:
    nothing = np.zeros((2, 2))
    found = metrics.summary(made(nothing, nothing + 1, nothing + 2), {0.8: (nothing, nothing + 1)})
    assert math.isnan(found["wape"])
    assert math.isnan(found["width_80"])
    assert found["mae_ratio"] == 0.5


def test_summary_without_any_interval_has_no_coverage_and_does_not_warn() -> None:
    """Not a number, which no gate takes for a pass."""
    forecasts, _ = drawn(1, 4, 3, 0.0)
    unknown = np.full((4, 3), np.nan)
    found = metrics.summary(forecasts, {0.8: (unknown, unknown)})
    assert math.isnan(found["coverage_80"])
    assert math.isnan(found["width_80"])


def test_summary_of_a_backtest_beats_the_naive_forecast() -> None:
    forecasts = tiny.backtested(tiny.params(), tiny.panel())
    found = metrics.summary(forecasts, {})
    assert found["mae_ratio"] < 0.9
    assert found["bias"] == pytest.approx(float((forecasts.point - forecasts.actual).mean()))


@pytest.mark.parametrize(
    ("actual", "wanted"),
    [
        ([1.0, 2.0, 3.0, 4.0], 0.5),
        ([2.0, 3.0], 1.0),
        ([1.999, 3.001], 0.0),
        ([np.nan, 2.5, 9.0], 0.5),
    ],
)
def test_coverage_counts_both_ends_in_and_leaves_out_what_is_not_known(actual: list[float], wanted: float) -> None:
    values = np.array(actual)
    assert metrics.coverage(values, np.full_like(values, 2.0), np.full_like(values, 3.0)) == wanted


def test_coverage_of_nothing_is_not_a_number() -> None:
    nothing = np.full(3, np.nan)
    assert math.isnan(metrics.coverage(nothing, np.zeros(3), np.ones(3)))
    assert math.isnan(metrics.coverage(np.zeros(3), nothing, nothing))


def test_by_step_is_the_summary_of_each_step() -> None:
    forecasts, bounds = drawn(2, 8, 3, 0.2)
    rows = metrics.by_step(forecasts, bounds)
    assert [row["step"] for row in rows] == [1, 2, 3]
    for at, row in enumerate(rows):
        column = slice(at, at + 1)
        part = made(forecasts.actual[:, column], forecasts.point[:, column], forecasts.naive[:, column])
        ends = {level: (low[:, column], high[:, column]) for level, (low, high) in bounds.items()}
        wanted = metrics.summary(part, ends)
        assert list(row) == ["step", "mae", "naive_mae", "coverage_80", "coverage_99.5"]
        assert row == {"step": at + 1} | {name: pytest.approx(wanted[name], nan_ok=True) for name in list(row)[1:]}


def test_by_step_of_a_step_never_observed_is_not_a_number_and_does_not_warn() -> None:
    forecasts, _ = drawn(3, 4, 3, 0.0)
    forecasts.actual[:, 1] = np.nan
    rows = metrics.by_step(forecasts, {})
    assert [math.isnan(row["mae"]) for row in rows] == [False, True, False]
