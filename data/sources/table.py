"""A user's own table: CSV or Parquet, from this machine or from any address that fsspec knows."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import pyarrow as pa

from data.errors import DataError
from data.sources import delimited, files, parquet
from data.sources.columns import Columns
from data.sources.files import File


def read(path: str, kind: Literal["csv", "parquet"], columns: Columns) -> pd.DataFrame:
    """Read the declared columns of a file, or of all files of a folder or pattern, in the order of their names.

    Args:
        path: a file, a folder, a pattern such as `rides/*.csv`, or an address such as `s3://bucket/rides`.
        kind: `csv` (which may be compressed: .gz, .bz2, .zst, .zip) or `parquet`.
        columns: what to read; other columns of the files are left alone and may differ.

    Returns:
        One row a row of the files, unsorted and unchecked, columns in the declared order.

    Raises:
        SourceError: the path cannot be found or reached.
        DataError: a file is damaged or empty, lacks a column, or has another type in it than the
            first file; there is no row at all.
    """
    tables = {file.shown: _parse(file, kind, columns) for file in files.find(path, kind)}
    _agree(tables)
    whole = pa.concat_tables(tables.values(), promote_options="permissive")
    if whole.num_rows == 0:
        raise DataError(f"{next(iter(tables))}: there are column names but no rows, wanted at least one row")
    frame: pd.DataFrame = whole.to_pandas(date_as_object=False)
    return frame


def _parse(file: File, kind: Literal["csv", "parquet"], columns: Columns) -> pa.Table:
    with file.open(whole=kind == "csv") as stream, files.reaching(file.shown):
        if kind == "csv":
            return delimited.parse(stream, file.suffix, file.shown, columns)
        return parquet.parse(stream, file.shown, columns)


def _agree(tables: dict[str, pa.Table]) -> None:
    """Check that no file holds text where the first one holds numbers, or the like."""
    first, expected = next(iter(tables.items()))
    for shown, table in tables.items():
        for got, wanted in zip(table.schema, expected.schema, strict=True):
            try:
                pa.unify_schemas([pa.schema([wanted]), pa.schema([got])], promote_options="permissive")
            except (pa.ArrowTypeError, pa.ArrowInvalid) as err:
                raise DataError(
                    f"{shown}: column {got.name!r} is {got.type}, wanted {wanted.type} as in {first}: "
                    "write the column the same way in all files"
                ) from err
