"""Test 2: what clients send against what training saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from data.drift import FEWEST
from data.params import Series
from data.verdict import Outcome, Verdict
from monitoring import invariants
from monitoring.invariants import Stretch
from service.histories import History
from tests.data import project
from tests.monitoring.played import HOUR, Service, scaled, stuck, with_noise
from tests.service import world
from tests.service.world import World

SETTINGS = project.changed().monitoring.invariants
SERIES = project.changed({"series.limits": {"rides": {"missing": 0.1}}}).series
SHARES = {"lag_1": np.full(4, 0.25), "forecast": np.full(2, 0.5)}
QUIET = Stretch(
    name="7d",
    like="7d",
    bins={"lag_1": np.full(4, 250.0), "forecast": np.full(2, 500.0)},
    counted={"lag_1": 1_000.0, "forecast": 1_000.0},
    outside={"lag_1": 10.0},
    noise={"lag_1": 0.1, "forecast": 0.0},
    values={"rides": 1_000.0, "wind": 1_000.0},
    broken={("rides", "missing"): 100.0, ("wind", "high"): 10.0, ("wind", "constant"): 200.0, ("wind", "low"): 0.0},
)


def judged(*stretches: Stretch, series: Series = SERIES) -> Verdict:
    return invariants.judge(list(stretches), SHARES, SETTINGS, series)


def texts(verdict: Verdict, outcome: Outcome = Outcome.FAIL) -> list[str]:
    return [one.text for one in verdict.checks if one.outcome is outcome]


# The decision


def test_what_is_as_in_training_passes() -> None:
    verdict = judged(QUIET)
    assert verdict.passed
    assert [one.name for one in verdict.checks] == ["limits over 7d", "range over 7d", "drift over 7d"]
    assert verdict.checks[2].numbers == {"value": pytest.approx(0, abs=0.005), "limit": 1}
    assert verdict.checks[2].text == (
        "2 of 2 features have enough values and none has drifted over 7d; lag_1 comes nearest, at 0% of its limit"
    )


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (
            ("wind", "high", 11),
            "wind is above series.limits.wind.high: 1.1% of 1,000 values over 7d, at most 1.0% (limit)",
        ),
        (("rides", "low", 999), "rides is below series.limits.rides.low: 99.9% of 1,000 values"),
        (("wind", "constant", 201), "wind stays at one value for longer than series.limits.wind.constant: 20.1% of"),
        (("rides", "missing", 101), "rides is missing: 10.1% of 1,000 values over 7d, at most 10.0% (limit)"),
    ],
)
def test_broken_limit_fails_and_names_the_column(broken: tuple[str, str, float], text: str) -> None:
    column, kind, count = broken
    verdict = judged(replace(QUIET, broken={**QUIET.broken, (column, kind): count}))
    assert verdict.outcome is Outcome.FAIL
    assert texts(verdict)[0].startswith(text)


def test_missing_values_are_no_fault_where_nothing_is_declared() -> None:
    assert judged(replace(QUIET, broken={("rides", "missing"): 900.0}), series=project.changed().series).passed


def test_values_beyond_training_fail() -> None:
    verdict = judged(replace(QUIET, outside={"lag_1": 51.0}))
    assert texts(verdict) == ["lag_1 lies beyond all of training in 5.1% of 1,000 values over 7d, at most 5.0% (limit)"]


@pytest.mark.parametrize(
    ("name", "usual", "missing", "text"),
    [
        (
            "7d",
            {"lag_1": 0.0},
            1_001.0,
            "lag_1 is missing in 50.0% of 2,001 values over 7d, 0.0% in training, at most 50.0% (limit)",
        ),
        (
            "7d",
            {"lag_1": 0.6},
            4_001.0,
            "lag_1 is missing in 80.0% of 5,001 values over 7d, 60.0% in training, at most 80",
        ),
        ("7d", {"lag_1": 0.6}, 3_999.0, None),
        ("7d", {"lag_1": 1.0}, 1e9, None),
        (
            "7d",
            {},
            1e9,
            "lag_1 is missing in 100.0% of 1,000,001,000 values over 7d, of training it is not known",
        ),
        ("1d", {"lag_1": 0.0}, 1e9, "lag_1 is missing"),
        ("1d", {"lag_1": 0.1}, 1e9, None),  # a holiday
        ("1d", {}, 1e9, None),
    ],
)
def test_a_feature_that_is_missing_and_was_there_in_training_fails(
    name: str, usual: dict[str, float], missing: float, text: str | None
) -> None:
    verdict = judged(replace(QUIET, name=name, like=name, missing={"lag_1": missing, "forecast": 0.0}, usual=usual))
    found = texts(verdict)
    assert len(found) == (text is not None)
    assert text is None or found[0].startswith(text)


def test_a_feature_that_is_not_there_at_all_is_found_by_itself() -> None:
    """Nothing is left of it to count in bins."""
    verdict = judged(replace(QUIET, bins={}, counted={}, outside={}, missing={"lag_1": 1e3}, usual={"lag_1": 0.0}))
    assert verdict.outcome is Outcome.FAIL
    assert texts(verdict)[0].startswith("lag_1 is missing in 100.0% of 1,000 values")


def test_drift_fails_above_what_training_does_itself() -> None:
    bins = np.array([700.0, 100.0, 100.0, 100.0])
    verdict = judged(replace(QUIET, bins={**QUIET.bins, "lag_1": bins}))
    assert texts(verdict)[0].startswith("lag_1 has drifted: PSI 0.85")
    assert judged(replace(QUIET, bins={**QUIET.bins, "lag_1": bins}, noise={"lag_1": 0.6, "forecast": 0.0})).passed


def test_drift_of_the_forecast_fails() -> None:
    assert (
        "forecast has drifted"
        in texts(judged(replace(QUIET, bins={**QUIET.bins, "forecast": np.array([9e3, 1e3])})))[0]
    )


@given(st.lists(st.integers(0, 10_000), min_size=4, max_size=4), st.floats(0, 3))
def test_more_noise_in_training_never_makes_an_alarm(bins: list[int], noise: float) -> None:
    def failed(allowed: float) -> bool:
        stretch = replace(QUIET, bins={"lag_1": np.array(bins, float)}, noise={"lag_1": allowed})
        return any("drifted" in text for text in texts(judged(stretch)))

    assert failed(noise) or not failed(noise + 0.5)
    assert sum(bins) > FEWEST or not failed(0.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"values": {}}, "no column has more than 200 values that clients sent (model_input_values_total)"),
        ({"values": {"rides": 200.0}}, "no column has more than 200 values that clients sent"),
        ({"bins": {}}, "no feature has more than 200 values over 7d"),
        ({"bins": {"lag_1": np.full(4, 50.0)}}, "no feature has more than 200 values over 7d"),
        ({"noise": {}}, "the served model does not say how far its own training data is from itself: train it again"),
        ({"noise": {}, "name": "5h"}, "it has served for 5h, wanted 1d or more"),
    ],
)
def test_no_data_is_inconclusive(changes: dict[str, Any], text: str) -> None:
    verdict = judged(replace(QUIET, **changes))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert any(found.startswith(text) for found in texts(verdict, Outcome.INCONCLUSIVE))


@given(arrays(np.int64, (5, 4), elements=st.integers(0, 50)))
def test_each_part_counts_as_much_as_another(counts: NDArray[np.int64]) -> None:
    numbers = counts.sum(axis=1)
    found = invariants.even(counts.astype(float))
    assert found.sum() <= numbers.sum() * (1 + 1e-9)
    assert (found.sum() > 0) == numbers.any()
    busier = counts * np.array([1, 1, 100, 1, 1])[:, None]
    ours, theirs = (one / max(one.sum(), 1e-12) for one in (found, invariants.even(busier.astype(float))))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_days_are_counted_back_from_the_end() -> None:
    counts = np.zeros((28, 2))
    counts[[27, 24, 23, 0], 0] = 1
    assert invariants._days(counts, 7 * 86_400.0) == 3


def test_parts_of_as_many_values_are_added_up() -> None:
    np.testing.assert_allclose(invariants.even(np.array([[1.0, 3.0], [4.0, 0.0], [0.0, 0.0]])), [5.0, 3.0])


def test_nothing_at_all_is_inconclusive() -> None:
    assert judged().outcome is Outcome.INCONCLUSIVE


def test_reference_of_other_bins_is_an_error() -> None:
    verdict = judged(replace(QUIET, bins={"lag_1": np.full(5, 100.0)}))
    assert verdict.outcome is Outcome.ERROR
    assert texts(verdict, Outcome.ERROR) == ["lag_1 has 5 bins, its reference (model_feature_reference_ratio) has not"]


def test_numbers_that_are_none_do_not_pass() -> None:
    assert judged(replace(QUIET, bins={"lag_1": np.array([np.nan, 300.0, 300.0, 300.0])})).outcome is not Outcome.PASS
    assert judged(replace(QUIET, broken={("wind", "high"): float("nan")})).outcome is Outcome.FAIL


# From a service on


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A model of two months with limits, whose card says how noisy they were."""
    declared = {
        **world.CITY,
        "series": {**world.CITY["series"], "limits": {"temperature": {"high": 45, "constant": "6h"}}},
    }
    return with_noise(world.make(declared, 0.0, tmp_path_factory.mktemp("town")))


