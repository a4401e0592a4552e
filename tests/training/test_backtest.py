"""Cuts in time, and that no forecast has seen what came after it."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data import cluster, durations
from data.errors import ConfigError, DataError
from data.panel import Panel
from data.params import FEWEST_FOLDS, Params
from tests.training import tiny
from training import backtest, estimator
from training.backtest import Fold

HOUR = np.timedelta64(1, "h")
CONTEXT, HORIZON = 24, 6
PANEL = tiny.panel()


def changed(**backtest_section: Any) -> Params:
    return tiny.params({"backtest": backtest_section})


def cuts(config: Params, panel: Panel) -> list[Fold]:
    return backtest.folds(config.backtest, tiny.design(config, panel), panel)


def spoilt(panel: Panel, after: np.datetime64, seed: int) -> Panel:
    """The panel with all values later than a moment replaced by a shuffle of them, a hundredfold."""
    late = np.flatnonzero(panel.times > after)
    draw = np.random.default_rng(seed)
    target, observed = panel.target.copy(), panel.observed.copy()
    target[late] = 100 * target[draw.permutation(late)]
    observed[late] = draw.random(late.size) < 0.7
    return dataclasses.replace(panel, target=target, observed=observed)


configs = st.builds(
    changed,
    folds=st.integers(FEWEST_FOLDS, 4),
    fold=st.sampled_from(["12h", "1d", "50h"]),
    every=st.sampled_from(["50h", "60h", "3d"]),
    stride=st.integers(1, 7),
)


@settings(deadline=None, max_examples=50)
@given(config=configs, lengths=st.lists(st.integers(300, 400), min_size=1, max_size=3))
def test_folds_are_ordered_and_the_last_ends_with_the_table(config: Params, lengths: list[int]) -> None:
    panel = tiny.panel(tuple(lengths))
    made = cuts(config, panel)
    assert len(made) == config.backtest.folds
    assert made[-1].end == panel.times.max()
    assert {str(fold.end - fold.cut) for fold in made} == {str(made[0].end - made[0].cut)}
    assert all(later.cut > earlier.cut for earlier, later in itertools.pairwise(made))


@settings(deadline=None, max_examples=30)
@given(config=configs, lengths=st.lists(st.integers(300, 400), min_size=1, max_size=3))
def test_scored_origins_and_their_targets_lie_within_their_fold(config: Params, lengths: list[int]) -> None:
    panel = tiny.panel(tuple(lengths))
    design = tiny.design(config, panel)
    for fold in cuts(config, panel):
        found = backtest.scored_origins(design, panel, fold, config.backtest.stride)
        inside = [
            row
            for row in design.origins(panel)
            if panel.times[row] >= fold.cut and panel.times[row + HORIZON] <= fold.end
        ]

        def every(since: np.datetime64, rows: list[int] = inside) -> list[int]:
            return [row for row in rows if int((panel.times[row] - since) // HOUR) % config.backtest.stride == 0]

        assert found.tolist() == (every(np.datetime64("1969-12-31T23:00", "s")) or every(fold.cut))


def in_steps(frequency: str, stride: int) -> Params:
    """The configuration with all windows as many steps long as they are hours."""

    def span(steps: int) -> str:
        return f"{steps * durations.seconds(frequency)}s"

    return tiny.params(
        {
            "series": {"frequency": frequency},
            "features": {
                "scale": span(24),
                "seasonal_lags": [span(24)],
                "moving_averages": [span(1), span(6)],
                "rolling_spread": [span(6)],
            },
            "backtest": {"fold": span(72), "every": span(72), "stride": stride, "season": span(24)},
        }
    )


def scored(config: Params, panel: Panel) -> set[tuple[int, np.datetime64]]:
    """Series and time of every origin of a backtest."""
    design = tiny.design(config, panel)
    rows = [backtest.scored_origins(design, panel, fold, config.backtest.stride) for fold in cuts(config, panel)]
    return {(int(panel.series[row]), panel.times[row]) for row in np.concatenate(rows)}


@settings(deadline=None, max_examples=50)
@given(
    frequency=st.sampled_from(["15min", "1h", "1d"]),
    stride=st.integers(1, 12),
    more=st.integers(1, 100),
    start=st.integers(-(10**9), 10**9),
)
@example(frequency="1h", stride=6, more=5, start=0)
@example(frequency="1h", stride=6, more=5, start=-1_800)
@example(frequency="15min", stride=8, more=3, start=0)
@example(frequency="1d", stride=7, more=1, start=43_200)
def test_a_table_that_has_grown_shares_its_origins_with_the_one_before(
    frequency: str, stride: int, more: int, start: int
) -> None:
    """Also where the stride does not divide the growth, and where the series' grid does not go through 1970."""
    config, seconds = in_steps(frequency, stride), durations.seconds(frequency)
    old, new = (
        dataclasses.replace(
            tiny.panel((length, length)), step_seconds=seconds, starts=np.full(2, np.datetime64(start, "s"))
        )
        for length in (400, 400 + more)
    )
    horizon = np.timedelta64(HORIZON * seconds, "s")

    def within(found: set[tuple[int, np.datetime64]], folds: list[Fold]) -> set[tuple[int, np.datetime64]]:
        return {key for key in found if any(fold.cut <= key[1] <= fold.end - horizon for fold in folds)}

    before, after = scored(config, old), scored(config, new)
    assert within(before, cuts(config, new)) == within(after, cuts(config, old))
    assert {series for series, _ in before & after} == {0, 1}


