"""Forecasts beside what came true, read from the record in chunks, for whoever judges the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Select, select, tuple_

from service.record.join import Integers, Pairs, StoredActuals, StoredForecast, join, texts, unrolled
from service.record.reading import reading
from service.record.tables import ACTUALS, FORECASTS

#: What one chunk holds: forecasts, and numbers in them; the forecast that goes over is the last one. The actual values
#: of a chunk's times are read with it, so small chunks would read those of a day ahead 24 times over.
CHUNK_FORECASTS = 16_384
CHUNK_NUMBERS = 1_000_000
#: Rows that the driver fetches at once.
_FETCH_FORECASTS, _FETCH_ACTUALS = 256, 10_000

_COLUMNS = [
    FORECASTS.c[name]
    for name in (
        *("series", "model_version", "created_at", "origin", "step_seconds", "mean", "levels", "quantiles"),
        *("last_time", "id"),
    )
]

#: Time of the last step and id of a forecast: the place in the order in which they are read.
Place = tuple[int, int]


def pairs(
    url: str,
    since: np.datetime64,
    until: np.datetime64,
    model_version: str | None = None,
    model_name: str | None = None,
) -> Iterator[Pairs]:
    """The steps whose time is in [since, until), of every forecast in the record, with and without an actual value.

    Memory is that of one chunk. Each chunk is read in a transaction of its own, which ends before it is given.
    A client that asks twice has two forecasts in the record, and both are given.

    Args:
        url: as in `RecordSettings`.
        since: first time that is forecast.
        until: the time after the last one.
        model_version: forecasts of this version alone, or None for all.
        model_name: forecasts of this model alone; two models may have a version of the same number.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    window = (_seconds(since), _seconds(until))
    chosen = {"model_version": model_version, "model_name": model_name}
    with reading(url) as begin:
        after: Place | None = (window[0], -1)
        while after is not None:
            with begin() as connection:
                forecasts, after = _forecasts(connection, _chunk(after, window, chosen))
                known = actuals(connection, forecasts, window)
            yield from join(forecasts, known, window)


def _seconds(time: np.datetime64) -> int:
    return int(time.astype("datetime64[s]").astype(np.int64))


def _chunk(after: Place, window: tuple[int, int], chosen: Mapping[str, str | None]) -> Select[Any]:
    table = FORECASTS.c
    chunk = (
        select(*_COLUMNS)
        .where(tuple_(table.last_time, table.id) > tuple_(*after), table.origin < window[1])
        .order_by(table.last_time, table.id)
        .limit(CHUNK_FORECASTS)
    )
    return chunk.where(*(table[name] == value for name, value in chosen.items() if value is not None))


def _forecasts(connection: Connection, chunk: Select[Any]) -> tuple[list[StoredForecast], Place | None]:
    """A chunk, and the place after which the next one begins, or None if this is the last."""
    forecasts: list[StoredForecast] = []
    numbers, place = 0, None
    with connection.execution_options(yield_per=_FETCH_FORECASTS).execute(chunk) as found:
        for *columns, last_time, key in found:
            forecasts.append(_decode(*columns))
            numbers += forecasts[-1].mean.size + forecasts[-1].quantiles.size
            place = (last_time, key)
            if numbers >= CHUNK_NUMBERS or len(forecasts) == CHUNK_FORECASTS:
                return forecasts, place
    return forecasts, None


def decode(row: Row[Any]) -> StoredForecast:
    """A row of `FORECASTS`."""
    return _decode(
        row.series,
        row.model_version,
        row.created_at,
        row.origin,
        row.step_seconds,
        row.mean,
        row.levels,
        row.quantiles,
    )


def _decode(
    series: str, version: str, created_at: float, origin: int, step_seconds: int, *blobs: bytes
) -> StoredForecast:
    mean, levels, quantiles = (np.frombuffer(blob, dtype="<f8") for blob in blobs)
    table = quantiles.reshape(levels.size, mean.size)
    return StoredForecast(series, version, created_at, origin, step_seconds, mean, levels, table)


def actuals(connection: Connection, forecasts: Sequence[StoredForecast], window: tuple[int, int]) -> StoredActuals:
    """The actual values at the times of some forecasts."""
    parts: list[StoredActuals] = []
    if forecasts:
        times = np.unique(unrolled(forecasts)[2])
        times = times[(times >= window[0]) & (times < window[1])]
        parts = list(_read(connection, sorted({one.series for one in forecasts}), times)) if times.size else []
    return StoredActuals(
        series=np.concatenate([texts([]), *(part.series for part in parts)]),
        times=np.concatenate([np.empty(0, np.int64), *(part.times for part in parts)]),
        values=np.concatenate([np.empty(0), *(part.values for part in parts)]),
    )


def _read(connection: Connection, series: list[str], times: Integers) -> Iterator[StoredActuals]:
    """Actual values of some series at some times, a part at a time: there may be far more between those times."""
    table = ACTUALS.c
    wanted = select(table.series, table.time, table.value).where(
        table.series.in_(series), table.time.between(int(times[0]), int(times[-1]))
    )
    with connection.execution_options(yield_per=_FETCH_ACTUALS).execute(wanted) as found:
        for rows in found.partitions():
            names, when, numbers = zip(*rows, strict=True)
            at = np.array(when, dtype=np.int64)
            kept = np.isin(at, times)
            values = np.array(numbers, dtype=np.float64)  # None becomes NaN
            yield StoredActuals(texts(names)[kept], at[kept], values[kept])