def test_quiet_days_pass(town: World) -> None:
    service = Service(town)
    service.live(2)
    verdict = invariants.check(service.context())
    assert verdict.passed, str(verdict)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (stuck("temperature", 12.0), "temperature stays at one value"),
        (scaled("temperature", 1.8, 32.0), "temperature is above series.limits.temperature.high"),
        (scaled("temperature", 0.0, 44.0), "future_temperature lies beyond all of training"),
        (lambda history: replace(history, values=np.full(history.values.size, 5.0)), "seasonal_lag_1d has drifted"),
        (lambda history: replace(history, values=history.values * 1_000), "forecast"),
    ],
)
def test_changes_are_found(town: World, change: Any, text: str) -> None:
    service = Service(town)
    service.live(1.5, change)
    found = texts(invariants.check(service.context()))
    if text == "forecast":  # features are in units of the scale: a changed unit of the target is for its limits
        assert not found
    else:
        assert any(one.startswith(text) for one in found), found


def test_a_feature_that_the_service_lost_is_found(town: World) -> None:
    """It counts as missing whatever is sent; the card says that training had all of it."""
    service = Service(town)
    (lost,) = (one for one in service.metrics.model._features if one.feature == "future_temperature")
    lost.count = lambda values: lost._missing.inc(values.size)  # type: ignore[method-assign]
    service.live(1.1)
    found = texts(invariants.check(service.context()))
    assert any(
        one.startswith("future_temperature is missing in 100.0% of") and "0.0% in training" in one for one in found
    ), found


