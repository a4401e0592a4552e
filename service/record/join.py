"""Steps of forecasts beside what came true: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

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
class StoredForecasts:
    """Forecasts as the record has them, column by column, all with the same quantile levels; n forecasts, m steps in all.

    Attributes:
        series: shape (n,), texts.
        model_version: shape (n,), texts.
        created_at: shape (n,), seconds since 1970, UTC.
        origin: shape (n,), seconds since 1970.
        step_seconds: shape (n,).
        horizon: shape (n,), steps of each.
        mean: shape (m,), the steps of a forecast stand together.
        levels: shape (levels,).
        quantiles: shape (levels, m).
    """

    series: Texts
    model_version: Texts
    created_at: Floats
    origin: Integers
    step_seconds: Integers
    horizon: Integers
    mean: Floats
    levels: Floats
    quantiles: Floats

    @classmethod
    def of(cls, forecasts: Sequence[StoredForecast]) -> StoredForecasts:
        """Some forecasts, one or more, with the same levels."""
        return cls(
            series=texts([one.series for one in forecasts]),
            model_version=texts([one.model_version for one in forecasts]),
            created_at=np.array([one.created_at for one in forecasts]),
            origin=np.array([one.origin for one in forecasts], dtype=np.int64),
            step_seconds=np.array([one.step_seconds for one in forecasts], dtype=np.int64),
            horizon=np.array([one.mean.size for one in forecasts], dtype=np.int64),
            mean=np.concatenate([one.mean for one in forecasts]),
            levels=forecasts[0].levels,
            quantiles=np.concatenate([one.quantiles for one in forecasts], axis=1),
        )

    def unrolled(self) -> tuple[Integers, Integers, Integers]:
        """All steps, shape (m,) each: place of the forecast, step from 1 on, time in seconds since 1970."""
        rows = np.repeat(np.arange(self.horizon.size), self.horizon)
        steps = np.arange(rows.size) - (np.cumsum(self.horizon) - self.horizon)[rows] + 1
        return rows, steps, self.origin[rows] + self.step_seconds[rows] * steps


@dataclass(frozen=True)
class StoredActuals:
    """Actual values as the record has them, no (series, time) twice: three arrays of one length, in any order."""

    series: Texts
    times: Integers
    values: Floats


def join(forecasts: Iterable[StoredForecasts], actuals: StoredActuals, window: tuple[int, int]) -> Iterator[Pairs]:
    """Put each step of each forecast beside the actual value of its series and time.

    Args:
        forecasts: some of them.
        actuals: those of their series and times, or more.
        window: steps from the first time on, and before the second, in seconds since 1970; others are left out.

    Returns:
        One `Pairs` for each of `forecasts`, none without steps.
    """
    for group in forecasts:
        made = _aligned(group, actuals, window)
        if made.step.size:
            yield made


def texts(values: Sequence[str]) -> Texts:
    """Texts in an array that does not copy them to the length of the longest."""
    made = np.empty(len(values), dtype=np.object_)
    made[:] = values
    return made


def _aligned(forecasts: StoredForecasts, actuals: StoredActuals, window: tuple[int, int]) -> Pairs:
    rows, steps, times = forecasts.unrolled()
    mean, quantiles = forecasts.mean, forecasts.quantiles
    kept = (times >= window[0]) & (times < window[1])
    if not kept.all():
        rows, steps, times, mean, quantiles = rows[kept], steps[kept], times[kept], mean[kept], quantiles[:, kept]
    actual, has_actual = _look_up(forecasts.series, rows, times, actuals)
    return Pairs(
        series=forecasts.series[rows],
        model_version=forecasts.model_version[rows],
        created_at=forecasts.created_at[rows],
        origin=forecasts.origin.astype("datetime64[s]")[rows],
        step=steps,
        time=times.astype("datetime64[s]"),
        forecast=mean,
        levels=forecasts.levels,
        quantiles=quantiles,
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
        return np.fromiter(map(numbers.get, names.tolist(), repeat(-1)), dtype=np.int64, count=names.size)

    there = numbered(actuals.series) * span + (actuals.times - first)
    order = np.argsort(there)
    there = there[order]
    wanted = numbered(series)[rows] * span + (times - first)
    places = np.searchsorted(there, wanted).clip(max=order.size - 1)
    found = there[places] == wanted
    return np.where(found, actuals.values[order[places]], np.nan), found
