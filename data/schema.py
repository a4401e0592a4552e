"""The declared schema of a user's table, and the check every table passes on entry.

pandera finds what is wrong; this module says it in the user's own words (their column, their row).
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from data import durations
from data.errors import DataError
from data.params import ColumnLimits, Series

#: How many examples of a fault a message shows.
EXAMPLES = 3


def check(raw: pd.DataFrame, series: Series) -> pd.DataFrame:
    """Check a user's table and give it the series frame's column names and types.

    Args:
        raw: the table as read, with the columns that `series` declares (others are dropped).
        series: the declaration.

    Returns:
        Columns `series_id` (str), `timestamp` (datetime64[s], no zone), `target` (float64, NaN where
        missing), then the covariates (float64), sorted by series and time, one row a timestamp.

    Raises:
        DataError: says which column and rows are at fault, what was found, what is wanted and the fix.
    """
    _has_columns(raw, series)
    if raw.empty:
        raise DataError("the table has a header but no rows, wanted at least one row")
    frame = pd.DataFrame({"series_id": _ids(raw, series), "timestamp": _timestamps(raw, series)})
    for column, name in _numbers(series).items():
        frame[name] = _floats(raw[column], column)
    _validate(frame, series)
    frame = frame.sort_values(["series_id", "timestamp"], kind="stable", ignore_index=True)
    _fits_frequency(frame, series)
    _has_values(frame, series)
    return frame


def declare(series: Series) -> pa.DataFrameSchema:
    """The schema of a series frame, as a pandera object."""
    finite = pa.Check(lambda column: ~np.isinf(column), name="finite")
    nonnegative = pa.Check(lambda column: column >= 0, name="nonnegative")
    columns = {
        "series_id": pa.Column(str, nullable=False),
        "timestamp": pa.Column("datetime64[s]", nullable=False),
    }
    for name, column in series.columns.items():
        limits = series.limits_of(column)
        checks = [finite, pa.Check(functools.partial(_inside, *_range(limits)), name="limits")]
        checks += [nonnegative] if name == "target" and series.nonnegative else []
        columns[name] = pa.Column(float, checks=checks, nullable=True)
    return pa.DataFrameSchema(columns, strict=True, unique=["series_id", "timestamp"])


def _range(limits: ColumnLimits) -> tuple[float, float]:
    return -np.inf if limits.low is None else limits.low, np.inf if limits.high is None else limits.high


def _inside(low: float, high: float, column: pd.Series) -> pd.Series:
    return (column >= low) & (column <= high)


def _numbers(series: Series) -> dict[str, str]:
    """The names that the user's numeric columns get in the frame, by their own."""
    return {column: name for name, column in series.columns.items()}


def _has_columns(raw: pd.DataFrame, series: Series) -> None:
    wanted = [name for name in (series.id, series.timestamp, *_numbers(series)) if name]
    missing = [name for name in wanted if name not in raw.columns]
    if missing:
        found = ", ".join(map(str, raw.columns)) or "none"
        raise DataError(
            f"column {missing[0]!r} is missing, got columns {found}: name the table's own columns in "
            "params.yaml, section series",
            param=missing[0],
        )


def _ids(raw: pd.DataFrame, series: Series) -> pd.Series:
    if series.id is None:
        return pd.Series("series", index=raw.index, dtype="str")
    column = raw[series.id]
    _refuse(column.isna(), raw, series.id, "has no value", "wanted the name of a series in every row")
    return column.astype("str")