def test_an_hour_of_load_is_no_drift(town: World) -> None:
    """Six times as many requests in one hour as in all the week, all of them alike."""
    service = Service(town)
    service.live(7.1)
    for _ in range(6 * 171):
        service.ask(*[town.history(0, back=12)] * len(town.panel))
    service.now += HOUR
    service.read()
    verdict = invariants.check(service.context())
    assert verdict.passed, str(verdict)


@pytest.mark.parametrize(
    ("name", "days", "like"),
    [
        ("28d", 28.0, "28d"),
        ("28d", 20.0, "28d"),
        ("28d", 19.0, "7d"),
        ("28d", 2.3, "1d"),
        ("7d", 5.0, "7d"),
        ("5h", 0.1, "5h"),
    ],
)
def test_a_stretch_is_like_one_of_as_many_days_as_its_requests_came_on(name: str, days: int, like: str) -> None:
    assert invariants._like(name, days) == like


def test_first_hours_are_inconclusive_but_limits_hold(town: World) -> None:
    service = Service(town)
    service.live(0.25)
    assert invariants.check(service.context()).outcome is Outcome.INCONCLUSIVE
    service.live(0.25, stuck("temperature", 12.0))
    assert "temperature stays at one value" in str(invariants.check(service.context()))


def test_service_that_is_gone_is_inconclusive(town: World) -> None:
    service = Service(town)
    service.live(1.1)
    service.pages.now += 2 * HOUR
    verdict = invariants.check(replace(service.context(), now=service.pages.now))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "no service says which model it serves" in str(verdict)


def test_model_without_noise_in_its_card_is_inconclusive(town: World) -> None:
    card = town.forecaster.card
    bare = card.model_copy(update={"reference": card.reference.model_copy(update={"noise": {}})})
    service = Service(replace(town, forecaster=type(town.forecaster)(bare, town.forecaster._session)))
    service.live(1.1)
    verdict = invariants.check(service.context())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "train it again" in str(verdict)


def test_another_versions_counts_are_no_evidence(town: World) -> None:
    """A version whose sensor was stuck; the one after it, at the same address, is judged by its own requests."""
    before = Service(town, version="7")
    before.live(1.5, stuck("temperature", 12.0))
    after = Service(town, version="8", pages=before.pages, now=before.now + HOUR)
    after.live(0.5)
    verdict = invariants.check(after.context())
    assert verdict.outcome is Outcome.INCONCLUSIVE, str(verdict)
    assert not texts(verdict)


def history_with_gaps(history: History) -> History:
    values = history.values.copy()
    values[5::2] = np.nan
    return replace(history, values=values)


def test_missing_values_are_found(town: World) -> None:
    service = Service(town)
    service.live(0.5, history_with_gaps)
    context = service.context()
    series = context.params.series.model_copy(update={"limits": SERIES.limits})
    found = texts(invariants.check(replace(context, params=context.params.model_copy(update={"series": series}))))
    assert any(text.startswith("rides is missing: 4") for text in found), found
