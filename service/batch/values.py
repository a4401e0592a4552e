"""Columns of a file as numbers: times in seconds, values as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from service.batch.arrow import arrow, line

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def seconds(column: Any, name: str, shown: str) -> Integers:
    """Shape (rows,): times in seconds since 1970, as a clock on the wall shows them.

    Args:
        column: of a Parquet file.
        name: its name.
        shown: the file's, in messages.

    Raises:
        DataError: one is missing, no time, or has a fraction of a second.
    """
    pa = arrow()
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = _without_zone(column)
        elif pa.types.is_timestamp(column.type) and column.type.tz:
            column = pa.compute.local_timestamp(column)
        elif not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
            raise DataError(f"{shown}: column {name!r} is {column.type}, wanted times", param=name)
        column = column.cast(pa.timestamp("s"))
    except pa.ArrowInvalid as err:
        raise DataError(
            f"{shown}: column {name!r}: {line(err)}, wanted whole seconds, ISO 8601 such as "
            "2024-05-01T13:00 where it is text",
            param=name,
        ) from err
    if column.null_count:
        raise DataError(
            f"{shown}: column {name!r} is empty in {column.null_count} rows or more, wanted a time in every row",
            param=name,
        )
    return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False))


def _without_zone(column: Any) -> Any:
    """Text of times without the offset that all of them share."""
    pc = arrow().compute
    # Where nothing matches, the part is empty text.
    zones = pc.extract_regex(column.drop_null(), r"[T ]\d\d.*?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)$").field(0)
    found = pc.unique(zones).to_pylist()
    if len(found) > 1:
        raise arrow().ArrowInvalid(f"the time zone jumps: {', '.join(one or 'none' for one in found[:5])}")
    if found in ([], [""]):
        return column
    return pc.replace_substring_regex(column, r"(Z|[+-]\d\d(?::?\d\d)?)$", "")


def floats(column: Any, name: str, shown: str) -> Floats:
    """Shape (rows,): numbers, NaN where there is none.

    Args:
        column: of a Parquet file.
        name: its name.
        shown: the file's, in messages.

    Raises:
        DataError: the column holds something else.
    """
    pa = arrow()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    if not any(is_kind(column.type) for is_kind in kinds):
        raise DataError(f"{shown}: column {name!r} is {column.type}, wanted numbers", param=name)
    # An integer beyond 2**53 is the nearest number there is.
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
