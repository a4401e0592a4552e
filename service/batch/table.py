"""The table that a batch is asked for: a Parquet file, read a chunk of series at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import cluster
from data.cluster import Each
from data.errors import DataError
from data.features import Design
from service.batch import values
from service.batch.arrow import arrow, line

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Rows that are decoded at a time.
BATCH_ROWS = 131_072
#: Name of the only series of a table without a column of names.
ALONE = "series"


@dataclass(frozen=True)
class Table:
    """A Parquet file whose columns are there.

    Attributes:
        path: absolute.
        shown: its name in messages: a CSV file's own, where this is made from one.
        size_bytes: of the file, to know it again on another machine.
        id: column that names the series, or None if the file is one series.
        timestamp: column.
        numbers: the file's column for `target` and for each covariate that the model looks at.
    """

    path: str
    shown: str
    size_bytes: int
    id: str | None
    timestamp: str
    numbers: dict[str, str]


@dataclass(frozen=True)
class Index:
    """Which series a table has, and where.

    Attributes:
        names: in the order in which they first appear.
        rows: shape (series,), how many each has.
        groups: shape (row groups, 2), the first and the last series (by place in `names`) in each row group.
    """

    names: tuple[str, ...]
    rows: Integers
    groups: Integers


@dataclass(frozen=True)
class Chunk:
    """Some series that are forecast together.

    Attributes:
        number: counted from 0.
        names: of the series.
        groups: row groups that hold some of them.
    """

    number: int
    names: tuple[str, ...]
    groups: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a chunk, sorted by series and time.

    Attributes:
        series: shape (rows,), place in the chunk's names.
        seconds: shape (rows,), since 1970.
        columns: `target` and covariates, each of shape (rows,), NaN where there is no value.
    """

    series: Integers
    seconds: Integers
    columns: dict[str, Floats]


def find(path: Path, design: Design, shown: Path | None = None) -> Table:
    """Look at a file's columns.

    Args:
        path: of a Parquet file.
        design: what the model looks at.
        shown: its name in messages.

    A column goes by its name in the series frame (`series_id`, `timestamp`, `target`) or by the one that the model's
    own table had.

    Raises:
        DataError: it is no Parquet file, or a column is missing.
    """
    with _opened(path) as file:
        kinds = file.schema_arrow
        found: list[str] = kinds.names
    declared = design.declaration.series
    covariates = dict.fromkeys((*design.future, *design.past))
    own = {"timestamp": declared.timestamp, "target": declared.target} | {name: name for name in covariates}
    if declared.id or "series_id" in found:
        own["series_id"] = declared.id or "series_id"
    columns = {name: name if name in found else other for name, other in own.items()}
    missing = [name for name, column in columns.items() if column not in found]
    if missing:
        named = ", ".join(f"{name!r} (or {own[name]!r})" if own[name] != name else repr(name) for name in missing)
        raise DataError(
            f"{shown or path}: found no column {named}, which the model wants; got {', '.join(map(repr, found[:20])) or 'none'}: "
            "rename or add it",
            param=missing[0],
        )
    twice = [column for column in columns.values() if found.count(column) > 1]
    if twice:
        raise DataError(f"{shown or path}: column {twice[0]!r} occurs more than once, wanted it once", param=twice[0])
    name = columns.get("series_id")
    if name and arrow().types.is_nested(kinds.field(name).type):
        raise DataError(f"{shown or path}: column {name!r} is {kinds.field(name).type}, wanted text", param=name)
    return Table(
        path=str(path.resolve()),
        shown=str(shown or path),
        size_bytes=path.stat().st_size,
        id=columns.get("series_id"),
        timestamp=columns["timestamp"],
        numbers={name: columns[name] for name in ("target", *covariates)},
    )


def index(table: Table, each: Each = cluster.here) -> Index:
    """Read which series there are.

    Args:
        table: the file.
        each: where row groups are looked at.

    Raises:
        DataError: there is no row, or one without the name of its series.
    """
    with _opened(Path(table.path), table) as file:
        numbers = range(file.num_row_groups)
    places: dict[str, int] = {}
    found, groups = [], []
    for names, rows in each(_counts, table, numbers):
        at = np.array([places.setdefault(name, len(places)) for name in names], dtype=np.int64)
        groups.append((at.min(), at.max()) if at.size else (0, -1))
        found.append((at, rows))
    if not places:
        raise DataError(f"{table.shown}: there are column names but no rows, wanted at least one series")
    total = np.zeros(len(places), dtype=np.int64)
    for at, rows in found:
        total[at] += rows
    return Index(tuple(places), total, np.array(groups, dtype=np.int64).reshape(-1, 2))


