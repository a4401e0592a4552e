"""The core: a request gives the bits that training gives, whatever else stands in it, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data import ingest
from data.errors import RequestError
from data.panel import Panel
from data.params import Gap
from service import forecasting
from service.forecasting import History, SeriesForecast, forecast

if TYPE_CHECKING:
    from tests.service.conftest import World

Floats = NDArray[np.float64]
RULES: tuple[Gap, ...] = get_args(Gap)
LEVELS = (0.1, 0.5, 0.66, 0.95)


def equal(one: SeriesForecast, other: SeriesForecast) -> bool:
    """Whether two answers agree to the last bit."""
    return (
        (one.name, one.start) == (other.name, other.start)
        and np.array_equal(one.mean, other.mean)
        and one.quantiles.keys() == other.quantiles.keys()
        and all(np.array_equal(values, other.quantiles[level]) for level, values in one.quantiles.items())
    )


def ask(world: World, history: History, horizon: int | None = None) -> SeriesForecast:
    return forecast(world.forecaster, [history], horizon, LEVELS)[0]


def longer(world: World, history: History, before: Floats) -> History:
    """The history with values before its first, and covariates of 0.25 next to them."""
    step = np.timedelta64(world.forecaster.card.declaration.series.step_seconds, "s")
    return replace(
        history,
        values=np.concatenate([before, history.values]),
        start=history.start - before.size * step,
        past_covariates={
            name: np.concatenate([np.full(before.size, 0.25), values])
            for name, values in history.past_covariates.items()
        },
    )


def table(world: World, place: int, lost: NDArray[np.int64]) -> pd.DataFrame:
    """One series of the panel as training's table, without the rows of some places."""
    panel, series = world.panel, world.forecaster.card.declaration.series
    rows = np.arange(panel.offsets[place], panel.offsets[place + 1])
    rows = np.delete(rows, lost)
    columns = {name: panel.covariates[name][rows] for name in series.covariates.names}
    names = pd.Series([panel.ids[place]] * rows.size, dtype="str")
    return pd.DataFrame({"series_id": names, "timestamp": panel.times[rows], "target": panel.target[rows], **columns})


class TestTraining:
    """The service computes what training computed."""

    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_one_series_has_the_bits_of_training(self, name: str, request: pytest.FixtureRequest) -> None:
        world: World = request.getfixturevalue(name)
        got = ask(world, world.history(1, back=30))
        expected = world.expected([world.origin(1, 30)])
        assert np.array_equal(got.mean, expected.point[0])
        for level, values in got.quantiles.items():
            assert np.array_equal(values, world.forecaster.quantile(expected, level)[0])

    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_many_series_have_the_bits_of_the_features_file(self, name: str, request: pytest.FixtureRequest) -> None:
        world: World = request.getfixturevalue(name)
        origins = np.array([world.origin(turn % 3, turn) for turn in range(40)])
        known = world.forecaster.design.origin_table(world.panel)[:, origins]
        expected = world.forecaster.forecast(world.panel, origins, known)
        got = forecast(world.forecaster, world.histories(40), None, [])
        assert np.array_equal(np.stack([one.mean for one in got]), expected.point)

    def test_the_first_step_follows_the_last_value(self, city: World) -> None:
        history = city.history(2, back=5)
        assert ask(city, history).start == city.panel.times[city.origin(2, 5) + 1]

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
        world: World = request.getfixturevalue(name).filling(rule)
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
        assert np.array_equal(ask(world, history).mean, expected.point[0])


