"""The core: a question gives the bits that training gives, whatever else is asked in the same pass."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data import ingest
from data.panel import Panel
from data.params import Gap
from service import forecasting
from service.histories import History, Limits
from tests.service.world import World, equal, longer, part

RULES: tuple[Gap, ...] = get_args(Gap)
LEVELS = (0.1, 0.5, 0.66, 0.95)


def table(world: World, place: int, lost: NDArray[np.int64]) -> pd.DataFrame:
    """One series of the panel as training's table, without the rows of some places."""
    panel, series = world.panel, world.forecaster.card.declaration.series
    rows = np.arange(panel.offsets[place], panel.offsets[place + 1])
    rows = np.delete(rows, lost)
    columns = {name: panel.covariates[name][rows] for name in series.covariates.names}
    names = pd.Series([panel.ids[place]] * rows.size, dtype="str")
    return pd.DataFrame({"series_id": names, "timestamp": panel.times[rows], "target": panel.target[rows], **columns})


@pytest.fixture(params=["city", "plain"])
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.getfixturevalue(request.param)
    return made


class TestTraining:
    """The service computes what training computed."""

    def test_one_series_has_the_bits_of_training(self, world: World) -> None:
        got = world.answer(world.history(1, back=30), levels=LEVELS)
        expected = world.expected([world.origin(1, 30)])
        assert np.array_equal(got.mean, expected.point)
        for level, values in zip(got.levels, got.quantiles, strict=True):
            assert np.array_equal(values, world.forecaster.quantile(expected, level))

    def test_many_series_have_the_bits_of_the_features_file(self, world: World) -> None:
        origins = np.array([world.origin(turn % 3, turn) for turn in range(40)])
        known = world.forecaster.design.origin_table(world.panel)[:, origins]
        expected = world.forecaster.forecast(world.panel, origins, known)
        assert np.array_equal(world.answer(*world.histories(40)).mean, expected.point)

    def test_the_first_step_follows_the_last_value(self, city: World) -> None:
        got = city.answer(city.history(2, back=5))
        assert got.starts.tolist() == [city.panel.times[city.origin(2, 5) + 1].item()]

    @settings(max_examples=60, deadline=None)
    @given(
        rule=st.sampled_from(RULES),
        place=st.integers(0, 2),
        back=st.integers(1, 200),
        extra=st.integers(0, 60),
        gaps=st.lists(st.tuples(st.integers(0, 160), st.integers(1, 30)), max_size=6),
    )
    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_a_request_with_gaps_has_the_bits_of_training_on_a_table_with_gaps(
        self,
        name: str,
        request: pytest.FixtureRequest,
        rule: Gap,
        place: int,
        back: int,
        extra: int,
        gaps: list[tuple[int, int]],
    ) -> None:
        """Rows that the table lacks are nulls in the request; one value before the window is always there."""
        trained: World = request.getfixturevalue(name)
        world = trained.filling(rule)
        origin = world.origin(place, back)
        length = world.forecaster.design.context + 1 + extra
        history = world.history(place, back=back, length=length)
        lost = np.unique([at for first, size in gaps for at in range(first, first + size) if 0 < at < length - 1])
        lost = lost.astype(np.int64)
        history.values[lost] = np.nan
        for values in history.past_covariates.values():
            values[lost] = np.nan
        begin = origin + 1 - length - int(world.panel.offsets[place])
        panel, _ = ingest.to_panel(table(world, place, lost + begin), world.forecaster.card.declaration.series)
        expected = world.forecaster.forecast(panel, np.array([origin - int(world.panel.offsets[place])]))
        assert np.array_equal(world.answer(history).mean, expected.point)


