"""Durations and frequencies by name (`15min`, `1h`, `7d`), without pandas.

Calendar months and years have no fixed length and are refused: a window or a step of the series is
always a whole number of seconds.
"""

from __future__ import annotations

import re
from functools import lru_cache

SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SHAPE = re.compile(r"(\d+)(s|min|h|d|w)", re.IGNORECASE)
#: The same unit as KServe's time series clients write it.
_SPELLINGS = {"second": "s", "minute": "min", "t": "min", "hour": "h", "day": "d", "week": "w"}


@lru_cache(maxsize=1_024)
def seconds(duration: str) -> int:
    """Length of a duration in seconds.

    Args:
        duration: a number and a unit (`s`, `min`, `h`, `d`, `w`); the number may be left out (`h`).

    Raises:
        ValueError: it is not a duration, or not a positive one.
    """
    text = str(duration).strip().lower()
    text = _SPELLINGS.get(text, text)
    match = _SHAPE.fullmatch(text if text[:1].isdigit() else f"1{text}")
    if match is None or int(match[1]) == 0:
        raise ValueError(
            f"got {duration!r}, wanted a positive number and one of s, min, h, d, w, such as '15min' or '7d'"
        )
    return int(match[1]) * SECONDS[match[2]]


def steps(duration: str, frequency: str) -> int:
    """Length of a duration in steps of a series.

    Raises:
        ValueError: the duration is not a whole number of steps.
    """
    length, step = seconds(duration), seconds(frequency)
    if length % step:
        raise ValueError(
            f"got {duration!r}, wanted a multiple of the series' frequency {frequency!r}, such as "
            f"'{name(step * max(1, round(length / step)))}'"
        )
    return length // step


def name(length_seconds: int) -> str:
    """The shortest name of a duration: the largest unit that divides it, with days rather than weeks."""
    for unit in ("d", "h", "min"):
        if length_seconds % SECONDS[unit] == 0:
            return f"{length_seconds // SECONDS[unit]}{unit}"
    return f"{length_seconds}s"
