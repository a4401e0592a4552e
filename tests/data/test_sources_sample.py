"""The built-in city: rows that never change, a shape that a model can learn, errors that name the key."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from dateutil.easter import easter as dateutil_easter
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ConfigError
from data.params import Sample
from data.sources import sample

COLUMNS = ["station", "hour", "rides", "temperature", "rain", "wind", "holiday", "workingday"]
#: The first rows of the default city: a change here changes every user's numbers.
GOLDEN_RIDES, GOLDEN_TEMPERATURE = [5, 3, 2, 3], [0.5, 0.7, 0.6, -0.4]
CHANGE = pd.Timestamp("2024-06-03")


def year(stations: int = 2, **others: object) -> Sample:
    return Sample.model_validate({"stations": stations, "start": "2023-01-01", "end": "2023-12-31T23:00", **others})


@pytest.fixture(scope="module")
def city() -> pd.DataFrame:
    return sample.generate(Sample())


@pytest.fixture(scope="module")
def changed() -> pd.DataFrame:
    return sample.generate(Sample(regime_change="2024-06-03"))


def up_to(frame: pd.DataFrame, end: object) -> pd.DataFrame:
    return frame[frame["hour"] <= pd.Timestamp(str(end))].reset_index(drop=True)


# What a row is


def test_sample_has_the_promised_columns_and_types(city: pd.DataFrame) -> None:
    assert list(city.columns) == COLUMNS
    assert city["station"].dtype == "str"
    assert city["hour"].dtype == "datetime64[us]"
    assert city["rides"].dtype == np.int64
    assert (city["rides"] >= 0).all()
    assert set(city["holiday"]) == set(city["workingday"]) == {0, 1}
    assert not city.isna().any().any()


def test_sample_has_one_row_an_hour_of_a_station(city: pd.DataFrame) -> None:
    assert not city.duplicated(["station", "hour"]).any()
    assert sorted(city["station"].unique()) == [f"s{number:02d}" for number in range(1, 13)]
    assert city["hour"].min() == pd.Timestamp("2023-01-01")
    assert city["hour"].max() == pd.Timestamp("2024-12-31T23:00")


def test_sample_starts_and_ends_where_it_is_told() -> None:
    frame = sample.generate(Sample(stations=40, start="2023-03-05T07:00", end="2023-03-05T09:00"))
    assert sorted(frame["hour"].unique()) == list(pd.date_range("2023-03-05T07:00", periods=3, freq="h"))


def test_sample_of_a_seed_is_known() -> None:
    first = sample.generate(Sample(stations=1)).head(4)
    assert first["rides"].tolist() == GOLDEN_RIDES
    assert first["temperature"].tolist() == GOLDEN_TEMPERATURE


# Rows never change


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**40),
    start=st.datetimes(dt.datetime(2022, 11, 1), dt.datetime(2023, 1, 31)),  # noqa: DTZ001
    hours=st.integers(0, 3000),
    more=st.integers(1, 3000),
    change=st.none() | st.integers(-100, 6000),
)
def test_sample_with_a_later_end_keeps_all_earlier_rows(
    seed: int, start: dt.datetime, hours: int, more: int, change: int | None
) -> None:
    start = start.replace(minute=0, second=0, microsecond=0)
    ends = [start + dt.timedelta(hours=count) for count in (hours, hours + more)]
    regime = None if change is None else (start + dt.timedelta(hours=change)).isoformat()
    short, long = (
        sample.generate(
            Sample(stations=4, start=start.isoformat(), end=end.isoformat(), seed=seed, regime_change=regime)
        )
        for end in ends
    )
    pd.testing.assert_frame_equal(short, up_to(long, ends[0]), check_exact=True)


@settings(deadline=None, max_examples=10)
@given(stations=st.integers(1, 9), more=st.integers(1, 9), seed=st.integers(0, 1000))
def test_sample_with_more_stations_keeps_the_others(stations: int, more: int, seed: int) -> None:
    few, many = (
        sample.generate(Sample(stations=count, end="2023-04-30T23:00", seed=seed))
        for count in (stations, stations + more)
    )
    kept = many[many["station"].isin(few["station"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, kept, check_exact=True)


def test_sample_with_a_regime_change_keeps_all_rows_before_it(city: pd.DataFrame, changed: pd.DataFrame) -> None:
    before = CHANGE - pd.Timedelta("1h")
    pd.testing.assert_frame_equal(up_to(city, before), up_to(changed, before), check_exact=True)
    pd.testing.assert_frame_equal(city.drop(columns="rides"), changed.drop(columns="rides"), check_exact=True)


def test_sample_of_another_seed_is_another_city() -> None:
    one, other = sample.generate(year(seed=1)), sample.generate(year(seed=2))
    merged = one.merge(other, on=["station", "hour"])
    assert (merged["rides_x"] != merged["rides_y"]).mean() > 0.5


# What a model can learn


def test_sample_stations_differ_in_size_about_twentyfold(city: pd.DataFrame) -> None:
    sizes = city.groupby("station")["rides"].mean()
    assert 10 < sizes.max() / sizes.min() < 40


def test_sample_some_stations_open_late(city: pd.DataFrame) -> None:
    opened = city.groupby("station")["hour"].min()
    late = opened[opened > pd.Timestamp("2023-01-08")]
    assert list(late.index) == ["s04", "s08", "s12"]


def test_sample_misses_single_hours_and_has_outages(city: pd.DataFrame) -> None:
    for _, hours in city.groupby("station")["hour"]:
        gaps = pd.Series(np.diff(hours.to_numpy()) // np.timedelta64(1, "h")) - 1
        gaps = gaps[gaps > 0]
        assert 0.002 < (gaps == 1).sum() / len(hours) < 0.008
        assert (gaps <= 2 * 96).all()
    outages = city.groupby("station")["hour"].apply(lambda hours: (hours.diff() > pd.Timedelta("6h")).sum())
    assert 1 <= outages.mean() <= 6


def test_sample_has_rows_for_hours_without_rides(city: pd.DataFrame) -> None:
    assert 0.02 < (city["rides"] == 0).mean() < 0.4


def test_sample_grows_over_time(city: pd.DataFrame) -> None:
    old = city[~city["station"].isin(["s04", "s08", "s12"])]
    assert (
        1.03 < old[old["hour"].dt.year == 2024]["rides"].mean() / old[old["hour"].dt.year == 2023]["rides"].mean() < 1.4
    )


def test_sample_has_fewer_rides_in_rain_and_cold(city: pd.DataFrame) -> None:
    slot = [city["station"], city["hour"].dt.month, city["workingday"], city["hour"].dt.hour]
    usual = city.groupby(slot)["rides"].transform("mean")
    assert city["rides"][city["rain"] > 1].sum() / usual[city["rain"] > 1].sum() < 0.7
    cold = city["temperature"] < city.groupby(slot)["temperature"].transform("mean") - 4
    assert city["rides"][cold].sum() / usual[cold].sum() < 0.95


def test_sample_weather_is_shared_and_changes_slowly(city: pd.DataFrame) -> None:
    assert city.groupby("hour")[["temperature", "rain", "wind"]].nunique().max().max() == 1
    temperature = city[city["station"] == "s01"].set_index("hour")["temperature"].asfreq("h")
    assert temperature.corr(temperature.shift(1)) > 0.95
    months = city.groupby(city["hour"].dt.month)["temperature"].mean()
    assert months[7] - months[1] > 12
    assert city["rain"].between(0, 40).all()
    assert city["wind"].between(0, 40).all()
    assert city["temperature"].between(-25, 45).all()


def test_sample_holidays_look_like_sundays(city: pd.DataFrame) -> None:
    commuters = city[city["station"].isin(["s01", "s03", "s05"]) & (city["hour"].dt.hour == 8)]
    weekday = commuters[commuters["hour"].dt.day_of_week < 5]
    means = weekday.groupby("holiday")["rides"].mean()
    assert means[1] < 0.5 * means[0]


def test_sample_counts_are_overdispersed(city: pd.DataFrame) -> None:
    rides = city[(city["station"] == "s01") & (city["hour"].dt.hour == 12) & (city["workingday"] == 1)]["rides"]
    assert rides.var() > 2 * rides.mean()


def test_sample_seasonal_naive_can_be_beaten_by_far(city: pd.DataFrame) -> None:
    """Averaging over weeks and heeding the holidays is enough; a model that knows the weather does better."""
    ratios = []
    for _, rows in city.groupby("station"):
        series = rows.set_index("hour").asfreq("h")
        weeks = pd.concat([series["rides"].shift(168 * week) for week in range(1, 5)], axis=1).mean(axis=1)
        usual = (series["workingday"] == series["workingday"].shift(168)) & weeks.notna()
        naive = (series["rides"] - series["rides"].shift(168)).abs()
        ratios.append((series["rides"] - weeks).abs()[usual].mean() / naive.mean())
    assert np.mean(ratios) < 0.92


# The change of regime


def at(frame: pd.DataFrame, stations: list[str], *, hour: int, working: bool) -> float:
    after = frame[(frame["hour"] >= CHANGE) & (frame["hour"].dt.hour == hour)]
    return float(after[after["station"].isin(stations) & (after["workingday"] == int(working))]["rides"].mean())


def test_sample_regime_change_halves_and_delays_the_morning_peak(city: pd.DataFrame, changed: pd.DataFrame) -> None:
    homes = ["s03", "s10"]
    assert at(changed, homes, hour=8, working=True) < 0.5 * at(city, homes, hour=8, working=True)
    assert at(changed, homes, hour=10, working=True) > at(changed, homes, hour=8, working=True)


def test_sample_regime_change_brings_weekend_leisure_and_fewer_rides(city: pd.DataFrame, changed: pd.DataFrame) -> None:
    parks = ["s02", "s09"]
    assert at(changed, parks, hour=15, working=False) > 1.1 * at(city, parks, hour=15, working=False)
    after = city["hour"] >= CHANGE
    assert 0.6 < changed["rides"][after].sum() / city["rides"][after].sum() < 0.85


def test_sample_regime_change_makes_an_old_profile_clearly_worse(city: pd.DataFrame, changed: pd.DataFrame) -> None:
    """What was learnt before the change, scaled to the level after it, errs more than it did without the change."""

    def error(frame: pd.DataFrame) -> float:
        clocked = frame.assign(clock=frame["hour"].dt.hour)
        spring = clocked[(frame["hour"] >= "2024-04-01") & (frame["hour"] < CHANGE)]
        june = clocked[(frame["hour"] >= CHANGE) & (frame["hour"] < "2024-07-01")]
        slot = ["station", "workingday", "clock"]
        learnt = spring.groupby(slot)["rides"].mean().rename("forecast")
        forecast = june.join(learnt, on=slot)["forecast"]
        level = june["rides"].mean()
        return float((june["rides"] - forecast * level / forecast.mean()).abs().mean() / level)

    assert error(changed) > 1.3 * error(city)


# The calendar


@given(st.integers(1583, 4099))
def test_easter_is_what_dateutil_says(number: int) -> None:
    assert sample.easter(number) == dateutil_easter(number)


def test_holidays_fixed_movable_and_by_weekday() -> None:
    assert sorted(day.isoformat() for day in sample.holidays(2024)) == [
        "2024-01-01", "2024-03-29", "2024-04-01", "2024-05-01", "2024-05-09", "2024-05-20", "2024-09-16",
        "2024-12-25", "2024-12-26",
    ]  # fmt: skip


def test_sample_marks_holidays_and_working_days() -> None:
    frame = sample.generate(Sample(stations=1, start="2023-04-01", end="2023-04-30T23:00"))
    marks = frame.groupby(frame["hour"].dt.strftime("%m-%d"))[["holiday", "workingday"]].first()
    assert sorted(marks.index[marks["holiday"] == 1]) == ["04-07", "04-10"]
    assert marks.loc["04-10", "workingday"] == 0
    assert marks.loc["04-11", "workingday"] == 1
    assert marks.loc["04-08", "workingday"] == 0


# A user's mistakes


@pytest.mark.parametrize("key", ["start", "end", "regime_change"])
@pytest.mark.parametrize("got", ["soon", "2024-13-01", "2024-06-01T12:30", "2024-06-01T12:00+02:00", ""])
def test_sample_refuses_what_is_no_hour(key: str, got: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sample.generate(Sample(**{key: got}))
    assert caught.value.message == (
        f"ingest.sample.{key}: got {got!r}, wanted a date or a whole hour without a time zone, such as '2024-12-31' or "
        "'2024-12-31T23:00'"
    )
    assert caught.value.param == f"ingest.sample.{key}"


def test_sample_refuses_an_end_before_the_start() -> None:
    with pytest.raises(ConfigError) as caught:
        sample.generate(Sample(start="2024-02-01", end="2024-01-31T23:00"))
    assert caught.value.message == (
        "ingest.sample.end: got '2024-01-31T23:00', wanted an hour at or after ingest.sample.start '2024-02-01'"
    )
    assert caught.value.param == "ingest.sample.end"
