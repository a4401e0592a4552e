"""Histories of clients into a question: gaps, cuts, limits, and every message about what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.errors import RequestError
from data.params import Gap
from service import histories
from service.histories import History, Limits, Question, ask
from tests.service.world import World, equal, longer

Floats = NDArray[np.float64]
RULES: tuple[Gap, ...] = get_args(Gap)


class TestGaps:
    """Filled as training fills them; an edge without a value is not like a gap."""

    @pytest.mark.parametrize(
        ("rule", "filled"), [("zero", [0.0, 0.0]), ("forward", [3.0, 3.0]), ("interpolate", [4.0, 5.0])]
    )
    def test_in_the_middle(self, plain: World, rule: Gap, filled: list[float]) -> None:
        world, at = plain.filling(rule), slice(-4, None)
        history = world.history()
        history.values[at] = [3.0, np.nan, np.nan, 6.0]
        got = world.answer(history)
        history.values[at] = [3.0, *filled, 6.0]
        assert equal(got, world.answer(history))

    @pytest.mark.parametrize(("rule", "filled"), [("zero", 0.0), ("forward", 7.0), ("interpolate", 7.0)])
    def test_at_the_end(self, plain: World, rule: Gap, filled: float) -> None:
        """The origin stays where the series ends: the client says that these hours are over."""
        world = plain.filling(rule)
        history = world.history()
        history.values[-3:] = [7.0, np.nan, np.nan]
        got = world.answer(history)
        history.values[-2:] = filled
        assert equal(got, world.answer(history))

    @pytest.mark.parametrize("rule", RULES)
    def test_before_the_first_value(self, city: World, rule: Gap) -> None:
        world = city.filling(rule)
        history = world.history()
        assert equal(world.answer(longer(world, history, np.full(40, np.nan))), world.answer(history))

    @pytest.mark.parametrize("rule", RULES)
    def test_before_the_first_value_count_for_no_context(self, city: World, rule: Gap) -> None:
        world = city.filling(rule)
        history = world.history()
        history.values[:2] = np.nan
        with pytest.raises(RequestError, match="'s01' has 100 values from its first value on, wanted 102 or more"):
            world.answer(history)

    def test_across_the_beginning_of_the_context(self, plain: World) -> None:
        history = plain.history(length=plain.forecaster.design.context + 2)
        history.values[:5] = [10.0, np.nan, np.nan, np.nan, 50.0]
        got = plain.answer(history)
        history.values[:5] = [10.0, 20.0, 30.0, 40.0, 50.0]
        assert equal(got, plain.answer(history))

    def test_of_a_covariate_hold_the_last_value(self, city: World) -> None:
        history = city.history()
        history.past_covariates["rain"][-3:] = [9.0, np.nan, np.nan]
        got = city.answer(history)
        history.past_covariates["rain"][-2:] = 9.0
        assert equal(got, city.answer(history))

    @pytest.mark.parametrize(("rule", "first"), [("zero", 0.0), ("forward", 9.0)])
    def test_at_the_beginning_of_a_covariate(self, city: World, rule: Gap, first: float) -> None:
        """As training and batch have it: the first value that is known holds from the start."""
        world = city.filling(rule, "covariates")
        history = world.history()
        history.past_covariates["rain"][:3] = [np.nan, np.nan, 9.0]
        got = world.answer(history)
        history.past_covariates["rain"][:2] = first
        assert equal(got, world.answer(history))

    def test_of_a_covariate_that_are_all_of_it_are_zero_where_that_is_the_rule(self, city: World) -> None:
        world = city.filling("zero", "covariates")
        history = world.history()
        history.past_covariates["rain"][:] = np.nan
        got = world.answer(history)
        history.past_covariates["rain"][:] = 0.0
        assert equal(got, world.answer(history))

    @pytest.mark.parametrize("rule", RULES)
    def test_nothing_but_gaps(self, plain: World, rule: Gap) -> None:
        world = plain.filling(rule)
        history = world.history()
        history.values[:] = np.nan
        with pytest.raises(RequestError, match="'s01' has 0 values from its first value on"):
            world.answer(history)


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
    "past covariate without a value": (
        changed("rain", "past_covariates", lambda values: values * np.nan),
        "inputs[0].past_covariates.rain",
        "inputs[0].past_covariates.rain: all 102 values are missing, wanted one or more to fill the others from",
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
            city.answer(change(city.history()))
        assert (caught.value.message, caught.value.param, caught.value.status) == (text, param, 400)

    def test_names_the_place_of_the_series(self, city: World) -> None:
        histories = [city.history(0), city.history(1), replace(city.history(2), frequency="1d")]
        with pytest.raises(RequestError, match=r"^inputs\[2\].frequency: got '1d', wanted '1h'"):
            city.ask(*histories)

    @pytest.mark.parametrize("covariates", ["past_covariates", "future_covariates"])
    def test_of_any_covariate_by_a_model_without(self, plain: World, covariates: str) -> None:
        given: dict[str, Any] = {covariates: {"rain": np.zeros(96)}}
        with pytest.raises(RequestError) as caught:
            plain.answer(replace(plain.history(), **given))
        assert caught.value.message == f"inputs[0].{covariates}: the model knows no covariate 'rain', wanted none"

    @pytest.mark.parametrize("steps", [0, -1, 13, 10**30])
    def test_of_a_horizon(self, city: World, steps: int) -> None:
        with pytest.raises(RequestError) as caught:
            city.ask(city.history(), horizon=steps)
        text = f"options.horizon: got {steps}, wanted 1 to 12, the steps this model forecasts"
        assert (caught.value.message, caught.value.param) == (text, "options.horizon")

    @pytest.mark.parametrize("level", [0.0, 0.049, 0.951, 1.0, -3.0, 90.0, np.nan, np.inf])
    def test_of_a_quantile(self, city: World, level: float) -> None:
        with pytest.raises(RequestError) as caught:
            city.ask(city.history(), levels=[0.5, level])
        text = f"options.quantiles: got {level}, wanted 0.05 to 0.95, which is calibrated"
        assert (caught.value.message, caught.value.param) == (text, "options.quantiles")

    @pytest.mark.parametrize(("level", "end"), [(0.05 - 9e-7, 0.05), (0.95 + 9e-7, 0.95)])
    def test_of_no_quantile_that_32_bits_have_rounded(self, city: World, level: float, end: float) -> None:
        assert city.ask(city.history(), levels=[level]).levels == (end,)

    @pytest.mark.parametrize("level", [0.05 - 2e-6, 0.95 + 2e-6])
    def test_of_a_quantile_that_is_further_off(self, city: World, level: float) -> None:
        with pytest.raises(RequestError, match=r"wanted 0\.05 to 0\.95, which is calibrated"):
            city.ask(city.history(), levels=[level])

    def test_of_too_many_quantiles(self, city: World) -> None:
        with pytest.raises(RequestError) as caught:
            city.ask(city.history(), levels=[0.5] * 100)
        assert (caught.value.message, caught.value.param) == (
            "options.quantiles: got 100, wanted at most 99",
            "options.quantiles",
        )

    def test_of_no_series(self, city: World) -> None:
        with pytest.raises(RequestError) as caught:
            city.ask()
        assert (caught.value.message, caught.value.param) == (
            "inputs is empty, wanted one series or more",
            "inputs",
        )

    def test_of_too_many_series(self, city: World) -> None:
        with pytest.raises(RequestError) as caught:
            city.ask(*[city.history()] * 1_025)
        text = (
            "got 1025 series with 104550 values, wanted at most 1024 series and 4000000 values: send several requests"
        )
        assert (caught.value.message, caught.value.param) == (text, "inputs")

    def test_of_too_many_values(self, city: World) -> None:
        history = replace(city.history(), values=np.zeros(2_000_001))
        with pytest.raises(RequestError, match="got 2 series with 4000002 values, wanted at most"):
            city.ask(history, history)

    def test_of_more_than_the_operator_allows(self, city: World) -> None:
        for limits in (Limits(series=2), Limits(values=305)):
            with pytest.raises(RequestError) as caught:
                ask(city.forecaster, city.histories(3), None, [], limits)
            text = f"got 3 series with 306 values, wanted at most {limits.series} series and {limits.values} values"
            assert caught.value.message == f"{text}: send several requests"

    @pytest.mark.parametrize("key", ["frequency", "name", "covariate", "horizon"])
    def test_does_not_send_back_what_was_sent(self, city: World, key: str) -> None:
        """Doors without a limit of their own on a text come here with all of it."""
        history, long = city.history(), "k" * 100_000
        cases: dict[str, Callable[[], object]] = {
            "frequency": lambda: city.ask(replace(history, frequency=long)),
            "name": lambda: city.ask(replace(history, name=long, values=history.values[1:])),
            "covariate": lambda: city.ask(changed(long, "past_covariates", lambda _: np.zeros(102))(history)),
            "horizon": lambda: city.ask(history, horizon=10**4_200),
        }
        with pytest.raises(RequestError) as caught:
            cases[key]()
        assert len(caught.value.message) < 400
        assert len(caught.value.param or "") < 200


def same(one: Question, other: Question) -> bool:
    """Whether two questions agree to the last bit."""
    return (
        (one.names, one.steps, one.levels, one.horizon) == (other.names, other.steps, other.levels, other.horizon)
        and np.array_equal(one.starts, other.starts)
        and np.array_equal(one.target, other.target)
        and all(
            ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
            for ours, theirs in ((one.past, other.past), (one.future, other.future))
        )
    )


NUMBERS = st.sampled_from([0.0, -0.0, 3.5, -1.0, 1e100, 1.1e100, -1e100, np.nan, np.inf, -np.inf, 5e-324])
STARTS = ["1899-12-31T23", "1900-01-01", "2024-05-01", "2199-12-27", "2199-12-28", "2199-12-31", "9999-12-31"]
COVARIATES = ["rain", "workingday", "temperature", "moon"]


@st.composite
def edits(draw: st.DrawFn) -> Callable[[History], History]:
    """One thing about a history that may be odd or wrong."""
    kind = draw(st.sampled_from(["value", "covariate", "cut", "drop", "add", "start", "frequency", "longer", "none"]))
    key = draw(st.sampled_from(["past_covariates", "future_covariates"]))
    name, number, place = draw(st.sampled_from(COVARIATES)), draw(NUMBERS), draw(st.integers(0, 200))
    start, frequency = draw(st.sampled_from(STARTS)), draw(st.sampled_from(["1h", "60min", "1d", "often", ""]))

    def apply(history: History) -> History:
        covariates: dict[str, Floats] = dict(getattr(history, key))
        match kind:
            case "value":
                return replace(history, values=put(place % history.values.size, number)(history.values.copy()))
            case "covariate" if covariates.get(name, np.empty(0)).size:
                covariates[name] = put(place % covariates[name].size, number)(covariates[name].copy())
            case "cut" if name in covariates:
                covariates[name] = covariates[name][1:]
            case "drop":
                covariates.pop(name, None)
            case "add":
                covariates[name] = np.ones(place)
            case "start":
                return replace(history, start=np.datetime64(start, "s"))
            case "frequency":
                return replace(history, frequency=frequency)
            case "longer":
                covariates = {name: np.append(values, number) for name, values in covariates.items()}
                size = history.values.size
                return replace(history, values=np.resize(history.values, size + 1), **{key: covariates})  # type: ignore[arg-type]
            case _:
                pass
        return replace(history, **{key: covariates})  # type: ignore[arg-type]

    return apply


class TestTwoWays:
    """The quick check over all series is the slow one, series by series, wherever it gives an answer at all."""

    @pytest.mark.parametrize("name", ["city", "plain"])
    @pytest.mark.parametrize("extra", [0, 1, 50])
    def test_the_usual_request_takes_the_quick_way(self, name: str, extra: int, request: pytest.FixtureRequest) -> None:
        world: World = request.getfixturevalue(name)
        length = world.forecaster.design.context + extra
        given = [world.history(turn % 3, back=turn, length=length) for turn in range(7)]
        horizon = world.forecaster.design.horizon
        quick = histories._clean(world.forecaster, given, horizon, (0.5,))
        assert quick is not None
        assert same(quick, histories._mended(world.forecaster, given, horizon, (0.5,)))
        assert quick.rows == 7 * horizon

    @settings(max_examples=300, deadline=None)
    @given(
        changes=st.lists(st.tuples(st.integers(0, 2), edits()), max_size=2),
        everywhere=st.none() | edits(),
        steps=st.integers(1, 12),
        extra=st.integers(0, 2),
    )
    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_the_quick_way_lets_nothing_in_that_the_slow_one_does_not(
        self,
        name: str,
        request: pytest.FixtureRequest,
        changes: list[tuple[int, Callable[[History], History]]],
        everywhere: Callable[[History], History] | None,
        steps: int,
        extra: int,
    ) -> None:
        world: World = request.getfixturevalue(name)
        length = world.forecaster.design.context + extra
        given = [world.history(place, length=length, steps=steps) for place in range(3)]
        for place, change in changes:
            given[place] = change(given[place])
        if everywhere is not None:
            given = [everywhere(history) for history in given]
        quick = histories._clean(world.forecaster, given, steps, ())
        if quick is not None:
            assert same(quick, histories._mended(world.forecaster, given, steps, ()))
            return
        slow = mended(world, given, steps)
        if isinstance(slow, str):
            assert slow.startswith("inputs[")
        else:
            assert np.isfinite(slow.target).all()
            assert all(np.isfinite(values).all() for values in (*slow.past.values(), *slow.future.values()))


def mended(world: World, given: list[History], steps: int) -> Question | str:
    """What the slow way says: a question, or what is wrong."""
    try:
        return histories._mended(world.forecaster, given, steps, ())
    except RequestError as err:
        return err.message
