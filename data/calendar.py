"""Calendar features of a timestamp, on NumPy's datetime64 alone (the service has no pandas).

They are known for every future time, so they may describe the forecast's target time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.params import CalendarName

Times = NDArray[np.datetime64]
Integers = NDArray[np.int64]

#: 1970-01-01 was a Thursday; Monday is day 0.
_EPOCH_WEEKDAY = 3


def compute(name: CalendarName, times: Times) -> Integers:
    """One calendar feature.

    Args:
        name: which one; `day_of_week` is 0 on Monday, `hour_of_week` is 0 on Monday at midnight,
            `week_of_year` counts seven-day weeks from 1 January, `month` and days count from 1.
        times: any shape, datetime64[s].

    Returns:
        Integers of the same shape.
    """
    return _FEATURES[name](times.astype("datetime64[s]"))


def _since(times: Times, unit: str) -> NDArray[np.timedelta64]:
    """Time since the last turn of a unit (day, month or year)."""
    return np.asarray(times - times.astype(f"datetime64[{unit}]").astype(times.dtype))


def _days_since(times: Times, unit: str) -> Integers:
    return _since(times, unit) // np.timedelta64(1, "D")


def _day_of_week(times: Times) -> Integers:
    days = times.astype("datetime64[D]").astype(np.int64)
    return (days + _EPOCH_WEEKDAY) % 7


def _hour(times: Times) -> Integers:
    return _since(times, "D") // np.timedelta64(1, "h")


_FEATURES: dict[CalendarName, Callable[[Times], Integers]] = {
    "hour": _hour,
    "minute_of_day": lambda times: _since(times, "D") // np.timedelta64(1, "m"),
    "day_of_week": _day_of_week,
    "hour_of_week": lambda times: 24 * _day_of_week(times) + _hour(times),
    "day_of_month": lambda times: _days_since(times, "M") + 1,
    "day_of_year": lambda times: _days_since(times, "Y") + 1,
    "week_of_year": lambda times: _days_since(times, "Y") // 7 + 1,
    "month": lambda times: times.astype("datetime64[M]").astype(np.int64) % 12 + 1,
    "is_weekend": lambda times: (_day_of_week(times) >= 5).astype(np.int64),
}