def test_a_stride_of_a_day_forecasts_whole_days_wherever_the_table_ends() -> None:
    for hours in (576, 581):
        times = [time for _, time in scored(changed(stride=24), tiny.panel((hours,)))]
        assert {str(time)[11:] for time in times} == {"23:00:00"}
        assert len(times) >= 4 * 2


def test_a_fold_too_short_for_a_multiple_of_the_stride_is_scored_from_its_cut() -> None:
    """A fold as long as the horizon has one origin, wherever the table ends."""
    for hours in range(570, 577):
        panel, config = tiny.panel((hours,)), changed(fold="6h", stride=6)
        assert {time for _, time in scored(config, panel)} == {fold.cut for fold in cuts(config, panel)}


def test_scored_origins_are_not_in_gaps() -> None:
    config = tiny.params()
    hidden = np.random.default_rng(0).random(PANEL.target.size) < 0.4
    panel = dataclasses.replace(PANEL, observed=~hidden)
    made = tiny.backtested(config, panel)
    assert made.origins.size
    assert not hidden[made.origins].any()
    rows = made.origins[:, None] + np.arange(1, HORIZON + 1)
    assert np.array_equal(np.isnan(made.actual), hidden[rows])
    assert np.array_equal(made.actual[~hidden[rows]], panel.target[rows][~hidden[rows]])


@settings(deadline=None, max_examples=12)
@given(config=configs, number=st.integers(0, 3), seed=st.integers(0, 9))
def test_what_comes_after_a_cut_changes_no_forecast_of_its_first_origins(
    config: Params, number: int, seed: int
) -> None:
    panel = tiny.panel((330, 300))
    design = tiny.design(config, panel)
    made = cuts(config, panel)
    fold = made[number % len(made)]
    # An origin has to be an observed row in both panels: the cut is moved on to where the first ones of the fold stand.
    fold = fold._replace(cut=panel.times[backtest.scored_origins(design, panel, fold, config.backtest.stride)].min())
    other = spoilt(panel, fold.cut, seed)
    before, after = (
        backtest.run(config, design, series, design.origin_table(series), [fold]).forecasts for series in (panel, other)
    )
    first, same = before.times == fold.cut, after.times == fold.cut
    assert first.any()
    assert np.array_equal(before.origins[first], after.origins[same])
    assert np.array_equal(before.point[first], after.point[same])
    assert np.array_equal(before.naive[first], after.naive[same])
    assert not np.array_equal(before.actual[first], after.actual[same])


