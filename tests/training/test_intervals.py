"""Intervals that hold the share they promise, made of errors that no model had seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.errors import ConfigError, RequestError
from data.forecaster import SPREAD_FLOOR, Calibration
from data.params import FEWEST_FOLDS, Train, Trees
from tests.training import tiny
from training import intervals, metrics
from training.forecasts import Forecasts

Floats = NDArray[np.float64]

HORIZON, FOLDS = 4, 4
DAY = 86_400.0
LONG = 10_000 * DAY
TRAIN = Train(max_rows=1_000, spread=Trees(max_iter=30, max_leaf_nodes=8, min_samples_leaf=30, learning_rate=0.2))


def synthetic(seed: int, origins: int = 250, *, skew: bool = False) -> Forecasts:
    """Forecasts whose error is known: scale * (0.2 + 0.8 load) * (1 + step / 4) * a standard normal, or a skewed one."""
    draw = np.random.default_rng(seed)
    total = FOLDS * origins
    load = (draw.random((total, 1)) < 0.5) * 0.9 + 0.05 + 0.05 * draw.random((total, HORIZON))
    step = np.broadcast_to(np.arange(1.0, HORIZON + 1), load.shape)
    noise = draw.standard_normal(load.shape)
    if skew:
        noise = np.exp(noise) - np.exp(0.5)
    scale = 5 * np.exp(draw.standard_normal(total))
    point = 10 * scale[:, None] * (1 + draw.random(load.shape))
    error = scale[:, None] * (0.2 + 0.8 * load) * (1 + step / 4) * noise
    return Forecasts(
        fold=np.repeat(np.arange(FOLDS), origins),
        origins=np.arange(total),
        times=np.datetime64("2024-01-01", "s") + (np.arange(total) * 3_600).astype("timedelta64[s]"),
        inputs=np.stack([step.ravel(), load.ravel()], axis=1).astype(np.float32),
        scale=scale,
        actual=point + error,
        point=point,
        naive=point,
    )


def of(forecasts: Forecasts, folds: NDArray[np.bool_], actual: Floats) -> Forecasts:
    """The forecasts, with other actuals in some folds."""
    return dataclasses.replace(forecasts, actual=np.where(folds[:, None], actual, forecasts.actual))


def coverage(actual: Floats, ends: tuple[Floats, Floats], rows: NDArray[np.bool_] | slice = slice(None)) -> float:
    low, high = ends
    return float(((actual >= low) & (actual <= high))[rows].mean())


@pytest.mark.parametrize("skew", [False, True])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_calibrated_intervals_hold_what_they_promise_on_fresh_data(level: float, skew: bool) -> None:  # noqa: FBT001
    past, fresh = synthetic(1, skew=skew), synthetic(2, skew=skew)
    calibration = intervals.calibrate(past, intervals.forward_spread(past, TRAIN), LONG)
    spreads = intervals.spread(intervals.fit_spread(past, TRAIN), fresh)
    ends = intervals.bounds(fresh, spreads, calibration, level, nonnegative=False)
    assert coverage(fresh.actual, ends) == pytest.approx(level, abs=0.03)
    for step in range(HORIZON):
        own = coverage(fresh.actual[:, step], (ends[0][:, step], ends[1][:, step]))
        assert own == pytest.approx(level, abs=0.06)
    busy = fresh.inputs[::HORIZON, 1] > 0.5
    for rows in (busy, ~busy):
        assert coverage(fresh.actual, ends, rows) == pytest.approx(level, abs=0.06)
    width = ends[1] - ends[0]
    assert np.median((width / fresh.scale[:, None])[busy]) > 2 * np.median((width / fresh.scale[:, None])[~busy])


def test_each_tail_holds_its_own_share() -> None:
    past, fresh = synthetic(1, skew=True), synthetic(2, skew=True)
    calibration = intervals.calibrate(past, intervals.forward_spread(past, TRAIN), LONG)
    spreads = intervals.spread(intervals.fit_spread(past, TRAIN), fresh)
    for level in (0.025, 0.1, 0.5, 0.9, 0.975):
        below = float((fresh.actual <= fresh.point + spreads * calibration.at(level)).mean())
        assert below == pytest.approx(level, abs=0.03)


def test_quantiles_rise_with_the_level() -> None:
    past = synthetic(3, 60)
    calibration = intervals.calibrate(past, intervals.forward_spread(past, TRAIN), LONG)
    assert calibration.levels == intervals.LEVELS
    assert list(calibration.levels) == sorted(set(calibration.levels))
    table = np.array(calibration.quantiles)
    assert table.shape == (HORIZON, len(intervals.LEVELS))
    assert (np.diff(table, axis=1) >= 0).all()
    at = np.stack([calibration.at(level) for level in np.linspace(0.005, 0.995, 150)])
    assert (np.diff(at, axis=0) >= 0).all()


@settings(deadline=None, max_examples=200)
@given(level=st.floats(0, 1, exclude_min=True))
@example(level=0.99)
@example(level=np.nextafter(0.99, 1))
def test_every_level_that_params_takes_is_calibrated_and_no_other(level: float) -> None:
    calibration = Calibration(levels=intervals.LEVELS, quantiles=(intervals.LEVELS,))
    try:
        tiny.params({"backtest": {"levels": [level]}})
    except ConfigError:
        with pytest.raises(RequestError, match="is outside what was calibrated"):
            [calibration.at(edge) for edge in ((1 - level) / 2, (1 + level) / 2)]
    else:
        assert calibration.at((1 - level) / 2) <= calibration.at((1 + level) / 2)


def test_the_interval_of_a_higher_level_holds_that_of_a_lower() -> None:
    past = synthetic(3, 60)
    spreads = intervals.forward_spread(past, TRAIN)
    calibration = intervals.calibrate(past, spreads, LONG)
    inner, outer = (intervals.bounds(past, spreads, calibration, level, nonnegative=False) for level in (0.8, 0.95))
    known = ~np.isnan(spreads)
    assert (outer[0][known] <= inner[0][known]).all()
    assert (inner[0][known] <= inner[1][known]).all()
    assert (inner[1][known] <= outer[1][known]).all()


def test_spreads_come_from_models_that_have_not_seen_their_fold() -> None:
    past = synthetic(4, 60)
    before = intervals.forward_spread(past, TRAIN)
    for fold in range(FOLDS):
        own = past.fold == fold
        after = intervals.forward_spread(of(past, own, past.actual + 1_000.0), TRAIN)
        assert np.array_equal(after[own], before[own], equal_nan=True)
        assert np.array_equal(after[past.fold < fold], before[past.fold < fold], equal_nan=True)
        assert fold == FOLDS - 1 or not np.array_equal(after[past.fold > fold], before[past.fold > fold])


def test_spreads_of_the_first_fold_are_not_known() -> None:
    past = synthetic(4, 60)
    found = intervals.forward_spread(past, TRAIN)
    assert np.isnan(found[past.fold == 0]).all()
    assert (found[past.fold > 0] >= SPREAD_FLOOR * past.scale[past.fold > 0, None]).all()


def test_spread_is_that_of_the_exported_model_with_its_floor() -> None:
    past = synthetic(5, 60)
    exact = dataclasses.replace(past, actual=past.point.copy())
    found = intervals.spread(intervals.fit_spread(exact, TRAIN), exact)
    assert np.array_equal(found, np.broadcast_to(SPREAD_FLOOR * exact.scale[:, None], found.shape))


def test_spread_is_learnt_in_units_of_the_scale() -> None:
    """A large series and a small one, as hard to forecast as each other, have the same spread for their scale."""
    past, fresh = synthetic(1), synthetic(2)
    found = intervals.spread(intervals.fit_spread(past, TRAIN), fresh) / fresh.scale[:, None]
    step, load = fresh.inputs.reshape(-1, HORIZON, 2).transpose(2, 0, 1).astype(np.float64)
    median_of_normal = 0.6745
    wanted = median_of_normal * (0.2 + 0.8 * load) * (1 + step / 4)
    assert np.median(np.abs(found / wanted - 1)) < 0.15
    large = fresh.scale > np.median(fresh.scale)
    assert np.mean((found / wanted)[large]) == pytest.approx(np.mean((found / wanted)[~large]), rel=0.05)


def test_rolling_bounds_are_made_of_earlier_folds_alone() -> None:
    past = synthetic(6, 60)
    levels = (0.8, 0.95)

    def made(forecasts: Forecasts) -> dict[float, tuple[Floats, Floats]]:
        spreads = intervals.forward_spread(forecasts, TRAIN)
        return intervals.rolling_bounds(forecasts, spreads, levels, LONG, nonnegative=False)

    before = made(past)
    assert tuple(before) == levels
    for fold in range(FOLDS):
        up_to, later = past.fold <= fold, past.fold > fold
        after = made(of(past, past.fold >= fold, past.actual * 7 + 3))
        for level in levels:
            for old, new in zip(before[level], after[level], strict=True):
                assert np.array_equal(new[up_to], old[up_to], equal_nan=True)
                assert np.isnan(old[past.fold < 2]).all()
                assert not np.isnan(old[past.fold >= 2]).any()
                assert not later.any() or not np.array_equal(new[later], old[later])


@pytest.mark.parametrize("folds", [1, 2, 3, 4])
def test_rolling_bounds_of_as_many_folds_as_params_asks_for_have_a_coverage(folds: int) -> None:
    past = synthetic(6, 60)
    past = past.take(past.fold < folds)
    made = intervals.rolling_bounds(past, intervals.forward_spread(past, TRAIN), (0.8,), LONG, nonnegative=False)
    assert np.isfinite(metrics.coverage(past.actual, *made[0.8])) == (folds >= FEWEST_FOLDS)


def test_rolling_bounds_hold_what_they_promise() -> None:
    found = []
    for seed in range(12):
        past = synthetic(seed, 120)
        spreads = intervals.forward_spread(past, TRAIN)
        made = intervals.rolling_bounds(past, spreads, (0.8, 0.95), LONG, nonnegative=False)
        found.append([coverage(past.actual, ends, past.fold >= 2) for ends in made.values()])
    assert np.mean(found, axis=0) == pytest.approx([0.8, 0.95], abs=0.02)


def test_rolling_bounds_are_those_of_the_last_fold_calibrated_by_hand() -> None:
    past = synthetic(8, 60)
    spreads = intervals.forward_spread(past, TRAIN)
    made = intervals.rolling_bounds(past, spreads, (0.8,), DAY, nonnegative=True)[0.8]
    before, own = past.take(past.fold < 3), past.fold == 3
    calibration = intervals.calibrate(before, intervals.forward_spread(before, TRAIN), DAY)
    model = intervals.fit_spread(before, TRAIN)
    now = past.take(own)
    wanted = intervals.bounds(now, intervals.spread(model, now), calibration, 0.8, nonnegative=True)
    assert np.array_equal(made[0][own], wanted[0])
    assert np.array_equal(made[1][own], wanted[1])


def test_bounds_below_zero_are_raised_only_if_the_series_is_nonnegative() -> None:
    past = synthetic(9, 60)
    past = dataclasses.replace(past, point=past.point - 12 * past.scale[:, None])
    spreads = np.ones_like(past.point)
    calibration = Calibration(levels=(0.05, 0.95), quantiles=((-1.0, 1.0),) * HORIZON)
    free = intervals.bounds(past, spreads, calibration, 0.8, nonnegative=False)
    bound = intervals.bounds(past, spreads, calibration, 0.8, nonnegative=True)
    assert (free[1] < 0).any()
    for raw, raised in zip(free, bound, strict=True):
        assert np.array_equal(raised, np.maximum(raw, 0.0))


def test_calibration_takes_the_errors_of_neighbouring_steps_along() -> None:
    past = synthetic(10, 60)
    ones = np.ones_like(past.point)
    error = np.zeros_like(past.point)
    error[:, 3] = 5.0
    quantiles = np.array(
        intervals.calibrate(dataclasses.replace(past, actual=past.point + error), ones, LONG).quantiles
    )
    assert (quantiles[:, -1] > 4).tolist() == [False, False, True, True]


def test_calibration_leaves_out_what_was_not_observed() -> None:
    past = synthetic(11, 60)
    spreads = intervals.forward_spread(past, TRAIN)
    kept = np.asarray(np.random.default_rng(0).random(past.actual.shape[0]) > 0.3)
    gappy = dataclasses.replace(past, actual=np.where(kept[:, None], past.actual, np.nan))
    part = intervals.calibrate(past.take(kept), spreads[kept], LONG)
    whole = intervals.calibrate(gappy, spreads, LONG)
    assert np.allclose(np.array(whole.quantiles), np.array(part.quantiles))


def test_recent_errors_count_more() -> None:
    past = synthetic(12, 100)
    spreads = np.ones_like(past.point) * past.scale[:, None]
    grown = of(past, past.fold == FOLDS - 1, past.point + 3 * (past.actual - past.point))
    level, upper = {}, {}
    for name, half_life in (("long", LONG), ("short", 2 * DAY)):
        calibration = intervals.calibrate(grown, spreads, half_life)
        level[name] = calibration.at(0.95)
        last = past.fold == FOLDS - 1
        upper[name] = float((grown.actual <= grown.point + spreads * level[name])[last].mean())
    assert (level["short"] > level["long"]).all()
    assert upper["long"] < 0.93
    assert upper["short"] == pytest.approx(0.95, abs=0.02)


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    counts=st.lists(st.integers(1, 5), min_size=30, max_size=30),
)
def test_weighted_quantiles_are_those_of_values_written_out_as_often(values: list[float], counts: list[int]) -> None:
    weights = np.array(counts[: len(values)])
    levels = (0.1, 0.25, 0.5, 0.731, 0.9)
    found = intervals.weighted_quantiles(np.array(values), weights.astype(np.float64), levels)
    wanted = np.quantile(np.repeat(values, weights), levels, method="inverted_cdf")
    assert np.array_equal(found, wanted)


def test_weighted_quantiles_leave_out_nan() -> None:
    values, weights = np.array([3.0, np.nan, 1.0, 2.0]), np.array([1.0, 9.0, 1.0, 1.0])
    assert intervals.weighted_quantiles(values, weights, (0.2, 0.5, 0.8)).tolist() == [1.0, 2.0, 3.0]
