"""CSV as a batch's table: made Parquet once, so that chunks can be read from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.errors import DataError
from data.features import Design
from service.batch.arrow import arrow, line

#: Of a CSV file, taken at a time.
CSV_BYTES = 16 * 1024 * 1024
#: What stands for a missing number in CSV.
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "-", "#N/A")


def to_parquet(path: Path, parquet: Path, design: Design) -> None:
    """Write the columns of a CSV file (which may be compressed) that a model may want as Parquet, a block at a time.

    Raises:
        DataError: it is no CSV or no UTF-8, or a column that should hold numbers holds something else.
    """
    pa = arrow()
    texts, numbers = _wanted(design)
    try:
        parsing = pa.csv.ParseOptions(newlines_in_values=True)
        with pa.csv.open_csv(path, parse_options=parsing) as head:
            found = [name for name in head.schema.names if name in (*texts, *numbers)]
        with pa.csv.open_csv(
            path,
            read_options=pa.csv.ReadOptions(block_size=CSV_BYTES),
            parse_options=parsing,
            convert_options=pa.csv.ConvertOptions(
                include_columns=found,
                column_types=dict.fromkeys(found, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        ) as reader:
            kinds = pa.schema([(name, pa.string() if name in texts else pa.float64()) for name in found])
            with pa.parquet.ParquetWriter(parquet, kinds) as writer:
                for batch in reader:
                    columns = [
                        column if name in texts else _from_text(column, name, path)
                        for name, column in zip(found, batch.columns, strict=True)
                    ]
                    writer.write_batch(pa.record_batch(columns, schema=kinds))
    except FileNotFoundError as err:
        raise DataError(f"{path} not found: check its spelling, and the folder you are in") from err
    except (pa.ArrowInvalid, OSError) as err:
        if isinstance(err, OSError) and err.errno is not None:
            raise  # a disk that is full, say: those of a damaged file have no number
        raise DataError(
            f"{path}: cannot be read as CSV: {line(err)}; is it whole, and what the end of its name says?"
        ) from err


def _wanted(design: Design) -> tuple[set[str], set[str]]:
    """Names of columns that may hold text, and of those that hold numbers."""
    series = design.declaration.series
    texts = {"series_id", "timestamp", series.timestamp, *([series.id] if series.id else [])}
    return texts, {"target", series.target, *design.future, *design.past} - texts


def _from_text(column: Any, name: str, path: Path) -> Any:
    """Numbers, or flags as 1 and 0."""
    pa = arrow()
    trimmed = pa.compute.utf8_trim_whitespace(column)
    values = pa.compute.if_else(pa.compute.is_in(trimmed, pa.array(MISSING)), pa.scalar(None, pa.string()), trimmed)
    try:
        return values.cast(pa.float64())
    except pa.ArrowInvalid as err:
        try:
            return values.cast(pa.bool_()).cast(pa.float64())
        except pa.ArrowInvalid:
            raise DataError(f"{path}: column {name!r}: {line(err)}, wanted numbers", param=name) from err
