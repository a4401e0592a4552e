"""Test 7: slices against pandas, what passes and what does not, and pairs as a real record gives them."""

from __future__ import annotations

import asyncio
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.accuracy import Accuracy, Daily
from data.monitoring import Quality
from data.params import Params
from data.scoring import DAY, Batch, Days, Errors, Levels, Units
from data.verdict import Check, Outcome, Verdict
from monitoring import quality
from monitoring.context import Context
from monitoring.pages import Pages
from service.record.join import Pairs
from service.record.pairs import pairs
from tests.service.record.kept import entry, opened
from tests.training import tiny
from tests.training.conftest import at_home, promoted, town  # noqa: F401 - fixtures
from training import accuracy

HOUR = 3_600
#: A Monday.
START = int(np.datetime64("2024-03-04", "s").astype(np.int64))
NAMES = ["a", "b", "c", "d", "e"]
STEPS = 6
SETTINGS = Quality()


def city(days: int, seed: int = 0, changed: int | None = None, late: int | None = None) -> Batch:
    """Hourly forecasts of five series, each value forecast from four origins, and what came.

    Args:
        days: of them.
        seed: of the noise; all series share a mood that lasts for days.
        changed: the day from which the peak comes six hours later.
        late: the day from which nothing but the nights has an actual value yet.
    """
    draw = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    mood = np.zeros(hours.size)
    for place in range(1, hours.size):
        mood[place] = 0.99 * mood[place - 1] + 0.015 * draw.standard_normal()
    shape = 1 + 0.6 * np.sin(2 * np.pi * hours / 24)
    moved = 1 + 0.6 * np.sin(2 * np.pi * (hours - 6) / 24)
    true = shape if changed is None else np.where(hours < changed * 24, shape, moved)
    parts = []
    for number in range(len(NAMES)):
        size = 10.0 * 2**number
        came = draw.gamma(20, size * true * np.exp(mood) / 20)
        if late is not None:
            came = np.where((hours >= late * 24) & (hours % 24 >= 6), np.nan, came)
        for origin in range(4):
            step = np.full(hours.size, origin + 1)
            forecast = size * shape * np.exp(0.05 * draw.standard_normal(hours.size))
            parts.append((np.full(hours.size, number), step, START + HOUR * hours, forecast, came))
    return Batch(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def reference(seed: int = 100) -> Accuracy:
    return accuracy.measure(NAMES, city(120, seed), STEPS, HOUR)


REFERENCE = reference()


def found(batch: Batch, count: int = 14, names: list[str] = NAMES, *, end: int | None = None) -> quality.Found:
    """As `gather` adds it up, without quantiles."""
    days = Days(int(batch.time.max()) + 1 if end is None else end, count, HOUR)
    day = days.of(batch.time)
    inside = (day >= 0) & (day < count)
    batch, day = batch.take(inside), day[inside]
    levels = Levels(days)
    levels.add(batch)
    errors = Errors(names, Units.of(REFERENCE.expected, names[: len(levels.count)], levels.sizes), levels)
    errors.add(batch)
    came = np.bincount(day, (~np.isnan(batch.actual)).astype(np.float64), count).astype(np.float64)
    return quality.Found(days, np.bincount(day, minlength=count).astype(float), came, errors)


def judged(batch: Batch, **kept: Any) -> Verdict:
    return quality.judge(found(batch, **kept), REFERENCE, SETTINGS)


def named(verdict: Verdict, name: str) -> Check:
    return next(check for check in verdict.checks if check.name == name)


def frame(batch: Batch) -> pd.DataFrame:
    """One row a step with what each slice goes by, and the errors as one would write them in pandas."""
    made = pd.DataFrame(batch._asdict()).dropna()
    when = pd.to_datetime(made["time"], unit="s")
    made["day"], made["hour"], made["weekend"] = (
        when.dt.floor("D"),
        when.dt.hour,
        (when.dt.day_of_week >= 5).astype(int),
    )
    sums = made.groupby(["series", "day"])[["actual", "forecast"]].transform("sum")
    sizes = np.array([REFERENCE.expected.sizes[name] for name in NAMES])[made["series"]]

    def unit(forecast: Any) -> NDArray[np.float64]:
        each = [
            np.interp(ratio, REFERENCE.expected.levels, REFERENCE.expected.errors[NAMES[series]])
            for ratio, series in zip(forecast / sizes, made["series"], strict=True)
        ]
        return np.asarray(sizes * each * np.array(REFERENCE.expected.steps)[made["step"] - 1])

    moved = made["forecast"] * sums["actual"] / sums["forecast"]
    made["shape"] = (moved - made["actual"]).abs() / unit(moved)
    made["bias"] = (made["forecast"] - made["actual"]) / unit(made["forecast"])
    made["absolute"] = (made["forecast"] - made["actual"]).abs()
    made["error"] = made["bias"].abs()
    return made


@pytest.mark.parametrize("family", ["series", "step", "hour", "weekend"])
def test_slices_are_pandas_groups(family: str) -> None:
    batch = city(9)
    batch.actual[::7] = np.nan
    errors = found(batch, 9).errors
    assert errors is not None
    ours = {name.split(" ")[1]: sums for name, sums in errors.slices() if name.startswith(f"{family} ")}
    theirs = frame(batch).groupby(family)

    def label(key: Any) -> str:
        return NAMES[key] if family == "series" else str(key)

    assert set(ours) == {label(key) for key, _ in theirs}
    for key, group in theirs:
        by_day = group.groupby("day")
        for figure in ("shape", "bias", "absolute", "error"):
            expected = by_day[figure].sum()
            got = getattr(ours[label(key)], figure)
            np.testing.assert_allclose(got[got != 0], expected, rtol=1e-9)
        assert ours[label(key)].rows.sum() == len(group)


def test_levels_split_what_is_forecast_in_four_rising_parts() -> None:
    errors = found(city(9), 9).errors
    assert errors is not None
    parts = [sums for name, sums in errors.slices() if name.startswith("level ")]
    rows = np.array([part.rows.sum() for part in parts])
    mae = np.array([part.absolute.sum() for part in parts]) / rows
    assert len(parts) == 4
    assert (rows / rows.sum() > 0.1).all()
    assert (np.diff(mae) > 0).all()


def test_groups_of_steps_cover_a_long_horizon() -> None:
    days = Days(START + DAY, 1, HOUR)
    step = np.arange(1, 169)
    batch = Batch(np.zeros(168, np.int64), step, np.full(168, START), np.full(168, 2.0), np.full(168, 1.0))
    levels = Levels(days)
    levels.add(batch)
    errors = Errors(["a"], Units(np.ones(1), np.array([0.0, 1.0]), np.ones((1, 2)), np.ones(168)), levels)
    errors.add(batch)
    groups = [(name, sums.rows.sum()) for name, sums in errors.slices() if name.startswith("step ")]
    assert groups[0] == ("step 1-7", 7)
    assert groups[-1] == ("step 162-168", 7)
    assert len(groups) == 24


@pytest.mark.parametrize("seed", range(5))
def test_quiet_days_pass(seed: int) -> None:
    batch = city(120, seed)
    for day in range(14, 121, 14):
        end = START + day * DAY
        verdict = judged(batch.take(batch.time < end), end=end)
        assert verdict.passed, str(verdict)


@pytest.mark.parametrize("seed", range(10))
def test_another_shape_of_the_day_fails_within_three_days(seed: int) -> None:
    batch = city(17, seed, changed=14)
    end = START + 14 * DAY
    assert judged(batch.take(batch.time < end), end=end).passed
    verdict = judged(batch, end=end + 3 * DAY)
    assert named(verdict, "errors from day to day").outcome is Outcome.FAIL
    assert "evidence" in named(verdict, "errors from day to day").text


def test_one_series_that_got_worse_fails_by_its_name() -> None:
    batch = city(14)
    worse = (batch.series == 2) & (batch.time >= START + 7 * DAY)
    noise = np.random.default_rng(1).choice([0.4, 1.6], batch.time.size)
    verdict = judged(batch._replace(actual=np.where(worse, batch.actual * noise, batch.actual)))
    assert named(verdict, "slices").outcome is Outcome.FAIL
    assert "series c (MAE" in named(verdict, "slices").text
    assert named(verdict, "errors from day to day").outcome is Outcome.PASS


def test_slices_of_which_nothing_is_known_are_no_pass() -> None:
    unknown = REFERENCE.model_copy(
        update={
            "shape": {name: Daily(mean=0.0, deviation=0.0) for name in REFERENCE.shape}
            | {"all": REFERENCE.shape["all"]}
        }
    )
    assert named(quality.judge(found(city(14)), unknown, SETTINGS), "slices").outcome is Outcome.INCONCLUSIVE
    without = REFERENCE.model_copy(update={"shape": {"all": REFERENCE.shape["all"]}})
    assert named(quality.judge(found(city(14)), without, SETTINGS), "slices").outcome is Outcome.INCONCLUSIVE


def test_a_series_that_stands_still_for_a_day_is_no_worse_model() -> None:
    batch = city(14)
    still = (batch.series == 2) & (batch.time // DAY == START // DAY + 9)
    assert judged(batch._replace(actual=np.where(still, 0.0, batch.actual))).passed


def test_a_level_that_stays_away_fails_by_bias_and_error() -> None:
    batch = city(14)
    verdict = judged(batch._replace(actual=batch.actual * 0.5))
    assert named(verdict, "bias").outcome is Outcome.FAIL
    assert named(verdict, "error").outcome is Outcome.FAIL
    assert named(verdict, "bias").numbers["value"] > 0


def test_a_few_bad_days_are_inconclusive_where_a_mean_is_wanted() -> None:
    batch = city(4)
    verdict = judged(batch._replace(actual=batch.actual * 0.5), count=4)
    assert named(verdict, "bias").outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("closed", [0, 5, 13])
def test_a_day_without_any_error_does_not_outweigh_the_others(closed: int) -> None:
    """All is closed, nothing is forecast and nothing comes; on the other days errors are twice as large."""
    batch = city(14)
    day = Days(int(batch.time.max()) + 1, 14, HOUR).of(batch.time)
    actual = batch.forecast + 2.5 * (batch.actual - batch.forecast)
    nothing = np.where(day == closed, 0.0, 1.0)
    check = named(judged(batch._replace(actual=actual * nothing, forecast=batch.forecast * nothing)), "error")
    assert check.outcome is Outcome.FAIL, check.text
    assert check.numbers["days"] == 13


def test_no_error_at_all_is_no_pass() -> None:
    batch = city(14)
    verdict = judged(batch._replace(actual=batch.forecast))
    assert named(verdict, "error").outcome is Outcome.INCONCLUSIVE
    assert named(verdict, "error").text == "error: no error at all on 14 days: is what comes in what was forecast?"
    assert named(verdict, "bias").outcome is Outcome.PASS


@pytest.mark.parametrize("came", [0.0, 1.0])
def test_series_that_nobody_measures_are_left_out_and_told_of(came: float) -> None:
    """Two that the backtest had, one that it had not, and two names that somebody made up."""
    due = quality.Arrivals(Days(START, 2, HOUR))
    series = np.array([0, 0, 1, 2, 3, 3, 4])
    actual = np.array([1.0, 0.0, 0.0, came, 0.0, 0.0, 0.0]) > 0
    numbers = np.zeros(7)
    due.add(Batch(series, series, series, numbers, numbers), np.array([0, 1, 0, 1, 0, 0, 1]), actual)
    by_day, arrived, strangers = due.of([True, True, False, False, False])
    assert by_day.tolist() == [2, 1 + came]
    assert arrived.tolist() == [1, came]
    assert strangers == 3 - came


def as_pairs(batch: Batch, names: list[str]) -> Pairs:
    """As the record gives them; what has no actual value has none in the record."""
    return Pairs(
        series=np.array(names, dtype=object)[batch.series],
        model_version=np.array(["7"], dtype=object).repeat(batch.time.size),
        created_at=batch.time.astype(np.float64),
        origin=(batch.time - HOUR * batch.step).astype("datetime64[s]"),
        step=batch.step,
        time=batch.time.astype("datetime64[s]"),
        forecast=batch.forecast,
        levels=np.empty(0),
        quantiles=np.empty((0, batch.time.size)),
        actual=batch.actual,
        has_actual=~np.isnan(batch.actual),
    )


@pytest.mark.parametrize("silent", [2, 4])
def test_a_known_series_of_which_nothing_comes_is_named(silent: int) -> None:
    batch = city(14)
    without = batch._replace(actual=np.where(batch.series == silent, np.nan, batch.actual))
    days = Days(START + 14 * DAY, 14, HOUR)
    made = quality.gather(lambda: [as_pairs(without, NAMES)], REFERENCE, days)
    verdict = quality.judge(made, REFERENCE, SETTINGS)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert named(verdict, "series without values").text == (
        "1 series that the backtest had are not judged, since no actual value of them is a number: "
        f"{NAMES[silent]}; who brings them (POST /v1/timeseries/actuals)?"
    )
    assert named(verdict, "arrived").outcome is Outcome.PASS
    whole = quality.gather(lambda: [as_pairs(batch, NAMES)], REFERENCE, days)
    assert quality.judge(whole, REFERENCE, SETTINGS).passed


def test_a_series_that_nobody_measures_or_that_is_only_late_is_not_named() -> None:
    batch = city(14)
    last = batch.time >= START + 13 * DAY
    late = batch._replace(actual=np.where(last | (batch.series == 3), np.nan, batch.actual))
    late = late.take(
        last | (batch.series != 4)
    )  # the fifth is asked for since yesterday, of which nothing came of anybody
    made = quality.gather(
        lambda: [as_pairs(late, ["a", "b", "c", "stranger", "e"])], REFERENCE, Days(START + 14 * DAY, 14, HOUR)
    )
    assert made.strangers == 1
    verdict = quality.judge(made, REFERENCE, SETTINGS)
    assert verdict.passed, str(verdict)


def test_nothing_that_came_of_anybody_leaves_nobody_out() -> None:
    due = quality.Arrivals(Days(START, 2, HOUR))
    due.add(Batch(*(np.zeros(3, dtype=np.int64),) * 5), np.zeros(3, dtype=np.int64), np.zeros(3, dtype=bool))  # type: ignore[arg-type]
    assert [one.tolist() for one in due.of([False])[:2]] == [[3, 0], [0, 0]]


def test_late_actuals_are_inconclusive_and_counted() -> None:
    verdict = judged(city(14, late=2))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "wanted 50% (quality.arrived)" in str(verdict)
    assert verdict.checks[0].numbers == {"due": 6_720, "arrived": 6_720 * (2 + 12 / 4) / 14, "late_days": 12}


def test_days_that_are_late_are_left_out() -> None:
    """What came first of the last days are nights, which are not like whole days."""
    batch = city(14, late=11)
    nights = (batch.time >= START + 11 * DAY) & ~np.isnan(batch.actual)
    assert judged(batch).passed
    verdict = judged(batch._replace(actual=np.where(nights, batch.actual * 9, batch.actual)))
    assert verdict.passed, str(verdict)
    assert named(verdict, "arrived").numbers["late_days"] == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_to_compare_is_inconclusive(value: float) -> None:
    batch = city(14)
    assert judged(batch._replace(forecast=np.full(batch.time.size, value))).outcome is Outcome.INCONCLUSIVE


def test_nothing_due_is_inconclusive() -> None:
    empty = city(1).take(np.zeros(480, bool))
    verdict = judged(empty, end=START)
    assert str(verdict) == "INCONCLUSIVE: no forecast of this model is due in the last 14d"


def test_a_short_backtest_is_no_reference() -> None:
    verdict = quality.judge(found(city(14)), REFERENCE.model_copy(update={"days": 13}), SETTINGS)
    assert str(verdict) == "INCONCLUSIVE: the backtest has 13 days, wanted 14: set more backtest.folds"


def test_a_series_that_the_backtest_did_not_have_is_measured_by_the_others() -> None:
    verdict = judged(city(14), names=["a", "b", "c", "d", "new"])
    assert verdict.passed, str(verdict)
    assert named(verdict, "slices").numbers["slices"] == 4 + 4 + 24 + 2 + 4


@pytest.mark.parametrize(("above", "outcome"), [(0.1, Outcome.PASS), (0.3, Outcome.FAIL)])
def test_quantiles_that_were_asked_for_must_hold(above: float, outcome: Outcome) -> None:
    made, rows = found(city(14)), np.full(14, 480.0)
    made.asked, made.above, made.below = {0.9: rows}, {0.9: rows * above}, {0.9: rows * (1 - above)}
    check = named(quality.judge(made, REFERENCE, SETTINGS), "quantile 0.9")
    assert check.outcome is outcome
    assert check.numbers["above"] == pytest.approx(above)


def test_a_quantile_that_many_values_equal_is_no_fault() -> None:
    """A count of 0 where 0 is forecast is neither above nor below."""
    made, rows = found(city(14)), np.full(14, 480.0)
    made.asked, made.above, made.below = {0.05: rows}, {0.05: rows * 0.1}, {0.05: rows * 0}
    assert named(quality.judge(made, REFERENCE, SETTINGS), "quantile 0.05").outcome is Outcome.PASS


FINITE = st.lists(st.floats(-9, 9) | st.just(math.nan), max_size=20)


@given(FINITE, st.floats(0.5, 20))
def test_evidence_is_the_largest_sum_that_ends_today(values: list[float], cap: float) -> None:
    made = quality.evidence(np.array(values), cap)
    gains = [0.0 if math.isnan(one) else min(cap, 3 * (one - 1.5)) for one in values]
    sums = [max(0.0, *(sum(gains[first : last + 1]) for first in range(last + 1))) for last in range(len(gains))]
    np.testing.assert_allclose(made, sums, atol=1e-9)


@given(FINITE, st.integers(0, 19), st.floats(0, 5))
def test_evidence_does_not_fall_when_a_day_gets_worse(values: list[float], place: int, more: float) -> None:
    worse = np.array(values)
    worse[place : place + 1] += more
    assert (quality.evidence(worse) >= quality.evidence(np.array(values)) - 1e-9).all()


def test_evidence_reaches_its_limit_as_seldom_as_promised() -> None:
    """Quiet days of a normal distribution: once in 365 days at most."""
    draw = np.random.default_rng(0).standard_normal(50_000)
    alarms, state = 0, 0.0
    for part in draw.reshape(-1, 100):
        grown = quality.evidence(np.concatenate([[state / 3 + 1.5], part]))
        alarms += int((grown[1:] > math.log(365)).any())
        state = min(float(grown[-1]), 5.0)
    assert 0 < alarms < 50_000 / 365


def test_a_figure_without_spread_is_no_evidence() -> None:
    assert np.isnan(quality.deviations(np.ones(3), Daily(mean=0.0, deviation=0.0))).all()


def kept(url: str, version: str, origins: int, now: int) -> None:
    """Forecasts of three hours from `origins` hours, with actual values that come badly."""
    recorder = opened(url)
    first = now - origins * HOUR
    for number in range(origins):
        origin = np.datetime64(first + number * HOUR, "s")
        recorder.put(entry(series="s01", model_version=version, origin=origin))
    times = (first + HOUR * np.arange(1, origins + 3)).astype("datetime64[s]")
    last = np.array([now + 900 * DAY]).astype("datetime64[s]")
    backward = times[::-1].copy()
    values = np.full(times.size, 2.0)

    async def bring() -> None:
        await recorder.put_actuals(["s01"] * times.size, times, np.full(times.size, 77.0))
        await recorder.put_actuals(["s01"] * times.size, backward, values)
        await recorder.put_actuals(["unknown"] * times.size, times, values)
        await recorder.put_actuals(["s01"], last, np.array([5.0]))
        await recorder.put_actuals(["s01"], times[:1], np.array([np.nan]))

    asyncio.run(bring())
    recorder.close()


def test_actuals_twice_out_of_order_unknown_future_and_missing(tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/record.db", START + 4 * DAY
    kept(url, "7", 72, now)
    days = Days(now, 4, HOUR)
    begin, end = (np.datetime64(one, "s") for one in (now - 4 * DAY, now))
    made = quality.gather(lambda: pairs(url, begin, end, "7"), REFERENCE, days)
    assert made.errors is not None
    whole = made.errors.all()
    due = 71 + 70 + 69  # of the forecasts of the last hours, not all steps are over
    assert made.due.sum() == due
    assert made.arrived.sum() == due
    assert whole.rows.sum() == due - 1  # one is known to be missing
    # forecasts are 1, 2, 3 and all came as 2, the last word on them
    assert whole.absolute.sum() == 70 + 69
    assert made.asked[0.9].sum() == due - 1
    assert made.above[0.9].sum() == 0
    assert made.below[0.9].sum() == 70 + 69
    assert made.below[0.1].sum() == 0
    assert made.above[0.1].sum() == 70 + 70


def test_actuals_that_come_between_the_passes_do_no_harm(tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/record.db", START + 4 * DAY
    kept(url, "7", 72, now)
    recorder = opened(url)
    recorder.put(entry(series="late", model_version="7", origin=np.datetime64(now - 9 * HOUR, "s")))
    recorder.close()
    begin, end = (np.datetime64(one, "s") for one in (now - 4 * DAY, now))
    turns = 0

    def read() -> list[Pairs]:
        nonlocal turns
        turns += 1
        if turns == 2:
            recorder = opened(url)
            times = np.array([now - 8 * HOUR], dtype="datetime64[s]")
            asyncio.run(recorder.put_actuals(["late"], times, np.array([3.0])))
            recorder.close()
        return list(pairs(url, begin, end, "7"))

    made = quality.gather(read, REFERENCE, Days(now, 4, HOUR))
    assert made.errors is not None
    assert [name for name, _ in made.errors.slices() if name.startswith("series")] == ["series s01"]


def test_forecasts_of_another_version_do_not_count(tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/record.db", START + 4 * DAY
    kept(url, "6", 72, now)
    begin, end = (np.datetime64(one, "s") for one in (now - 4 * DAY, now))
    made = quality.gather(lambda: pairs(url, begin, end, "7"), REFERENCE, Days(now, 4, HOUR))
    assert made.due.sum() == 0
    assert made.errors is None


def test_forecasts_of_another_model_with_the_same_number_do_not_count(tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/record.db", START + 4 * DAY
    kept(url, "7", 72, now)
    window = [np.datetime64(one, "s") for one in (now - 4 * DAY, now)]
    name = entry(model_version="7").model_name
    assert sum(part.step.size for part in pairs(url, window[0], window[1], "7", name)) > 0
    assert list(pairs(url, window[0], window[1], "7", "another")) == []


def test_levels_that_only_a_client_would_think_of_have_no_check(tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/record.db", START + 4 * DAY
    kept(url, "7", 72, now)
    begin, end = (np.datetime64(one, "s") for one in (now - 4 * DAY, now))
    odd = [replace(part, levels=np.array([0.1234567, 0.975])) for part in pairs(url, begin, end, "7")]
    assert set(quality.gather(lambda: odd, REFERENCE, Days(now, 4, HOUR)).asked) == {0.975}


def context(config: Params, record: str | None, now: float, **labels: str) -> Context:
    metrics = Pages()
    if labels:
        told = {"model": "bentocast", "version": "1", "bento": "b:1", "run_id": "unknown", "git_commit": "c"} | labels
        shown = ",".join(f'{key}="{value}"' for key, value in told.items())
        metrics.read(f"model_info{{{shown}}} 1\n", "i", now)
    return Context(config, now, metrics, record)


def test_no_service_and_no_record_are_inconclusive() -> None:
    config = tiny.params()
    assert "no service tells which model it serves" in str(quality.check(context(config, None, 0.0)))
    verdict = quality.check(context(config, None, 0.0, version="1"))
    assert str(verdict).startswith("INCONCLUSIVE: there is no record of forecasts")


@pytest.mark.filterwarnings(*tiny.MLFLOW, tiny.BOOLEANS)
def test_the_reference_is_the_card_of_the_version_that_serves(
    promoted: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "town"
    shutil.copytree(promoted, folder)
    url, now = f"sqlite:///{tmp_path}/record.db", START + 4 * DAY
    kept(url, "1", 72, now)
    config = tiny.params()
    with at_home(folder, monkeypatch):
        found = str(quality.check(context(config, url, now, version="1")))
        assert found == "INCONCLUSIVE: the backtest has 12 days, wanted 14: set more backtest.folds"
        found = str(quality.check(context(config, url, now, version="9")))
        assert found.startswith("INCONCLUSIVE: MLflow holds no version '9' of 'town', which serves")
        found = str(quality.check(context(config, url, now, version="1", run_id="another")))
        assert "of run another in the service: errors of another model are no reference" in found
