"""Steps of forecasts beside what came true: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from service.record.entries import Floats

Times = NDArray[np.datetime64]
Integers = NDArray[np.int64]
Texts = NDArray[np.object_]


@dataclass(frozen=True)
class Pairs:
    """Steps of forecasts and what came true; n steps, all of them with the same quantile levels.

    Attributes:
        series: shape (n,), texts.
        model_version: shape (n,), texts.
        created_at: shape (n,), seconds since 1970, UTC, when the forecast was answered.
        origin: shape (n,), datetime64[s], time of the last value that the forecast knew.
        step: shape (n,), 1 for the first step after the origin.
        time: shape (n,), datetime64[s], the time that is forecast.
        forecast: shape (n,), the mean.
        levels: shape (levels,).
        quantiles: shape (levels, n).
        actual: shape (n,), NaN where there is none, or where it is known to be missing.
        has_actual: shape (n,), whether the record has an actual value for this time, be it that it is missing.
    """

    series: Texts
    model_version: Texts
    created_at: Floats
    origin: Times
    step: Integers
    time: Times
    forecast: Floats
    levels: Floats
    quantiles: Floats
    actual: Floats
    has_actual: NDArray[np.bool_]


@dataclass(frozen=True)
class StoredForecast:
    """A forecast as the record has it; times in seconds since 1970, quantiles of shape (levels, horizon)."""

    series: str
    model_version: str
    created_at: float
    origin: int
    step_seconds: int
    mean: Floats
    levels: Floats
    quantiles: Floats


@dataclass(frozen=True)
class StoredActuals:
    """Actual values as the record has them, no (series, time) twice: three arrays of one length, in any order."""

    series: Texts
    times: Integers
    values: Floats


def join(forecasts: Iterable[StoredForecast], actuals: StoredActuals, window: tuple[int, int]) -> Iterator[Pairs]:
    """Put each step of each forecast beside the actual value of its series and time.

    Args:
        forecasts: some of them.
        actuals: those of their series and times, or more.
        window: steps from the first time on, and before the second, in seconds since 1970; others are left out.

    Returns:
        One `Pairs` for each set of quantile levels, none without steps.
    """

    def levels(forecast: StoredForecast) -> list[float]:
        made: list[float] = forecast.levels.tolist()
        return made

    for _, group in groupby(sorted(forecasts, key=levels), key=levels):
        made = _aligned(list(group), actuals, window)
        if made.step.size:
            yield made


def texts(values: Sequence[str]) -> Texts:
    """Texts in an array that does not copy them to the length of the longest."""
    made = np.empty(len(values), dtype=np.object_)
    made[:] = values
    return made


def unrolled(forecasts: Sequence[StoredForecast]) -> tuple[Integers, Integers, Integers]:
    """All steps of some forecasts, one after another: place of the forecast, step from 1 on, time in seconds."""
    sizes = np.array([one.mean.size for one in forecasts])
    rows = np.repeat(np.arange(sizes.size), sizes)
    steps = np.arange(rows.size) - (np.cumsum(sizes) - sizes)[rows] + 1
    origins = np.array([one.origin for one in forecasts], dtype=np.int64)
    return rows, steps, origins[rows] + np.array([one.step_seconds for one in forecasts], dtype=np.int64)[rows] * steps


def _aligned(forecasts: Sequence[StoredForecast], actuals: StoredActuals, window: tuple[int, int]) -> Pairs:
    rows, steps, times = unrolled(forecasts)
    kept = (times >= window[0]) & (times < window[1])
    rows, steps, times = rows[kept], steps[kept], times[kept]
    series = texts([one.series for one in forecasts])
    actual, has_actual = _look_up(series, rows, times, actuals)
    return Pairs(
        series=series[rows],
        model_version=texts([one.model_version for one in forecasts])[rows],
        created_at=np.array([one.created_at for one in forecasts])[rows],
        origin=np.array([one.origin for one in forecasts], dtype="datetime64[s]")[rows],
        step=steps,
        time=times.astype("datetime64[s]"),
        forecast=np.concatenate([one.mean for one in forecasts])[kept],
        levels=forecasts[0].levels,
        quantiles=np.concatenate([one.quantiles for one in forecasts], axis=1)[:, kept],
        actual=actual,
        has_actual=has_actual,
    )


def _look_up(
    series: Texts, rows: Integers, times: Integers, actuals: StoredActuals
) -> tuple[Floats, NDArray[np.bool_]]:
    """The actual value of each (series[row], time), and whether there is one."""
    if not (times.size and actuals.times.size):
        return np.full(times.size, np.nan), np.zeros(times.size, dtype=np.bool_)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(actuals.series.tolist()))}
    first = min(times.min(), actuals.times.min())
    span = max(times.max(), actuals.times.max()) - first + 1

    def numbered(names: Texts) -> Integers:
        """-1 for a series without actual values, whose keys are then negative."""
        return np.array([numbers.get(name, -1) for name in names.tolist()], dtype=np.int64)

    there = numbered(actuals.series) * span + (actuals.times - first)
    order = np.argsort(there)
    wanted = numbered(series)[rows] * span + (times - first)
    places = order[np.searchsorted(there, wanted, sorter=order).clip(max=order.size - 1)]
    found = there[places] == wanted
    return np.where(found, actuals.values[places], np.nan), found
