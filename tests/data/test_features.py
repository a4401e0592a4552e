"""Features: the same bits in training and serving, nothing from after the origin, the numbers a slow loop gives."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import features
from data.declaration import Declaration
from data.errors import ConfigError, DataError
from data.features import Design, scale_floor
from data.matching import RATIO_FLOOR
from data.panel import Panel
from tests.data import drawn, project
from tests.data.drawn import Integers

MANY = settings(max_examples=60, deadline=None)


def possible(design: Design, panel: Panel) -> Integers:
    """Every row that has enough history and the whole horizon after it."""
    left = panel.offsets[1:][panel.series] - 1 - np.arange(panel.target.size)
    return np.flatnonzero((panel.age >= design.context - 1) & (left >= design.horizon))


def some(data: st.DataObject, rows: Integers) -> Integers:
    """A few of the rows, in any order."""
    return np.array(data.draw(st.lists(st.sampled_from(rows.tolist()), min_size=1, max_size=6)), dtype=np.int64)


# Serving computes what training computed


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_features_of_a_client_are_the_bits_of_training(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    origins = some(data, possible(design, panel))
    trained = design.origin_table(panel)[:, origins]

    cut, ends = drawn.asked(design, panel, origins)
    served = design.origin_rows(cut, ends)
    assert drawn.same_bits(served, trained)

    wanted, got = design.rows(panel, origins, trained), design.rows(cut, ends, served)
    assert drawn.same_bits(got.inputs, wanted.inputs)
    assert drawn.same_bits(got.scale, wanted.scale)
    asked = design.rows(cut, ends)
    assert drawn.same_bits(asked.inputs, wanted.inputs)
    assert drawn.same_bits(asked.scale, wanted.scale)


@MANY
@given(st.data())
def test_features_do_not_depend_on_how_much_history_is_sent(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    origins = some(data, possible(design, panel))
    cut, ends = drawn.asked(design, panel, origins)
    longer, later = drawn.asked(design, panel, origins, extra=data.draw(st.integers(1, 20)))
    least, most = design.origin_rows(cut, ends), design.origin_rows(longer, later)
    assert drawn.same_bits(most, least)
    assert drawn.same_bits(design.rows(longer, later).inputs, design.rows(cut, ends).inputs)


@MANY
@given(st.data())
def test_features_do_not_depend_on_the_batch(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    origins = some(data, possible(design, panel))
    batch, ends = drawn.asked(design, panel, origins)
    together = design.rows(batch, ends).inputs
    for place, origin in enumerate(origins):
        single, end = drawn.asked(design, panel, np.array([origin]))
        alone = design.rows(single, end).inputs
        assert drawn.same_bits(alone, together[place * design.horizon : (place + 1) * design.horizon])


@MANY
@given(st.data())
def test_features_at_every_row_are_those_at_chosen_rows(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    rows = np.flatnonzero(panel.age >= design.context - 1)
    assert drawn.same_bits(design.origin_rows(panel, rows), design.origin_table(panel)[:, rows])


def test_features_of_the_project_are_the_bits_of_training() -> None:
    params = project.changed()
    design = Design(Declaration(series=params.series, features=params.features), floor=1e-3)
    generator = np.random.default_rng(0)
    covariates = {name: generator.integers(0, 2, 6_000).astype(np.float64) for name in params.series.covariates.names}
    panel = Panel(
        ids=("a", "b"),
        offsets=np.array([0, 2_500, 6_000]),
        starts=np.array(["2023-12-25T05", "2022-02-01T00"], dtype="datetime64[s]"),
        step_seconds=3_600,
        target=generator.poisson(20.0, 6_000) * np.repeat([1e-9, 1e9], [2_500, 3_500]),
        observed=np.ones(6_000, dtype=np.bool_),
        covariates=covariates,
    )
    origins = generator.permutation(design.origins(panel))[: 2 * features.BLOCK_ORIGINS + 9]
    trained = design.origin_table(panel)[:, origins]
    cut, ends = drawn.asked(design, panel, origins)
    served = design.origin_rows(cut, ends)
    inputs = design.rows(cut, ends).inputs
    assert drawn.same_bits(served, trained)
    assert drawn.same_bits(inputs, design.rows(panel, origins, trained).inputs)
    assert np.isfinite(inputs).all()
    for place in (0, features.BLOCK_ORIGINS, origins.size - 1):
        single, end = drawn.asked(design, panel, origins[[place]])
        own = slice(place * design.horizon, (place + 1) * design.horizon)
        assert drawn.same_bits(design.rows(single, end).inputs, inputs[own])


# Nothing from after the origin


@MANY
@given(st.data())
def test_features_do_not_look_past_the_origin(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    origin = some(data, possible(design, panel))[:1]
    before = design.origin_table(panel)[:, origin]
    inputs = design.rows(panel, origin, before).inputs

    later = np.arange(panel.target.size) > origin[0]
    other = data.draw(st.sampled_from([math.nan, 0.0, -1e12, 1e300]))
    past = design.declaration.series.covariates.past
    changed = replace(
        panel,
        target=np.where(later, other, panel.target),
        covariates={
            name: np.where(later, other, values) if name in past else values
            for name, values in panel.covariates.items()
        },
    )
    after = design.origin_table(changed)[:, origin]
    assert drawn.same_bits(after, before)
    assert drawn.same_bits(design.rows(changed, origin, after).inputs, inputs)


@MANY
@given(st.data())
def test_features_do_not_look_at_another_series(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    origin = some(data, possible(design, panel))[:1]
    before = design.origin_table(panel)[:, origin]
    other = panel.series != panel.series[origin[0]]
    changed = replace(
        panel,
        target=np.where(other, -1e300, panel.target),
        covariates={name: np.where(other, np.nan, values) for name, values in panel.covariates.items()},
    )
    after = design.origin_table(changed)[:, origin]
    assert drawn.same_bits(after, before)
    assert drawn.same_bits(design.rows(changed, origin, after).inputs, design.rows(panel, origin, before).inputs)


# The numbers themselves


def naive(design: Design, panel: Panel, origin: int, step: int) -> dict[str, float]:
    """All features of one (origin, step) in plain Python, from the declaration's own words."""
    series, features = design.declaration.series, design.declaration.features
    start = int(panel.offsets[panel.series[origin]])
    history = panel.target[start : origin + 1].tolist()
    moment = panel.times[origin].item() + dt.timedelta(seconds=step * panel.step_seconds)

    def steps(duration: str) -> int:
        number = int("".join(filter(str.isdigit, duration)))
        unit = {"min": 60, "h": 3_600, "d": 86_400}[duration.lstrip("0123456789")]
        return number * unit // panel.step_seconds

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values) if values else math.nan

    def ago(back: int, *, now: int = len(history) - 1) -> float:
        assert 0 <= now - back < len(history), "the feature would look past the origin"
        return float(history[now - back])

    scale = max(mean([abs(value) for value in history[-steps(features.scale) :]]), drawn.FLOOR)
    target = len(history) - 1 + step
    found = {"step": float(step)}
    found |= {f"lag_{lag}": ago(lag - 1) / scale for lag in features.lags}
    found |= {f"mean_{window}": mean(history[-steps(window) :]) / scale for window in features.moving_averages}
    for window in features.rolling_spread:
        values = history[-steps(window) :]
        squares = [(value - mean(values)) ** 2 for value in values]
        found[f"spread_{window}"] = math.sqrt(math.fsum(squares) / (len(values) - 1)) / scale
    for lag in features.seasonal_lags:
        found[f"seasonal_lag_{lag}"] = ago(steps(lag), now=target) / scale
    for lag, count in features.seasonal_means.items():
        values = [ago(turn * steps(lag), now=target) for turn in range(1, count + 1)]
        found[f"seasonal_mean_{lag}_x{count}"] = mean(values) / scale

    if features.matched_means:
        matched = features.matched_means

        def condition(row: int) -> float:
            if matched.match in panel.covariates:
                return float(panel.covariates[matched.match][start + row])
            return calendar(matched.match, panel.times[start].item() + dt.timedelta(seconds=row * panel.step_seconds))

        def expected(row: int, count: int) -> float:
            season = steps(matched.season)
            rows = range(row - season, row - steps(matched.lookback) - 1, -season)
            return mean([history[r] for r in rows if r >= 0 and condition(r) == condition(row)][:count])

        for count in matched.counts:
            found[f"matched_mean_{count}"] = expected(target, count) / scale
        for window in matched.ratios:
            rows = list(range(len(history) - steps(window), len(history)))
            above = mean([history[row] for row in rows]) + RATIO_FLOOR * scale
            below = mean([expected(row, matched.ratio_count) for row in rows]) + RATIO_FLOOR * scale
            found[f"ratio_{window}"] = above / below
    found |= {name: calendar(name, moment) for name in features.calendar}
    if features.covariates == "use":
        found |= {f"past_{name}": panel.covariates[name][origin].item() for name in series.covariates.past}
        found |= {f"future_{name}": panel.covariates[name][origin + step].item() for name in series.covariates.future}
    return found