class TestBatch:
    """Neither its neighbours nor its own older past change a series' answer."""

    def histories(self, world: World) -> list[History]:
        context = world.forecaster.design.context
        return [
            world.history(turn % 3, back=turn, length=context + extra)
            for turn, extra in enumerate([0, 1, 300, 0, 7, 64, 2, 0, 33, 500])
        ]

    def test_many_at_once_are_one_at_a_time(self, world: World) -> None:
        histories = self.histories(world)
        together = world.answer(*histories, levels=LEVELS)
        for place, history in enumerate(histories):
            assert equal(part(together, place), world.answer(history, levels=LEVELS))

    def test_questions_of_many_clients_in_one_pass_are_one_at_a_time(self, world: World) -> None:
        """Each with a number of series, a horizon and levels of its own."""
        histories, covered = self.histories(world), world.forecaster.design.future
        questions = [
            world.ask(*histories[:3], levels=LEVELS),
            world.ask(histories[3], horizon=5),
            world.ask(*histories[4:9], levels=(0.05,)),
            world.ask(world.history(1, steps=1), horizon=1, levels=(0.5, 0.9)),
        ]
        assert all(set(question.future) == set(covered) for question in questions)
        together, _ = forecasting.answer(world.forecaster, questions)
        for question, got in zip(questions, together, strict=True):
            ((alone,), _) = forecasting.answer(world.forecaster, [question])
            assert equal(got, alone)
            assert got.mean.shape == (len(question.names), question.steps)
            assert got.quantiles.shape == (len(question.levels), len(question.names), question.steps)

    def test_order_is_as_asked_and_names_may_repeat(self, city: World) -> None:
        got = city.answer(city.history(0), city.history(1), city.history(0))
        assert got.names == ("s01", "s02", "s01")
        assert np.array_equal(got.mean[0], got.mean[2])
        assert not np.array_equal(got.mean[0], got.mean[1])

    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize("extra", [1, 5, 700])
    def test_values_before_the_context_change_nothing(self, city: World, rule: Gap, extra: int) -> None:
        world = city.filling(rule)
        history = world.history(1)
        before = np.random.default_rng(extra).uniform(0, 1e6, extra)
        assert equal(world.answer(longer(world, history, before)), world.answer(history))

    def test_histories_of_one_request_may_end_at_different_times(self, city: World) -> None:
        got = city.answer(city.history(0), city.history(0, back=9))
        assert got.starts[0] - got.starts[1] == np.timedelta64(9, "h")

    def test_most_that_a_request_may_ask_for(self, plain: World) -> None:
        count = Limits().series
        got = plain.answer(*[plain.history()] * count)
        assert got.mean.shape == (count, 24)
        assert (got.mean == got.mean[0]).all()


class TestHorizon:
    @pytest.mark.parametrize("steps", [1, 5, 12])
    def test_a_shorter_one_is_the_beginning_of_the_whole(self, city: World, steps: int) -> None:
        whole = city.answer(city.history(), levels=LEVELS)
        got = city.answer(city.history(steps=steps), horizon=steps, levels=LEVELS)
        assert got.mean.shape == (1, steps)
        assert np.array_equal(got.mean, whole.mean[:, :steps])
        assert np.array_equal(got.quantiles, whole.quantiles[..., :steps])

    def test_covariates_past_the_horizon_are_not_looked_at(self, city: World) -> None:
        history = city.history()
        for values in history.future_covariates.values():
            values[5:] = np.nan
        assert np.array_equal(city.answer(history, horizon=5).mean, city.answer(city.history()).mean[:, :5])

    def test_covariates_known_further_ahead_are_welcome(self, city: World) -> None:
        history = city.history()
        further = {name: np.append(values, [1e9, 1e9]) for name, values in history.future_covariates.items()}
        assert equal(city.answer(replace(history, future_covariates=further)), city.answer(history))


