"""CSV: strict about its shape (every row has the header's fields), careful with ids and timestamps.

Those stay text as written. Any other column becomes float64 if all of its values are numbers or true
and false, or stays text, for the check on entry to name the rows at fault.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from data.errors import DataError
from data.sources.columns import Columns

#: What stands for a missing number; in text columns only the empty field does.
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "-", "#N/A")
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
#: First bytes of what is often given in place of a CSV file, and the fix.
OTHERS = {
    b"PAR1": "a Parquet file: set ingest.source to parquet",
    b"\x1f\x8b": "compressed by gzip: let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: let its name end in .zst",
    b"PK\x03\x04": "a zip archive or a spreadsheet: let a zip's name end in .zip, save a spreadsheet as CSV",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
}
_ROW = re.compile(r"Row #(\d+)")
_COLUMN = re.compile(r"CSV column #(\d+)")


def parse(stream: IO[bytes], suffix: str, shown: str, columns: Columns) -> pa.Table:
    """Read the declared columns.

    Args:
        stream: the file, seekable.
        suffix: its ending: `.gz`, `.bz2`, `.zst` and `.zip` are unpacked.
        shown: its name in messages.
        columns: what to read.

    Raises:
        DataError: it is empty, damaged, no CSV or no UTF-8, or a column or field is missing.
    """
    try:
        # Kept until the end: an unpacking stream closes the file under it when it is let go.
        first = _unpacked(stream, suffix, shown)
        header, has_rows = _header(first, shown)
        _is_separated_by_commas(header, shown)
        columns.require(header, shown)
        if not has_rows:
            return _with_numbers(pa.table({name: pa.array([], pa.string()) for name in columns.declared}), columns)
        stream.seek(0)
        table = _body(_unpacked(stream, suffix, shown), header, shown, columns)
    except (zipfile.BadZipFile, RuntimeError) as err:
        raise DataError(
            f"{shown}: the archive is damaged or encrypted ({err}): make it anew, without a password"
        ) from err
    except OSError as err:
        # The system's own faults have a number; those of a damaged archive have none.
        if err.errno is not None:
            raise
        raise DataError(f"{shown}: the compressed file is damaged or cut off ({err}): copy or make it anew") from err
    return _with_numbers(table, columns)


def _unpacked(stream: IO[bytes], suffix: str, shown: str) -> pa.NativeFile:
    if suffix in CODECS:
        return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), CODECS[suffix])
    if suffix == ".zip":
        return pa.PythonFile(_only_member(zipfile.ZipFile(stream), shown), mode="r")
    _is_text(stream, shown)
    return pa.PythonFile(stream, mode="r")


def _only_member(archive: zipfile.ZipFile, shown: str) -> IO[bytes]:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        raise DataError(
            f"{shown}: the archive holds {len(names)} files, wanted one CSV file: unpack it and name the folder"
        )
    return archive.open(names[0])


def _is_text(stream: IO[bytes], shown: str) -> None:
    head = stream.read(4)
    stream.seek(0)
    for start, what in OTHERS.items():
        if head.startswith(start):
            raise DataError(f"{shown}: wanted CSV, got {what}")


def _header(source: pa.NativeFile, shown: str) -> tuple[list[str], bool]:
    """The column names, and whether any row follows them."""
    text = io.TextIOWrapper(source, encoding="utf-8-sig", errors="replace", newline="")
    try:
        rows = (row for row in csv.reader(text) if row)
        header = next(rows, None)
        has_rows = next(rows, None) is not None
    except csv.Error as err:
        raise DataError(f"{shown}: the first lines are no CSV ({err}), wanted column names and rows") from err
    finally:
        text.detach()
    if header is None:
        raise DataError(f"{shown}: the file is empty, wanted a header and rows")
    return header, has_rows


def _is_separated_by_commas(header: list[str], shown: str) -> None:
    for separator, name in SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise DataError(
                f"{shown}: the header {_short(header[0])!r} is separated by {name}, wanted commas: save it with commas"
            )


def _body(source: pa.NativeFile, header: list[str], shown: str, columns: Columns) -> pa.Table:
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    names = list(columns.declared)
    try:
        return pyarrow.csv.read_csv(
            source,
            # Rows are counted only where one thread reads them in order.
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as err:
        raise DataError(_ragged(ragged[0], shown) if ragged else _explain(str(err), header, shown)) from err


def _ragged(row: Any, shown: str) -> str:
    return (
        f"{shown}, row {row.number} (the header is row 1): got {row.actual_columns} fields, wanted "
        f"{row.expected_columns} as in the header: {_short(row.text)!r}"
    )


def _explain(text: str, header: list[str], shown: str) -> str:
    row, column = _ROW.search(text), _COLUMN.search(text)
    if "UTF8" not in text or row is None or column is None:
        return f"{shown}: cannot be read as CSV: {_short(text)}"
    return (
        f"{shown}, row {row[1]} (the header is row 1), column {header[int(column[1])]!r}: the text is not UTF-8 "
        "(Latin-1 or Windows-1252 perhaps): save the file as UTF-8"
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _with_numbers(table: pa.Table, columns: Columns) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name not in columns.text:
            table = table.set_column(place, name, _numbers(table.column(name)))
    return table


def _numbers(text: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(text)
    values = pc.if_else(pc.is_in(trimmed, pa.array(MISSING)), pa.scalar(None, pa.string()), trimmed)
    for steps in ((pa.float64(),), (pa.bool_(), pa.float64())):
        try:
            number = values
            for step in steps:
                number = number.cast(step)
        except pa.ArrowInvalid:
            continue
        return number
    return text