def calendar(name: str, moment: dt.datetime) -> float:
    """A calendar feature from Python's own datetime."""
    features: dict[str, Callable[[], int]] = {
        "hour": lambda: moment.hour,
        "minute_of_day": lambda: 60 * moment.hour + moment.minute,
        "day_of_week": moment.weekday,
        "hour_of_week": lambda: 24 * moment.weekday() + moment.hour,
        "day_of_month": lambda: moment.day,
        "day_of_year": lambda: moment.timetuple().tm_yday,
        "week_of_year": lambda: (moment.timetuple().tm_yday - 1) // 7 + 1,
        "month": lambda: moment.month,
        "is_weekend": lambda: moment.weekday() in (5, 6),
    }
    return float(features[name]())


@MANY
@given(st.data())
def test_features_agree_with_a_loop_in_plain_python(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design, wild=False))
    origins = some(data, possible(design, panel))[:2]
    known = design.origin_table(panel)[:, origins]
    rows = design.rows(panel, origins, known)
    for place, origin in enumerate(origins):
        start = panel.offsets[panel.series[origin]]
        size = np.abs(panel.target[start : origin + 1]).max() / rows.scale[place]
        for step in range(1, design.horizon + 1):
            wanted = naive(design, panel, int(origin), step)
            got = dict(zip(design.names, rows.inputs[place * design.horizon + step - 1].tolist(), strict=True))
            assert sorted(got) == sorted(wanted)
            for name, value in wanted.items():
                rounding = 1e-6 * max(1.0, size) * (abs(value) * size if name.startswith("ratio") else 1.0)
                assert got[name] == pytest.approx(value, rel=1e-6, abs=rounding, nan_ok=True), name