def chunks(found: Index, most_series: int, most_rows: int) -> list[Chunk]:
    """Cut the series into chunks, in order; a series with more rows than a chunk may have is one of its own."""
    ends, begin, filled = [], 0, 0
    for place, size in enumerate(found.rows.tolist()):
        if place > begin and (place - begin == most_series or filled + size > most_rows):
            ends.append(place)
            begin, filled = place, 0
        filled += size
    begins, ends = [0, *ends], [*ends, len(found.names)]
    first, last = found.groups.T
    return [
        Chunk(number, found.names[begin:end], tuple(np.flatnonzero((first < end) & (last >= begin)).tolist()))
        for number, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]


def read(table: Table, chunk: Chunk) -> Rows:
    """Read the rows of a chunk.

    Raises:
        DataError: the file is not the one that was looked at, or a column does not hold what it should.
    """
    pa = arrow()
    names, parts = pa.array(chunk.names, pa.string()), []
    columns = [*([table.id] if table.id else []), table.timestamp, *table.numbers.values()]
    with _opened(Path(table.path), table) as file:
        for batch in file.iter_batches(BATCH_ROWS, row_groups=list(chunk.groups), columns=columns, use_threads=False):
            series = _series(batch, table, names)
            inside = series >= 0
            if inside.any():
                own = batch if inside.all() else batch.filter(pa.array(inside))
                numbers = [values.floats(own.column(column), column, table.shown) for column in table.numbers.values()]
                parts.append(
                    (
                        series[inside],
                        values.seconds(own.column(table.timestamp), table.timestamp, table.shown),
                        *numbers,
                    )
                )
    series, seconds, *numbers = map(np.concatenate, zip(*parts, strict=True))
    step = np.diff(series)
    if (step < 0).any() or (np.diff(seconds)[step == 0] < 0).any():
        order = np.lexsort((seconds, series))
        series, seconds, numbers = series[order], seconds[order], [column[order] for column in numbers]
    return Rows(series, seconds, dict(zip(table.numbers, numbers, strict=True)))


@contextlib.contextmanager
def _opened(path: Path, known: Table | None = None) -> Iterator[Any]:
    """The file, for as long as the block reads from it.

    Args:
        path: of the file.
        known: what was seen of it before, on this machine or another.

    Raises:
        DataError: it is no Parquet file, has changed, or a page of it is damaged.
    """
    pa = arrow()
    try:
        if known and path.stat().st_size != known.size_bytes:
            raise DataError(f"{path} has changed since it was first looked at: run the command again")
        with pa.parquet.ParquetFile(path, read_dictionary=[known.id] if known and known.id else None) as file:
            yield file
    except FileNotFoundError as err:
        where = "; every worker of a cluster has to see it under this path" if known else ""
        raise DataError(f"{path} not found{where}: check its spelling, and the folder you are in") from err
    except (pa.ArrowException, OSError) as err:
        if isinstance(err, OSError) and err.errno is not None and not path.is_dir():
            raise
        what = "a folder" if path.is_dir() else f"no Parquet file, or damaged or cut off ({line(err)})"
        raise DataError(f"{path} is {what}, wanted a Parquet file, or CSV whose name ends in .csv or .csv.gz") from err


def _counts(table: Table, group: int) -> tuple[list[str], Integers]:
    """The series of a row group in the order in which they first appear, and how many rows each has."""
    counts: dict[str, int] = {}
    with _opened(Path(table.path), table) as file:
        if table.id is None:
            rows = file.metadata.row_group(group).num_rows
            return [ALONE] * bool(rows), np.array([rows] * bool(rows), dtype=np.int64)
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[table.id], use_threads=False):
            column = _names(batch.column(0), table)
            codes = column.indices.to_numpy()
            found, order = np.bincount(codes), _first_seen(codes)
            names = column.dictionary.take(arrow().array(order)).to_pylist()
            for name, rows in zip(names, found[order].tolist(), strict=True):
                counts[name] = counts.get(name, 0) + rows
    return list(counts), np.array(list(counts.values()), dtype=np.int64)


def _first_seen(codes: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """The values, each once, in the order in which they come; quick where equal ones stand together."""
    begins = codes[np.flatnonzero(np.diff(codes, prepend=-1))]
    values, first = np.unique(begins, return_index=True)
    return np.asarray(values[np.argsort(first)])


def _names(column: Any, table: Table) -> Any:
    """The column of names as a dictionary array of text.

    Raises:
        DataError: a row has none.
    """
    pa = arrow()
    if column.null_count:
        raise DataError(
            f"{table.shown}: column {table.id!r} has no value in {column.null_count} rows or more, wanted the name of a "
            "series in every row",
            param=table.id,
        )
    if not pa.types.is_dictionary(column.type):
        return column.cast(pa.string()).dictionary_encode()
    if column.dictionary.type == pa.string():
        return column
    return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.string()))


def _series(batch: Any, table: Table, names: Any) -> Integers:
    """Shape (rows,): the place of each row's series among some names; -1 if it is none of them."""
    if table.id is None:
        return np.zeros(batch.num_rows, dtype=np.int64)
    column = _names(batch.column(table.id), table)
    places = arrow().compute.index_in(column.dictionary, value_set=names).fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(places.astype(np.int64)[column.indices.to_numpy()])
