"""Parquet: only the declared columns are read."""

from __future__ import annotations

from typing import IO

import pyarrow as pa
import pyarrow.parquet

from data.errors import DataError
from data.sources.columns import Columns


def parse(stream: IO[bytes], shown: str, columns: Columns) -> pa.Table:
    """Read the declared columns.

    Args:
        stream: the file, seekable.
        shown: its name in messages.
        columns: what to read.

    Raises:
        DataError: it is no Parquet file, is damaged, or lacks a column.
    """
    try:
        file = pyarrow.parquet.ParquetFile(stream)
        columns.require(file.schema_arrow.names, shown)
        table = file.read(columns=list(columns.declared))
    except (pa.ArrowException, OSError) as err:
        if isinstance(err, OSError) and err.errno is not None:
            raise
        raise DataError(
            f"{shown}: not a Parquet file, or damaged or cut off ({str(err).splitlines()[0]}): copy or make it anew, "
            "or set ingest.source to csv if it is text"
        ) from err
    # pandas' own metadata would turn a declared column into the index.
    return _plain(table.select(list(columns.declared)).replace_schema_metadata(None))


def _plain(table: pa.Table) -> pa.Table:
    """Spell categories out; make flags and decimals float64."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
        elif pa.types.is_boolean(field.type) or pa.types.is_decimal(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.float64()))
    return table