def test_features_scale_is_the_average_size_not_the_average() -> None:
    design = small(scale="4h", lags=[1])
    panel = drawn.panel(design, [np.array([-1.0, 3.0, -5.0, 7.0, 0.0, 0.0])], np.random.default_rng(0))
    assert design.origin_table(panel)[0, 3] == 4.0


def test_features_of_an_idle_series_are_divided_by_the_floor() -> None:
    design = small(scale="4h", lags=[1])
    panel = drawn.panel(design, [np.zeros(6)], np.random.default_rng(0))
    rows = design.rows(panel, np.array([3]), design.origin_table(panel)[:, [3]])
    assert rows.scale.tolist() == [drawn.FLOOR]
    assert np.isfinite(rows.inputs).all()


@pytest.mark.parametrize("length", [1, 2, 3, 5, 6, 8])
def test_features_of_a_series_too_short_for_a_lag_are_missing(length: int) -> None:
    design = small(scale="2h", lags=[1, 4, 9])
    panel = drawn.panel(design, [np.arange(1.0, length + 1)], np.random.default_rng(0))
    known = dict(zip(design.origin_columns, design.origin_table(panel), strict=True))
    for lag in (1, 4, 9):
        wanted = [row - lag + 2.0 if row >= lag - 1 else math.nan for row in range(length)]
        assert known[f"lag_{lag}"].tolist() == pytest.approx(wanted, nan_ok=True)