def test_what_comes_up_to_a_cut_is_trained_on() -> None:
    config = tiny.params({"train": {"max_rows": 10**6}})
    fold = cuts(config, PANEL)[1]
    last = PANEL.times == fold.cut
    target = PANEL.target.copy()
    target[last] = 1_000.0
    other = dataclasses.replace(PANEL, target=target)
    design = tiny.design(config, PANEL)
    before, after = (
        backtest.run(config, design, panel, design.origin_table(panel), [fold]).forecasts for panel in (PANEL, other)
    )
    late = before.times > fold.end - 7 * HOUR
    assert late.any()
    assert not np.array_equal(before.point[late], after.point[late])


def test_forecasts_are_those_of_a_model_fitted_by_hand() -> None:
    """The slow oracle: cut the table off, fit on all of it, forecast from where it ends."""
    config = tiny.params({"train": {"max_rows": 10**6}})
    design = tiny.design(config, PANEL)
    made = tiny.backtested(config, PANEL)
    for number, fold in enumerate(cuts(config, PANEL)):
        past = PANEL.until(fold.cut)
        known = design.origin_table(past)
        origins = estimator.training_origins(design, past, 10**6)
        rows = design.rows(past, origins, known[:, origins])
        target = estimator.actuals(past, origins, HORIZON) / rows.scale[:, None]
        model = estimator.fit(rows.inputs, target.ravel(), config.train.point, config.train.seed)
        own = made.fold == number
        test = design.rows(PANEL, made.origins[own], design.origin_rows(PANEL, made.origins[own]))
        point = model.predict(test.inputs).reshape(-1, HORIZON) * test.scale[:, None]
        assert np.array_equal(made.point[own], np.maximum(point, 0.0))
        assert np.array_equal(made.inputs.reshape(own.size, HORIZON, -1)[own].reshape(test.inputs.shape), test.inputs)
        assert np.array_equal(made.times[own], PANEL.times[made.origins[own]])


def test_negative_forecasts_are_kept_unless_the_series_is_nonnegative() -> None:
    panel = dataclasses.replace(PANEL, target=PANEL.target - 150.0)
    free = tiny.backtested(tiny.params({"series": {"nonnegative": False}}), panel)
    bound = tiny.backtested(tiny.params(), panel)
    assert (free.point < 0).any()
    assert np.array_equal(bound.point, np.maximum(free.point, 0.0))


def test_folds_are_numbered_oldest_first_and_take_the_given_progress() -> None:
    config = tiny.params()
    seen: list[Fold] = []

    def progress() -> Any:
        for fold in cuts(config, PANEL):
            seen.append(fold)
            yield fold

    design = tiny.design(config, PANEL)
    made = backtest.run(config, design, PANEL, design.origin_table(PANEL), progress()).forecasts
    assert seen == cuts(config, PANEL)
    assert np.unique(made.fold).tolist() == [0, 1, 2, 3]
    assert (np.diff(made.fold) >= 0).all()
    assert all((made.times[made.fold == k] >= seen[k].cut).all() for k in range(4))


def test_a_table_too_short_for_its_folds_says_what_to_lower() -> None:
    config = tiny.params()
    needed = CONTEXT + HORIZON + 4 * 72
    assert len(cuts(config, tiny.panel((needed,)))) == 4
    tiny.backtested(config, tiny.panel((needed,)))
    with pytest.raises(DataError) as caught:
        cuts(config, tiny.panel((needed - 1,)))
    assert caught.value.message == (
        "the table runs from 2024-03-04T00:00:00 to 2024-03-17T04:00:00, too short for 4 folds of 3d every 3d: the oldest "
        "would be cut at 2024-03-05T05:00:00, wanted 2024-03-05T06:00:00 or later; lower backtest.folds, backtest.fold "
        "or backtest.every in params.yaml"
    )
    assert caught.value.param == "backtest.folds"


