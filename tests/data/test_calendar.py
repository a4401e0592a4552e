"""Calendar features agree with pandas at every time, before 1970 too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import calendar
from data.params import CalendarName
from tests.data.drawn import CALENDAR

TIMES = st.lists(st.integers(-8_000_000_000, 8_000_000_000), min_size=1, max_size=20)
PANDAS: dict[CalendarName, Callable[[pd.DatetimeIndex], pd.Index]] = {
    "hour": lambda times: times.hour,
    "minute_of_day": lambda times: 60 * times.hour + times.minute,
    "day_of_week": lambda times: times.day_of_week,
    "hour_of_week": lambda times: 24 * times.day_of_week + times.hour,
    "day_of_month": lambda times: times.day,
    "day_of_year": lambda times: times.day_of_year,
    "week_of_year": lambda times: (times.day_of_year - 1) // 7 + 1,
    "month": lambda times: times.month,
    "is_weekend": lambda times: times.day_of_week // 5,
}


def test_calendar_has_an_oracle_for_every_name() -> None:
    assert set(PANDAS) == set(CALENDAR)


@pytest.mark.parametrize("name", CALENDAR)
@given(seconds=TIMES)
def test_calendar_agrees_with_pandas(name: CalendarName, seconds: list[int]) -> None:
    times = np.array(seconds, dtype="datetime64[s]")
    got = calendar.compute(name, times)
    assert got.dtype == np.int64
    assert got.tolist() == PANDAS[name](pd.DatetimeIndex(times)).tolist()


@pytest.mark.parametrize("name", CALENDAR)
def test_calendar_agrees_with_pandas_at_every_hour_of_leap_and_common_years(name: CalendarName) -> None:
    times = np.arange(np.datetime64("1999-12-27T00", "s"), np.datetime64("2005-01-03T00", "s"), np.timedelta64(1, "h"))
    assert calendar.compute(name, times).tolist() == PANDAS[name](pd.DatetimeIndex(times)).tolist()


@pytest.mark.parametrize("name", CALENDAR)
def test_calendar_keeps_the_shape_and_any_unit(name: CalendarName) -> None:
    times = (np.arange(62_000, 62_006) * 7).reshape(2, 3).astype("datetime64[h]")
    grid = calendar.compute(name, times)
    assert grid.shape == (2, 3)
    assert grid.tolist() == calendar.compute(name, times.astype("datetime64[ns]")).tolist()


def test_calendar_counts_from_monday_and_from_one() -> None:
    monday = np.array(["2024-01-01T00:00"], dtype="datetime64[s]")
    found = {name: int(calendar.compute(name, monday)[0]) for name in CALENDAR}
    assert found == {
        "hour": 0,
        "minute_of_day": 0,
        "day_of_week": 0,
        "hour_of_week": 0,
        "day_of_month": 1,
        "day_of_year": 1,
        "week_of_year": 1,
        "month": 1,
        "is_weekend": 0,
    }