def test_rows_of_an_origin_stand_together_in_the_order_of_steps() -> None:
    design = small(horizon=3, lags=[1])
    panel = drawn.panel(design, [np.arange(1.0, 13.0)], np.random.default_rng(0))
    origins = np.array([7, 5])
    rows = design.rows(panel, origins, design.origin_table(panel)[:, origins])
    assert rows.inputs.dtype == np.float32
    assert rows.inputs.flags.c_contiguous
    assert rows.inputs[:, 0].tolist() == [1, 2, 3, 1, 2, 3]
    assert (rows.inputs[:, 1] * np.repeat(rows.scale, 3)).tolist() == pytest.approx([8] * 3 + [6] * 3)


# What a design needs and where it may stand


@pytest.mark.parametrize(
    ("features", "context"),
    [
        ({}, 2),
        ({"lags": [5, 3]}, 5),
        ({"moving_averages": ["6h"]}, 6),
        ({"rolling_spread": ["7h"]}, 7),
        ({"seasonal_lags": ["8h"]}, 8),
        ({"seasonal_means": {"3h": 4}}, 12),
        ({"matched_means": {"match": "hour", "season": "4h", "lookback": "16h", "counts": [1]}}, 16),
        ({"matched_means": {"match": "hour", "season": "4h", "lookback": "16h", "counts": [1], "ratios": ["3h"]}}, 19),
    ],
)
def test_context_is_the_longest_look_back(features: dict[str, Any], context: int) -> None:
    assert small(scale="2h", **features).context == context


@MANY
@given(st.data())
def test_origins_are_observed_with_history_before_and_the_horizon_after(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    seed = data.draw(st.integers(0, 1_000))
    panel = replace(panel, observed=np.random.default_rng(seed).random(panel.target.size) < 0.8)
    wanted = [
        row
        for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True)
        for row in range(start, stop)
        if row - start + 1 >= design.context and stop - 1 - row >= design.horizon and panel.observed[row]
    ]
    assert design.origins(panel).tolist() == wanted


@pytest.mark.parametrize(
    ("lengths", "shown"), [([13, 12, 14, 9], "'shop 1' has 12 rows (2 such series)"), ([1], "'shop 0'")]
)
def test_series_too_short_for_one_forecast_are_refused(lengths: list[int], shown: str) -> None:
    design = small(horizon=2, scale="11h")
    series = [np.ones(length) for length in lengths]
    with pytest.raises(DataError) as caught:
        design.check_lengths(drawn.panel(design, series, np.random.default_rng(0)))
    assert f"series {shown}" in caught.value.message
    assert "wanted 13 or more: 11 for the longest window and 2 for the horizon; shorten" in caught.value.message
    assert (caught.value.param, caught.value.exit_code) == ("features", 3)