class TestQuantiles:
    def test_they_rise_with_their_level_and_hold_the_median(self, plain: World) -> None:
        levels = (0.05, 0.1, 0.17, 0.5, 0.5001, 0.8, 0.95)
        got = plain.answer(plain.history(), levels=levels)
        assert got.levels == levels
        assert (np.diff(got.quantiles, axis=0) > 0).all()
        assert np.array_equal(got.quantiles[3], got.mean)

    def test_one_between_two_calibrated_levels_lies_between(self, plain: World) -> None:
        low, middle, high = plain.answer(plain.history(), levels=[0.5, 0.6, 0.75]).quantiles
        assert np.allclose(middle, low + (high - low) * 0.4, rtol=1e-12)

    def test_a_level_asked_for_twice_comes_twice(self, plain: World) -> None:
        """Some protocols give no names with their quantiles: a client takes them by their places."""
        got = plain.answer(plain.history(), levels=[0.9, 0.1, 0.9])
        assert got.levels == (0.9, 0.1, 0.9)
        assert np.array_equal(got.quantiles[0], got.quantiles[2])
        assert (got.quantiles[1] < got.quantiles[0]).all()

    def test_a_target_that_is_never_negative_has_no_negative_quantile(self, city: World) -> None:
        history = city.history()
        history.values[:] = 0.0
        assert np.array_equal(city.answer(history, levels=[0.05]).quantiles, np.zeros((1, 1, 12)))


class TestExtremes:
    """Any number that is let in gives finite numbers, and no warning."""

    @pytest.mark.parametrize("low", [0.0, 5e-324, 1.0, 1e100])
    @pytest.mark.parametrize("high", [0.0, 1e-300, 1e38, 1e39, 1e100])
    @pytest.mark.parametrize("at", [slice(0, 5), slice(-1, None), slice(0, None, 2)])
    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_answers_are_finite(
        self, low: float, high: float, at: slice, name: str, request: pytest.FixtureRequest
    ) -> None:
        world: World = request.getfixturevalue(name)
        history = world.history()
        history.values[:] = low
        history.values[at] = high if name == "city" else -high
        for values in (*history.past_covariates.values(), *history.future_covariates.values()):
            values[at] = high
        got = world.answer(history, levels=LEVELS)
        assert np.isfinite(got.mean).all()
        assert np.isfinite(got.quantiles).all()

    def test_the_model_keeps_its_input(self, city: World) -> None:
        """Nothing that a client sent is written to: the arrays may be shared, with gaps or without."""
        whole, holed = city.history(), city.history()
        holed.values[-3] = holed.past_covariates["rain"][-3] = np.nan
        for history in (whole, holed):
            for values in (history.values, *history.past_covariates.values(), *history.future_covariates.values()):
                values.flags.writeable = False
            assert city.answer(history, levels=LEVELS).mean.size == 12


def test_the_panel_of_a_request_is_like_one_of_training(city: World) -> None:
    """Each history stands where it began, with room for the horizon behind it."""
    questions = [city.ask(city.history(0)), city.ask(city.history(2, back=3))]
    panel, origins = forecasting._panel(city.forecaster, questions)
    assert isinstance(panel, Panel)
    assert panel.ids == ("s01", "s03")
    assert (panel.lengths == 102 + 12).all()
    assert np.array_equal(panel.times[origins], city.panel.times[[city.origin(0), city.origin(2, 3)]])
    ahead = origins[:, None] + np.arange(1, 13)
    assert np.isnan(panel.target[ahead]).all()
    assert np.isnan(panel.covariates["rain"][ahead]).all()
    own = np.array([city.origin(0), city.origin(2, 3)])[:, None] + np.arange(-101, 13)
    rows = origins[:, None] + np.arange(-101, 13)
    assert np.array_equal(panel.covariates["workingday"][rows], city.panel.covariates["workingday"][own])
    assert np.array_equal(panel.covariates["temperature"][ahead], city.panel.covariates["temperature"][own[:, 102:]])


def test_a_pass_says_what_went_in_and_what_came_out(city: World) -> None:
    questions = [city.ask(city.history(0), city.history(1)), city.ask(city.history(2, steps=4), horizon=4)]
    answers, seen = forecasting.answer(city.forecaster, questions)
    origins = np.array([city.origin(0), city.origin(1), city.origin(2)])
    design = city.forecaster.design
    rows = design.rows(city.panel, origins, design.origin_rows(city.panel, origins))
    assert np.array_equal(seen.inputs[:24], rows.inputs[:24], equal_nan=True)
    assert np.array_equal(seen.scale, rows.scale)
    assert np.array_equal(seen.forecast.point[:2], answers[0].mean)
    assert np.array_equal(seen.forecast.point[2:, :4], answers[1].mean)