class TestBatch:
    """Neither its neighbours nor its own older past change a series' answer."""

    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_many_at_once_are_one_at_a_time(self, name: str, request: pytest.FixtureRequest) -> None:
        world: World = request.getfixturevalue(name)
        context = world.forecaster.design.context
        histories = [
            world.history(turn % 3, back=turn, length=context + extra)
            for turn, extra in enumerate([0, 1, 300, 0, 7, 64, 2, 0, 33, 500])
        ]
        together = forecast(world.forecaster, histories, None, LEVELS)
        assert all(equal(got, ask(world, history)) for got, history in zip(together, histories, strict=True))

    def test_order_is_as_asked_and_names_may_repeat(self, city: World) -> None:
        histories = [city.history(0), city.history(1), city.history(0)]
        got = forecast(city.forecaster, histories, None, [])
        assert [one.name for one in got] == ["s01", "s02", "s01"]
        assert np.array_equal(got[0].mean, got[2].mean)

    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize("extra", [1, 5, 700])
    def test_values_before_the_context_change_nothing(self, city: World, rule: Gap, extra: int) -> None:
        world = city.filling(rule)
        history = world.history(1)
        before = np.random.default_rng(extra).uniform(0, 1e6, extra)
        assert equal(ask(world, longer(world, history, before)), ask(world, history))

    def test_histories_of_one_request_may_end_at_different_times(self, city: World) -> None:
        got = forecast(city.forecaster, [city.history(0), city.history(0, back=9)], None, [])
        assert got[0].start - got[1].start == np.timedelta64(9, "h")

    def test_most_that_a_request_may_ask_for(self, plain: World) -> None:
        history = plain.history()
        got = forecast(plain.forecaster, [history] * forecasting.MAX_SERIES, None, [])
        assert len(got) == forecasting.MAX_SERIES
        assert all(np.array_equal(one.mean, got[0].mean) for one in got)


class TestHorizon:
    @pytest.mark.parametrize("steps", [1, 5, 12])
    def test_a_shorter_one_is_the_beginning_of_the_whole(self, city: World, steps: int) -> None:
        whole, part = ask(city, city.history()), ask(city, city.history(steps=steps), steps)
        assert part.mean.shape == (steps,)
        assert np.array_equal(part.mean, whole.mean[:steps])
        assert all(np.array_equal(part.quantiles[level], whole.quantiles[level][:steps]) for level in LEVELS)

    def test_covariates_past_the_horizon_are_not_looked_at(self, city: World) -> None:
        history = city.history()
        for values in history.future_covariates.values():
            values[5:] = np.nan
        assert np.array_equal(ask(city, history, 5).mean, ask(city, city.history()).mean[:5])

    def test_covariates_known_further_ahead_are_welcome(self, city: World) -> None:
        history = city.history()
        further = {name: np.append(values, [1e9, 1e9]) for name, values in history.future_covariates.items()}
        assert equal(ask(city, replace(history, future_covariates=further)), ask(city, history))


class TestQuantiles:
    def test_they_rise_with_their_level_and_hold_the_median(self, plain: World) -> None:
        levels = [0.05, 0.1, 0.17, 0.5, 0.5001, 0.8, 0.95]
        got = forecast(plain.forecaster, [plain.history()], None, levels)[0]
        assert list(got.quantiles) == levels
        assert (np.diff(np.stack(list(got.quantiles.values())), axis=0) > 0).all()
        assert np.array_equal(got.quantiles[0.5], got.mean)

    def test_one_between_two_calibrated_levels_lies_between(self, plain: World) -> None:
        low, middle, high = forecast(plain.forecaster, [plain.history()], None, [0.5, 0.6, 0.75])[0].quantiles.values()
        assert np.allclose(middle, low + (high - low) * 0.4, rtol=1e-12)

    def test_a_level_asked_for_twice_comes_once(self, plain: World) -> None:
        assert list(forecast(plain.forecaster, [plain.history()], None, [0.9, 0.1, 0.9])[0].quantiles) == [0.9, 0.1]

    def test_a_target_that_is_never_negative_has_no_negative_quantile(self, city: World) -> None:
        history = city.history()
        history.values[:] = 0.0
        low = forecast(city.forecaster, [history], None, [0.05])[0].quantiles[0.05]
        assert np.array_equal(low, np.zeros(12))