@MANY
@given(st.data())
def test_series_are_long_enough_if_each_has_an_origin(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    if set(panel.series[design.origins(panel)]) == set(range(len(panel))):
        design.check_lengths(panel)
    else:
        with pytest.raises(DataError):
            design.check_lengths(panel)


@given(drawn.designs())
def test_columns_have_one_name_each_and_say_why_they_are_known(design: Design) -> None:
    assert len(set(design.names)) == len(design.names)
    assert design.origin_columns[0] == "scale"
    at_origin = [column.name for column in design.columns if column.known == "origin"]
    assert at_origin == [*design.origin_columns[1:], *(name for name in design.names if name.startswith("past_"))]
    assert all(column.reason for column in design.columns)


def test_design_without_covariates_asks_for_none() -> None:
    covariates = {"future": ["rain"], "past": ["price"]}
    used = drawn.design("1h", covariates, {"horizon": 2, "scale": "2h"})
    ignored = drawn.design("1h", covariates, {"horizon": 2, "scale": "2h", "covariates": "ignore"})
    assert (used.future, used.past) == (("rain",), ("price",))
    assert (ignored.future, ignored.past, ignored.names) == ((), (), ["step"])


def test_design_asks_for_the_past_of_what_it_matches_on() -> None:
    matched = {"match": "rain", "season": "2h", "lookback": "8h", "counts": [1]}
    covariates = {"future": ["rain", "holiday"], "past": ["price"]}
    design = drawn.design("1h", covariates, {"horizon": 2, "scale": "2h", "matched_means": matched})
    assert design.past == ("price", "rain")
    assert design.future == ("rain", "holiday")


@pytest.mark.parametrize(("target", "floor"), [([-1_000.0, 3_000.0], 2.0), ([0.0, 0.0], 1e-9)])
def test_scale_floor_is_a_share_of_the_average_size(target: list[float], floor: float) -> None:
    design = small()
    panel = drawn.panel(design, [np.array(target)], np.random.default_rng(0))
    assert scale_floor(panel) == pytest.approx(floor)


def small(**features: Any) -> Design:
    """An hourly design without covariates."""
    return drawn.design("1h", {}, {"horizon": 2, "scale": "2h"} | features)


# Declarations that cannot be computed


@pytest.mark.parametrize(
    ("features", "param", "message"),
    [
        (
            {"moving_averages": ["90min"]},
            "features.moving_averages",
            "got '90min', wanted a multiple of the series' frequency '1h', such as '2h'",
        ),
        ({"scale": "10min"}, "features.scale", "got '10min', wanted a multiple of the series' frequency '1h'"),
        (
            {"rolling_spread": ["1h"]},
            "features.rolling_spread",
            "got '1h', which is one step of the series, wanted a window of two steps or more",
        ),
        (
            {"horizon": 48, "seasonal_lags": ["2d", "1d"]},
            "features.seasonal_lags",
            (
                "got '1d', which is 24 steps, with a horizon of 48: at step 25 its value is not known at the origin, "
                "wanted '2d' or longer, or a shorter horizon"
            ),
        ),
        (
            {"horizon": 48, "seasonal_means": {"1d": 7}},
            "features.seasonal_means",
            "got '1d', which is 24 steps, with a horizon of 48",
        ),
        (
            {"horizon": 48, "matched_means": {"match": "hour", "season": "1d", "lookback": "7d", "counts": [1]}},
            "features.matched_means.season",
            "got '1d', which is 24 steps, with a horizon of 48",
        ),
        (
            {"matched_means": {"match": "price", "season": "1d", "lookback": "7d", "counts": [1]}},
            "features.matched_means.match",
            "got 'price', which is not known at the target's time, wanted one of rain, hour, minute_of_day",
        ),
        (
            {"matched_means": {"match": "hour", "season": "7d", "lookback": "1d", "counts": [1]}},
            "features.matched_means.lookback",
            "got '1d', in which there is nothing a season (7d) back, wanted '7d' or longer",
        ),
        (
            {"matched_means": {"match": "hour", "season": "1d", "lookback": "7d", "counts": [1], "ratios": ["90min"]}},
            "features.matched_means.ratios",
            "got '90min', wanted a multiple of the series' frequency '1h'",
        ),
    ],
)
def test_design_refuses_what_is_not_known_or_does_not_fit(features: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        drawn.design("1h", {"future": ["rain"], "past": ["price"]}, {"horizon": 2, "scale": "2h"} | features)
    assert caught.value.message.startswith(f"params.yaml: {param}: ")
    assert message in caught.value.message
    assert caught.value.param == param
    assert caught.value.exit_code == 2


@given(st.integers(2, 30))
def test_seasonal_lag_may_be_as_short_as_the_horizon_and_no_shorter(horizon: int) -> None:
    assert small(horizon=horizon, seasonal_lags=[f"{horizon}h"]).seasonal_lags == [horizon]
    with pytest.raises(ConfigError, match=f"at step {horizon} its value is not known at the origin"):
        small(horizon=horizon, seasonal_lags=[f"{horizon - 1}h"])


def test_design_refuses_to_match_on_a_covariate_that_is_ignored() -> None:
    matched = {"match": "rain", "season": "1d", "lookback": "7d", "counts": [1]}
    with pytest.raises(ConfigError, match=r"features.matched_means.match: got 'rain'.*wanted one of hour"):
        drawn.design(
            "1h",
            {"future": ["rain"]},
            {"horizon": 2, "scale": "2h", "covariates": "ignore", "matched_means": matched},
        )
