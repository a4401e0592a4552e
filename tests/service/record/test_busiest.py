"""Which series a person is shown, and of which time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from service.record import ForecastEntry, Recorder, RecordSettings
from service.record.busiest import Busiest, busiest

HOUR, DAY = 3_600, 86_400
NOW = 1_750_000_000 // DAY * DAY


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'record.db'}"


def keep(url: str, forecasts: dict[str, list[int]], actuals: dict[str, list[int]]) -> None:
    """By series: origins of forecasts of a day, and times of actual values."""
    recorder = Recorder.open(RecordSettings(url=url))
    try:
        for name, origins in forecasts.items():
            for at in origins:
                origin, mean = np.datetime64(at, "s"), np.ones(24)
                recorder.put_many((ForecastEntry("r", name, "m", "1", "b:1", float(at), origin, HOUR, mean, {}),))
        names = [name for name, times in actuals.items() for _ in times]
        times = np.array([at for times in actuals.values() for at in times], dtype="datetime64[s]")
        asyncio.run(recorder.put_actuals(names, times, np.ones(times.size)))
    finally:
        recorder.close(10)


def test_it_is_the_one_with_most_forecasts_that_came_true(url: str) -> None:
    keep(
        url,
        {"few": [NOW - DAY], "more": [NOW - DAY, NOW - DAY + HOUR], "most": [NOW - DAY + HOUR * at for at in range(5)]},
        {"few": [NOW - HOUR], "more": [NOW - HOUR], "asked for by nobody": [NOW]},
    )
    assert busiest(url, NOW, DAY) == Busiest("more", NOW - DAY, NOW)


def test_actual_values_that_are_late_end_the_time_and_later_ones_than_now_do_not(url: str) -> None:
    days = [NOW - DAY * at for at in range(1, 40)]
    keep(url, {"a": days}, {"a": [NOW - 30 * DAY, NOW + DAY]})
    assert busiest(url, NOW, DAY) == Busiest("a", NOW - 31 * DAY, NOW - 30 * DAY)


def test_a_service_that_nobody_asks_any_more_shows_its_last_forecasts(url: str) -> None:
    keep(url, {"a": [NOW - 31 * DAY]}, {"a": [NOW - DAY * at for at in range(40)]})
    assert busiest(url, NOW, DAY) == Busiest("a", NOW - 31 * DAY, NOW - 30 * DAY)


@pytest.mark.parametrize(
    ("forecasts", "actuals"),
    [({}, {"a": [NOW]}), ({"a": [NOW - DAY]}, {}), ({"a": [NOW - DAY]}, {"b": [NOW]})],
    ids=["no forecast", "no actual value", "of others"],
)
def test_where_nothing_came_true_there_is_none(
    url: str, forecasts: dict[str, list[int]], actuals: dict[str, list[int]]
) -> None:
    keep(url, forecasts, actuals)
    assert busiest(url, NOW, DAY) is None