class TestGaps:
    """Filled as training fills them; an edge without a value is not like a gap."""

    @pytest.mark.parametrize(
        ("rule", "filled"), [("zero", [0.0, 0.0]), ("forward", [3.0, 3.0]), ("interpolate", [4.0, 5.0])]
    )
    def test_in_the_middle(self, plain: World, rule: Gap, filled: list[float]) -> None:
        world, at = plain.filling(rule), slice(-4, None)
        history = world.history()
        history.values[at] = [3.0, np.nan, np.nan, 6.0]
        got = ask(world, history)
        history.values[at] = [3.0, *filled, 6.0]
        assert equal(got, ask(world, history))

    @pytest.mark.parametrize(("rule", "filled"), [("zero", 0.0), ("forward", 7.0), ("interpolate", 7.0)])
    def test_at_the_end(self, plain: World, rule: Gap, filled: float) -> None:
        """The origin stays where the series ends: the client says that these hours are over."""
        world = plain.filling(rule)
        history = world.history()
        history.values[-3:] = [7.0, np.nan, np.nan]
        got = ask(world, history)
        history.values[-2:] = filled
        assert equal(got, ask(world, history))

    @pytest.mark.parametrize("rule", RULES)
    def test_before_the_first_value(self, city: World, rule: Gap) -> None:
        world = city.filling(rule)
        history = world.history()
        assert equal(ask(world, longer(world, history, np.full(40, np.nan))), ask(world, history))

    @pytest.mark.parametrize("rule", RULES)
    def test_before_the_first_value_count_for_no_context(self, city: World, rule: Gap) -> None:
        world = city.filling(rule)
        history = world.history()
        history.values[:2] = np.nan
        with pytest.raises(RequestError, match="'s01' has 100 values from its first value on, wanted 102 or more"):
            ask(world, history)

    def test_across_the_beginning_of_the_context(self, plain: World) -> None:
        history = plain.history(length=plain.forecaster.design.context + 2)
        history.values[:5] = [10.0, np.nan, np.nan, np.nan, 50.0]
        got = ask(plain, history)
        history.values[:5] = [10.0, 20.0, 30.0, 40.0, 50.0]
        assert equal(got, ask(plain, history))

    def test_of_a_covariate_hold_the_last_value(self, city: World) -> None:
        history = city.history()
        history.past_covariates["rain"][-3:] = [9.0, np.nan, np.nan]
        got = ask(city, history)
        history.past_covariates["rain"][-2:] = 9.0
        assert equal(got, ask(city, history))

    @pytest.mark.parametrize("rule", RULES)
    def test_nothing_but_gaps(self, plain: World, rule: Gap) -> None:
        world = plain.filling(rule)
        history = world.history()
        history.values[:] = np.nan
        with pytest.raises(RequestError, match="'s01' has 0 values from its first value on"):
            ask(world, history)


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
        got = ask(world, history)
        assert np.isfinite(got.mean).all()
        assert all(np.isfinite(values).all() for values in got.quantiles.values())

    def test_the_model_keeps_its_input(self, city: World) -> None:
        """Nothing that a client sent is written to: the arrays may be shared."""
        history = city.history()
        for values in (history.values, *history.past_covariates.values(), *history.future_covariates.values()):
            values.flags.writeable = False
        assert ask(city, history).mean.size == 12


def changed(name: str, key: str, value: Callable[[Floats], Floats] | None) -> Callable[[History], History]:
    """A history with one covariate changed, or taken away."""

    def change(history: History) -> History:
        given: dict[str, Floats] = dict(getattr(history, key))
        values = given.pop(name, np.zeros(3))
        made: dict[str, Any] = {key: given if value is None else given | {name: value(values)}}
        return replace(history, **made)

    return change


def put(place: int, number: float) -> Callable[[Floats], Floats]:
    def change(values: Floats) -> Floats:
        values[place] = number
        return values

    return change