def _timestamps(raw: pd.DataFrame, series: Series) -> pd.Series:
    column = raw[series.timestamp]
    text = column.astype("str")
    offsets = _zones(text[text.str.match(r"\s*\d{4}")])
    if len(offsets) > 1:
        kinds = ", ".join(sorted(offsets))
        raise DataError(
            f"column {series.timestamp!r}: the time zone jumps (offsets {kinds}), so an hour repeats or is skipped; "
            "wanted one offset throughout: convert the column to UTC or to local standard time",
            param=series.timestamp,
        )
    if pd.api.types.is_numeric_dtype(column):
        raise DataError(
            f"column {series.timestamp!r}: got numbers ({column.iloc[0]}), wanted dates such as 2024-05-01T13:00",
            param=series.timestamp,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        times = pd.to_datetime(column) if _is_time(column) else pd.to_datetime(text, errors="coerce", format="ISO8601")
    wrong = times.isna()
    _refuse(wrong, raw, series.timestamp, "is no date", "wanted ISO 8601 such as 2024-05-01T13:00")
    if times.dt.tz is not None:
        times = times.dt.tz_localize(None)
    _refuse(times != times.dt.floor("s"), raw, series.timestamp, "has a fraction of a second", "wanted whole seconds")
    return times.astype("datetime64[s]")


def _is_time(column: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(column)


def _zones(dates: pd.Series) -> set[str]:
    """The offsets from UTC that texts of dates end with, `none` for those without."""
    ends = dates.str.extract(r"[T ]\d\d.*?(Z|[+-]\d\d)(?::?(\d\d))?$")
    return set((ends[0].str.replace("Z", "+00") + ":" + ends[1].fillna("00")).fillna("none"))


def _floats(column: pd.Series, name: str) -> pd.Series:
    if pd.api.types.is_bool_dtype(column):
        column = column.astype(float)
    if column.dtype.kind in "mM":  # to pandas, a time is a number of microseconds
        column = column.astype("str").where(column.notna())
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    text = numbers.isna() & column.notna() & (column.astype("str").str.strip() != "")
    _refuse(text, column.to_frame(name), name, "is no number", "wanted a number, or nothing where it is missing")
    return numbers


def _refuse(fault: pd.Series, raw: pd.DataFrame, column: str, what: str, wanted: str) -> None:
    """Raise, naming the rows (counted from 1, without the header), if any row is at fault."""
    rows = np.flatnonzero(fault.to_numpy())
    if rows.size:
        shown = ", ".join(f"row {row + 1}: {raw[column].iloc[row]!r}" for row in rows[:EXAMPLES])
        raise DataError(f"column {column!r} {what} in {rows.size} rows ({shown}), {wanted}", param=column)


def _validate(frame: pd.DataFrame, series: Series) -> None:
    try:
        declare(series).validate(frame, lazy=True)
    except SchemaErrors as err:
        raise DataError(_explain(err.failure_cases, frame, series)) from err


def _explain(cases: Any, frame: pd.DataFrame, series: Series) -> str:
    """The first kind of failure that pandera found, in the user's words."""
    first = cases.iloc[0]
    if "unique" in str(first["check"]):
        twice = frame[frame.duplicated(["series_id", "timestamp"], keep=False)]
        row = twice.iloc[0]
        return (
            f"column {series.timestamp!r}: {row['timestamp']} repeats in series {row['series_id']!r} ({len(twice)} such "
            "rows in all), wanted one row a timestamp: remove the copies, or convert local time to UTC if the clock "
            "was set back"
        )
    column = series.columns[str(first["column"])]
    low, high = _range(series.limits_of(column))
    same = cases[(cases["column"] == first["column"]) & (cases["check"] == first["check"])]
    places = ", ".join(
        f"row {int(row['index']) + 1} of series {frame['series_id'].iloc[int(row['index'])]!r}: {row['failure_case']}"
        for _, row in same.head(EXAMPLES).iterrows()
    )
    wanted = {
        "finite": "finite numbers, or nothing where a value is missing",
        "nonnegative": "0 or more (params.yaml says series.nonnegative: true)",
        "limits": f"{low:g} to {high:g} (params.yaml says series.limits.{column})",
    }.get(str(first["check"]), str(first["check"]))
    return f"column {column!r}: {len(same)} values out of range ({places}), wanted {wanted}"


def _fits_frequency(frame: pd.DataFrame, series: Series) -> None:
    seconds = frame["timestamp"].astype("int64").to_numpy()
    first = frame.groupby("series_id", sort=False)["timestamp"].transform("first").astype("int64").to_numpy()
    off = np.flatnonzero((seconds - first) % series.step_seconds)
    if off.size:
        row = frame.iloc[off[0]]
        steps = np.diff(seconds[frame["series_id"].to_numpy() == row["series_id"]])
        usual = durations.name(int(np.gcd.reduce(steps)))
        raise DataError(
            f"column {series.timestamp!r}: {row['timestamp']} in series {row['series_id']!r} does not fit the frequency "
            f"{series.frequency!r} counted from the series' start ({off.size} such rows), wanted every row on the grid: "
            f"resample the table, or set series.frequency (its rows would fit {usual!r})",
            param=series.timestamp,
        )


def _has_values(frame: pd.DataFrame, series: Series) -> None:
    counts = frame.groupby("series_id", sort=False)[list(_numbers(series).values())].count()
    for column, name in _numbers(series).items():
        empty = counts.index[counts[name] == 0]
        if len(empty):
            raise DataError(
                f"column {column!r} is missing in every row of series {empty[0]!r} ({len(empty)} such series), "
                "wanted at least one value: remove the series from the table, or the column from params.yaml",
                param=column,
            )
