"""Forecasts beside what came true, read from the record in chunks, for whoever judges the service."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Select, select, tuple_, type_coerce
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from data.shown import some
from service.record.entries import Floats
from service.record.join import Integers, Pairs, StoredActuals, StoredForecast, StoredForecasts, join, texts
from service.record.reading import reading
from service.record.tables import ACTUALS, FORECASTS

#: What one chunk holds: forecasts, and numbers in them, up to the fetch that goes over. The actual values of a chunk's
#: times are read with it, so small chunks would read those of a day ahead 24 times over.
CHUNK_FORECASTS = 16_384
CHUNK_NUMBERS = 1_000_000
#: Rows that the driver fetches at once: fewer than the 700 objects after which Python looks for cycles.
_FETCH = 500

#: Numbers are taken as the driver gives them, bytes, without a call for each.
_COLUMNS = [
    *(
        FORECASTS.c[name]
        for name in ("id", "last_time", "series", "model_version", "created_at", "origin", "step_seconds")
    ),
    *(type_coerce(FORECASTS.c[name], NullType()) for name in ("mean", "levels", "quantiles")),
]
#: Time of the last step and id of a forecast: the place in the order in which they are read.
Place = tuple[int, int]

logger = logging.getLogger("bentocast.record")


def pairs(
    url: str,
    since: np.datetime64,
    until: np.datetime64,
    model_version: str | None = None,
    model_name: str | None = None,
    series: str | None = None,
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
        series: forecasts of this series alone.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    window = (_seconds(since), _seconds(until))
    chosen = {"model_version": model_version, "model_name": model_name, "series": series}
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


def _forecasts(connection: Connection, chunk: Select[Any]) -> tuple[list[StoredForecasts], Place | None]:
    """A chunk, and the place after which the next one begins, or None if this is the last.

    Rows become columns as soon as they are fetched: thousands of them alive would have Python look for cycles among them
    again and again, which took a third of the time.
    """
    columns: list[list[Any]] = [[] for _ in _COLUMNS]
    *_, levels, _ = columns
    numbers = 0
    with contextlib.closing(_fetched(connection, chunk)) as parts:
        for part in parts:
            for column, values in zip(columns, part, strict=True):
                column.extend(values)
            *_, means, _, quantiles = part
            numbers += sum(map(len, means)) + sum(map(len, quantiles))
            if numbers >= 8 * CHUNK_NUMBERS:
                break
    place = None
    if numbers >= 8 * CHUNK_NUMBERS or len(levels) == CHUNK_FORECASTS:
        ids, times = columns[:2]
        place = times[-1], ids[-1]
    whole = (_whole(group) for group in _alike(columns, levels))
    return [_stored(group) for group in whole if group[0]], place


def _alike(columns: list[list[Any]], levels: list[bytes]) -> Iterator[list[list[Any]]]:
    """The rows, apart where their levels differ."""
    if levels and levels.count(levels[0]) == len(levels):
        yield columns
        return
    for kind in dict.fromkeys(levels):
        own = [one == kind for one in levels]
        yield [list(itertools.compress(column, own)) for column in columns]


def _whole(columns: list[list[Any]]) -> list[list[Any]]:
    """Rows with the same levels, without those whose numbers are not as many as they must be.

    They are told of and left out: what a disk did to one forecast is no reason to judge none.
    """
    ids, *_, means, levels, quantiles = columns
    steps, sizes, level = _lengths(means), _lengths(quantiles), len(levels[0])
    whole = (steps % 8 == 0) & (sizes * 8 == steps * level) & (level % 8 == 0)
    if whole.all():
        return columns
    tell_damaged([id_ for id_, kept in zip(ids, whole, strict=True) if not kept])
    return [list(itertools.compress(column, whole)) for column in columns]


def tell_damaged(ids: Sequence[int]) -> None:
    """That forecasts are left out of what is read, since their numbers are not whole."""
    logger.warning(
        "record: left out as damaged, their numbers not whole: %d in the table forecasts, id %s: restore the database, or "
        "delete them",
        len(ids),
        some(ids),
    )


def _lengths(blobs: Sequence[bytes]) -> Integers:
    return np.fromiter(map(len, blobs), dtype=np.int64, count=len(blobs))


def _stored(columns: Sequence[Sequence[Any]]) -> StoredForecasts:
    """Of rows with the same levels."""
    _, _, series, versions, created, origins, seconds, means, levels, quantiles = columns
    level, horizon = _numbers(levels[0]), _lengths(means) // 8
    if (horizon == horizon[0]).all():
        cube = _numbers(b"".join(quantiles)).reshape(len(series), level.size, horizon[0])
        table = cube.swapaxes(0, 1).reshape(level.size, horizon.sum())
    else:
        parts = [_numbers(one).reshape(level.size, steps) for one, steps in zip(quantiles, horizon, strict=True)]
        table = np.concatenate(parts, axis=1)
    return StoredForecasts(
        series=texts(series),
        model_version=texts(versions),
        created_at=np.array(created, dtype=np.float64),
        origin=np.array(origins, dtype=np.int64),
        step_seconds=np.array(seconds, dtype=np.int64),
        horizon=horizon,
        mean=_numbers(b"".join(means)),
        levels=level,
        quantiles=table,
    )


def _numbers(blob: bytes) -> Floats:
    return np.frombuffer(blob, dtype="<f8")


def decode(row: Row[Any]) -> StoredForecast | None:
    """A row of `FORECASTS`; None if its numbers are not whole, which is told."""
    try:
        mean, levels = _numbers(row.mean), _numbers(row.levels)
        table = _numbers(row.quantiles).reshape(levels.size, mean.size)
    except ValueError:
        tell_damaged([row.id])
        return None
    return StoredForecast(
        row.series, row.model_version, row.created_at, row.origin, row.step_seconds, mean, levels, table
    )


def actuals(connection: Connection, forecasts: Sequence[StoredForecasts], window: tuple[int, int]) -> StoredActuals:
    """The actual values at the times of some forecasts."""
    parts: list[StoredActuals] = []
    if forecasts:
        times = np.unique(np.concatenate([one.unrolled()[2] for one in forecasts]))
        times = times[(times >= window[0]) & (times < window[1])]
        series = sorted(set().union(*(one.series.tolist() for one in forecasts)))
        parts = list(_read(connection, series, times)) if times.size else []
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
    for names, when, numbers in _fetched(connection, wanted):
        at = np.array(when, dtype=np.int64)
        values = np.array(numbers, dtype=np.float64)  # None becomes NaN
        part = StoredActuals(texts(names), at, values)
        kept = times[times.searchsorted(at)] == at  # the last of them is no smaller than any that was asked for
        yield part if kept.all() else StoredActuals(part.series[kept], at[kept], values[kept])


def _fetched(connection: Connection, wanted: Select[Any]) -> Generator[tuple[tuple[Any, ...], ...], None, None]:
    """Columns of what is found, some rows at a time, as the driver has them: a Row for each took an eighth of the time."""
    driver = connection.dialect.loaded_dbapi
    with connection.execution_options(stream_results=True).execute(wanted) as found:
        rows: Sequence[Sequence[Any]] = found.fetchmany(1)  # SQLAlchemy has fetched it already
        while rows:
            yield tuple(zip(*rows, strict=True))
            assert found.cursor is not None, "it was not at its end"
            try:
                rows = found.cursor.fetchmany(_FETCH)
            except driver.Error as err:
                raise DBAPIError(str(wanted), None, err) from err  # as SQLAlchemy's own fetch does