REFUSED: dict[str, tuple[Callable[[History], History], str, str]] = {
    "negative": (
        lambda history: replace(history, values=put(7, -0.5)(history.values)),
        "inputs[0].series[7]",
        "inputs[0].series[7]: got -0.5, wanted 0 or more: this model's target is never negative",
    ),
    "too large": (
        lambda history: replace(history, values=put(3, 1.1e100)(history.values)),
        "inputs[0].series[3]",
        "inputs[0].series[3]: got 1.1e+100, wanted numbers between -1e+100 and 1e+100, or null where a value is missing",
    ),
    "infinite": (
        lambda history: replace(history, values=put(0, -np.inf)(history.values)),
        "inputs[0].series[0]",
        "inputs[0].series[0]: got -inf, wanted numbers between -1e+100 and 1e+100, or null where a value is missing",
    ),
    "short": (
        lambda history: replace(
            history,
            values=history.values[1:],
            past_covariates={name: values[1:] for name, values in history.past_covariates.items()},
        ),
        "inputs[0].series",
        (
            "inputs[0].series: series 's01' has 101 values from its first value on, wanted 102 or more, which the model's "
            "longest window needs"
        ),
    ),
    "empty": (
        lambda history: replace(
            history, values=np.empty(0), past_covariates={name: np.empty(0) for name in history.past_covariates}
        ),
        "inputs[0].series",
        (
            "inputs[0].series: series 's01' has 0 values from its first value on, wanted 102 or more, which the model's "
            "longest window needs"
        ),
    ),
    "other frequency": (
        lambda history: replace(history, frequency="15min"),
        "inputs[0].frequency",
        "inputs[0].frequency: got '15min', wanted '1h', at which the model was trained: resample the series",
    ),
    "no frequency": (
        lambda history: replace(history, frequency="often"),
        "inputs[0].frequency",
        "inputs[0].frequency: got 'often', wanted a positive number and one of s, min, h, d, w, such as '15min' or '7d'",
    ),
    "too early": (
        lambda history: replace(history, start=np.datetime64("1899-12-31T23:00:00", "s")),
        "inputs[0].start_timestamp",
        (
            "inputs[0].start_timestamp: the series runs from 1899-12-31T23:00:00 to 1900-01-05T05:00:00, wanted between "
            "1900-01-01T00:00:00 and 2200-01-01T00:00:00"
        ),
    ),
    "too late": (
        lambda history: replace(history, start=np.datetime64("2199-12-31T00:00:00", "s")),
        "inputs[0].start_timestamp",
        (
            "inputs[0].start_timestamp: the series runs from 2199-12-31T00:00:00 to 2200-01-04T06:00:00, wanted between "
            "1900-01-01T00:00:00 and 2200-01-01T00:00:00"
        ),
    ),
    "past covariate missing": (
        changed("rain", "past_covariates", None),
        "inputs[0].past_covariates.rain",
        (
            "inputs[0].past_covariates: 'rain' is missing, wanted rain, workingday, each with 102 numbers (one for each of "
            "the values of series)"
        ),
    ),
    "past of what is matched on missing": (
        changed("workingday", "past_covariates", None),
        "inputs[0].past_covariates.workingday",
        (
            "inputs[0].past_covariates: 'workingday' is missing, wanted rain, workingday, each with 102 numbers (one for "
            "each of the values of series)"
        ),
    ),
    "future covariate missing": (
        changed("workingday", "future_covariates", None),
        "inputs[0].future_covariates.workingday",
        (
            "inputs[0].future_covariates: 'workingday' is missing, wanted temperature, workingday, each with 12 numbers "
            "(one for each of the steps ahead)"
        ),
    ),
    "covariate unknown": (
        changed("moon", "future_covariates", lambda _: np.zeros(12)),
        "inputs[0].future_covariates.moon",
        "inputs[0].future_covariates: the model knows no covariate 'moon', wanted temperature, workingday",
    ),
    "past covariate short": (
        changed("rain", "past_covariates", lambda values: values[1:]),
        "inputs[0].past_covariates.rain",
        "inputs[0].past_covariates.rain: got 101 numbers, wanted 102 (one for each of the values of series)",
    ),
    "past covariate long": (
        changed("rain", "past_covariates", lambda values: np.append(values, 0.0)),
        "inputs[0].past_covariates.rain",
        "inputs[0].past_covariates.rain: got 103 numbers, wanted 102 (one for each of the values of series)",
    ),
    "future covariate short": (
        changed("temperature", "future_covariates", lambda values: values[1:]),
        "inputs[0].future_covariates.temperature",
        "inputs[0].future_covariates.temperature: got 11 numbers, wanted 12 (one for each of the steps ahead)",
    ),
    "future covariate with a gap": (
        changed("temperature", "future_covariates", put(11, np.nan)),
        "inputs[0].future_covariates.temperature",
        "inputs[0].future_covariates.temperature: a value is missing or out of range, wanted numbers",
    ),
    "past covariate without a beginning": (
        changed("rain", "past_covariates", put(0, np.nan)),
        "inputs[0].past_covariates.rain",
        "inputs[0].past_covariates.rain: a value is missing or out of range, wanted numbers",
    ),
    "covariate too large": (
        changed("rain", "past_covariates", put(5, 1e101)),
        "inputs[0].past_covariates.rain",
        "inputs[0].past_covariates.rain: a value is missing or out of range, wanted numbers",
    ),
}