def test_a_fold_shorter_than_the_horizon_says_so() -> None:
    config = changed(fold="5h")
    with pytest.raises(DataError) as caught:
        tiny.backtested(config, PANEL)
    assert caught.value.message == (
        "the fold from 2024-03-18T18:00:00 to 2024-03-18T23:00:00 has no origin that can be scored; lower backtest.folds or "
        "lengthen backtest.fold in params.yaml"
    )
    assert caught.value.param == "backtest.fold"


def test_folds_that_overlap_are_refused() -> None:
    """Two folds with one target would count it twice, and the spread of one would have seen the other."""
    with pytest.raises(ConfigError) as caught:
        cuts(changed(fold="3d", every="2d"), PANEL)
    assert caught.value.message == (
        "params.yaml: backtest.every: got '2d' with folds of '3d', so folds overlap, wanted '3d' or longer"
    )
    assert caught.value.param == "backtest.every"


@pytest.mark.parametrize(("season", "got"), [("5h", 5), ("2d", 48)])
def test_a_naive_season_out_of_reach_says_what_it_may_be(season: str, got: int) -> None:
    config = changed(season=season)
    with pytest.raises(ConfigError) as caught:
        tiny.backtested(config, PANEL)
    assert caught.value.message == (
        f"params.yaml: backtest.season: got {season!r}, which is {got} steps, wanted 6 (the horizon) to 24 (the history "
        "that the features need)"
    )
    assert caught.value.param == "backtest.season"


def test_a_naive_season_between_steps_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        backtest.naive_season(changed(season="90min").backtest, tiny.design(tiny.params(), PANEL))
    assert caught.value.message == (
        "params.yaml: backtest.season: got '90min', wanted a multiple of the series' frequency '1h', such as '2h'"
    )


@pytest.mark.parametrize(("season", "steps"), [("6h", 6), ("1d", 24)])
def test_a_naive_season_is_counted_in_steps(season: str, steps: int) -> None:
    assert backtest.naive_season(changed(season=season).backtest, tiny.design(tiny.params(), PANEL)) == steps


@settings(deadline=None, max_examples=50)
@given(
    origins=st.lists(st.integers(30, 560), min_size=1, max_size=9),
    horizon=st.integers(1, 12),
    longer=st.integers(0, 12),
)
def test_seasonal_naive_is_the_value_one_season_before(origins: list[int], horizon: int, longer: int) -> None:
    season = horizon + longer
    found = backtest.seasonal_naive(PANEL, np.array(origins), horizon, season)
    wanted = [[PANEL.target[origin + step - season] for step in range(1, horizon + 1)] for origin in origins]
    assert found.tolist() == wanted


def test_run_gives_the_model_of_the_last_fold() -> None:
    config = tiny.params()
    design = tiny.design(config, PANEL)
    made = backtest.run(config, design, PANEL, design.origin_table(PANEL))
    for fold in range(4):
        own = made.forecasts.take(made.forecasts.fold == fold)
        point = made.model.predict(own.inputs).reshape(own.point.shape) * own.scale[:, None]
        assert np.array_equal(own.point, np.maximum(point, 0.0)) == (fold == 3)


def test_folds_on_a_cluster_have_the_bits_of_folds_here() -> None:
    config = tiny.params()
    design = tiny.design(config, PANEL)
    here = backtest.run(config, design, PANEL, design.origin_table(PANEL))
    asked = argparse.Namespace(scheduler=None, workers=2)
    told: list[int] = []
    with cluster.opened(asked, {}) as each:
        counted = cluster.counted(each, lambda: told.append(1))
        there = backtest.run(config, design, PANEL, design.origin_table(PANEL), each=counted)
    assert len(told) == 4
    for field in dataclasses.fields(here.forecasts):
        ours, theirs = getattr(here.forecasts, field.name), getattr(there.forecasts, field.name)
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"), field.name
    inputs = here.forecasts.inputs
    assert np.array_equal(here.model.predict(inputs), there.model.predict(inputs))
