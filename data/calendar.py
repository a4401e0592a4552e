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

HOUR, DAY, WEEK = 3_600, 86_400, 604_800
#: 1970-01-01 was a Thursday; Monday is day 0.
_EPOCH_WEEKDAY = 3
_SECONDS = np.dtype("datetime64[s]")


def compute(name: CalendarName, times: Times) -> Integers:
    """One calendar feature.

    Args:
        name: which one; `day_of_week` is 0 on Monday, `hour_of_week` is 0 on Monday at midnight,
            `week_of_year` counts seven-day weeks from 1 January, `month` and days count from 1.
        times: any shape, datetime64[s].

    Returns:
        Integers of the same shape.
    """
    return _FEATURES[name](times.astype(_SECONDS, copy=False))


def _since_monday(times: Times) -> Integers:
    """Seconds since some Monday at midnight; below zero before 1970, where // and % round down too."""
    return times.view(np.int64) + _EPOCH_WEEKDAY * DAY


def _days_since(times: Times, unit: str) -> Integers:
    """Whole days since the last turn of a month or year."""
    turn = times.astype(f"datetime64[{unit}]").astype(_SECONDS)
    return (times.view(np.int64) - turn.view(np.int64)) // DAY


_FEATURES: dict[CalendarName, Callable[[Times], Integers]] = {
    "hour": lambda times: times.view(np.int64) // HOUR % 24,
    "minute_of_day": lambda times: times.view(np.int64) // 60 % 1_440,
    "day_of_week": lambda times: _since_monday(times) // DAY % 7,
    "hour_of_week": lambda times: _since_monday(times) // HOUR % 168,
    "day_of_month": lambda times: _days_since(times, "M") + 1,
    "day_of_year": lambda times: _days_since(times, "Y") + 1,
    "week_of_year": lambda times: _days_since(times, "Y") // 7 + 1,
    "month": lambda times: times.astype("datetime64[M]").astype(np.int64) % 12 + 1,
    "is_weekend": lambda times: (_since_monday(times) % WEEK >= 5 * DAY).astype(np.int64),
}