class TestRefusals:
    """Every message says where, what was got and what is wanted."""

    @pytest.mark.parametrize("case", REFUSED)
    def test_of_a_series(self, city: World, case: str) -> None:
        change, param, text = REFUSED[case]
        with pytest.raises(RequestError) as caught:
            ask(city, change(city.history()))
        assert (caught.value.message, caught.value.param, caught.value.status) == (text, param, 400)

    def test_names_the_place_of_the_series(self, city: World) -> None:
        histories = [city.history(0), city.history(1), replace(city.history(2), frequency="1d")]
        with pytest.raises(RequestError, match=r"^inputs\[2\].frequency: got '1d', wanted '1h'"):
            forecast(city.forecaster, histories, None, [])

    @pytest.mark.parametrize("covariates", ["past_covariates", "future_covariates"])
    def test_of_any_covariate_by_a_model_without(self, plain: World, covariates: str) -> None:
        given: dict[str, Any] = {covariates: {"rain": np.zeros(96)}}
        with pytest.raises(RequestError) as caught:
            ask(plain, replace(plain.history(), **given))
        assert caught.value.message == f"inputs[0].{covariates}: the model knows no covariate 'rain', wanted none"

    @pytest.mark.parametrize("steps", [0, -1, 13, 10**30])
    def test_of_a_horizon(self, city: World, steps: int) -> None:
        with pytest.raises(RequestError) as caught:
            forecast(city.forecaster, [city.history()], steps, [])
        text = f"options.horizon: got {steps}, wanted 1 to 12, the steps this model forecasts"
        assert (caught.value.message, caught.value.param) == (text, "options.horizon")

    @pytest.mark.parametrize("level", [0.0, 0.049, 0.951, 1.0, -3.0, 90.0, np.nan, np.inf])
    def test_of_a_quantile(self, city: World, level: float) -> None:
        with pytest.raises(RequestError) as caught:
            forecast(city.forecaster, [city.history()], None, [0.5, level])
        text = f"quantile {level} is outside what was calibrated, wanted 0.05 to 0.95"
        assert (caught.value.message, caught.value.param) == (text, "options.quantiles")

    def test_of_too_many_quantiles(self, city: World) -> None:
        with pytest.raises(RequestError) as caught:
            forecast(city.forecaster, [city.history()], None, [0.5] * 100)
        assert (caught.value.message, caught.value.param) == (
            "options.quantiles: got 100, wanted at most 99",
            "options.quantiles",
        )

    def test_of_no_series(self, city: World) -> None:
        with pytest.raises(RequestError) as caught:
            forecast(city.forecaster, [], None, [])
        assert (caught.value.message, caught.value.param) == (
            "inputs is empty, wanted one series or more",
            "inputs",
        )

    def test_of_too_many_series(self, city: World) -> None:
        with pytest.raises(RequestError) as caught:
            forecast(city.forecaster, [city.history()] * 1_025, None, [])
        text = (
            "got 1025 series with 104550 values, wanted at most 1024 series and 4000000 values: send several requests"
        )
        assert (caught.value.message, caught.value.param) == (text, "inputs")

    def test_of_too_many_values(self, city: World) -> None:
        history = replace(city.history(), values=np.zeros(2_000_001))
        with pytest.raises(RequestError, match="got 2 series with 4000002 values, wanted at most"):
            forecast(city.forecaster, [history, history], None, [])


def test_the_panel_of_a_request_is_like_one_of_training(city: World) -> None:
    """Each history stands where it began, with room for the horizon behind it."""
    histories = [city.history(0), city.history(2, back=3)]
    panel, origins = forecasting._panel(city.forecaster, histories)
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
