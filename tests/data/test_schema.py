"""A user's table is taken as it is meant, or refused with the column, the rows, and what to do about it."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import schema
from data.errors import DataError
from data.params import Series

HOURS = ["2024-05-01T00:00", "2024-05-01T01:00", "2024-05-01T02:00"]


def declared(**changes: Any) -> Series:
    plain = {"id": "shop", "timestamp": "hour", "target": "sales", "frequency": "1h", "nonnegative": True}
    return Series.model_validate(plain | changes)


def table(**columns: Any) -> pd.DataFrame:
    """Three good rows of one shop, with columns changed; `None` drops one."""
    whole = {"shop": ["a"] * 3, "hour": HOURS, "sales": [1.0, 2.0, 3.0]} | columns
    return pd.DataFrame({name: values for name, values in whole.items() if values is not None})


def refused(raw: pd.DataFrame, **changes: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        schema.check(raw, declared(**changes))
    assert (caught.value.exit_code, caught.value.status) == (3, 400)
    assert "\n" not in caught.value.message
    return caught.value


def times(values: Any, **changes: Any) -> list[str]:
    """What the timestamps of a table are taken for."""
    raw = table(shop=None, hour=values, sales=[1.0] * len(values))
    frame = schema.check(raw, declared(id=None, frequency="1min", **changes))
    return [str(moment) for moment in frame["timestamp"].to_numpy()]


# What is taken


def test_table_gets_the_names_and_types_of_the_frame() -> None:
    raw = table(rain=[0, 1, 0], price=["1.5", "", "2"], other=["x"] * 3)
    frame = schema.check(raw, declared(covariates={"future": ["rain"], "past": ["price"]}))
    assert list(frame.columns) == ["series_id", "timestamp", "target", "rain", "price"]
    assert [str(kind) for kind in frame.dtypes] == ["str", "datetime64[s]", "float64", "float64", "float64"]
    assert frame["price"].tolist() == pytest.approx([1.5, np.nan, 2.0], nan_ok=True)


def test_table_passes_the_schema_it_declares() -> None:
    series = declared(covariates={"future": ["rain"]})
    frame = schema.check(table(rain=[0, 1, 0]), series)
    assert schema.declare(series).validate(frame).equals(frame)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(6)))
def test_rows_may_come_in_any_order(order: list[int]) -> None:
    raw = pd.DataFrame({"shop": list("bbbaaa"), "hour": HOURS * 2, "sales": [1.0, 2, 3, 4, 5, 6]})
    frame = schema.check(raw.iloc[order], declared())
    assert frame["series_id"].tolist() == list("aaabbb")
    assert frame["target"].tolist() == [4, 5, 6, 1, 2, 3]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([True, False, True], [1, 0, 1]),
        (["1e3", " 2 ", "-0.5"], [1000, 2, -0.5]),
        (["1", "", None], [1, np.nan, np.nan]),
        ([decimal.Decimal("1.5"), None, 2], [1.5, np.nan, 2]),
        (pd.array([1, None, 3], dtype="Int64"), [1, np.nan, 3]),
        (pd.array([True, None, False], dtype="boolean"), [1, np.nan, 0]),
    ],
)
def test_numbers_may_be_written_in_many_ways(values: Any, wanted: list[float]) -> None:
    frame = schema.check(table(sales=values), declared(nonnegative=False))
    assert frame["target"].tolist() == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize(
    "hour",
    [
        HOURS,
        [text.replace("T", " ") + ":00" for text in HOURS],
        [text + "Z" for text in HOURS],
        [text + "+05:30" for text in HOURS],
        [text + "-08" for text in HOURS],
        [text + ":00.000+0100" for text in HOURS],
        pd.to_datetime(HOURS),
        pd.to_datetime(HOURS).tz_localize("Asia/Tokyo"),
        pd.Series([dt.datetime.fromisoformat(text) for text in HOURS], dtype=object),
    ],
)
def test_timestamps_keep_the_clock_they_were_written_with(hour: Any) -> None:
    assert times(hour) == [text + ":00" for text in HOURS]


def test_timestamps_may_be_dates() -> None:
    assert times(["2024-05-01", "2024-05-02"]) == ["2024-05-01T00:00:00", "2024-05-02T00:00:00"]
    assert times([dt.date(2024, 5, 1), dt.date(2024, 5, 2)]) == ["2024-05-01T00:00:00", "2024-05-02T00:00:00"]


def test_timestamps_may_write_one_offset_in_several_ways() -> None:
    assert times(["2024-05-01T00:00Z", "2024-05-01T00:01+00", "2024-05-01T00:02+0000"])


def test_series_may_begin_at_times_of_their_own() -> None:
    hour = ["2024-05-01T00:00", "2024-05-01T00:20", "2024-05-01T03:20"]
    assert len(schema.check(table(shop=["a", "b", "b"], hour=hour), declared())) == 3


def test_series_may_be_named_by_numbers() -> None:
    assert schema.check(table(shop=[7, 8, 9]), declared())["series_id"].tolist() == ["7", "8", "9"]


def test_table_of_one_series_needs_no_id() -> None:
    assert set(schema.check(table(shop=None), declared(id=None))["series_id"]) == {"series"}


# What is refused: the table


@pytest.mark.parametrize("column", ["shop", "hour", "sales", "rain"])
def test_missing_column_is_named_with_those_found(column: str) -> None:
    raw = table(rain=[0, 1, 0]).drop(columns=column)
    error = refused(raw, covariates={"future": ["rain"]})
    assert error.message == (
        f"column {column!r} is missing, got columns {', '.join(raw.columns)}: name the table's own columns in "
        "params.yaml, section series"
    )
    assert error.param == column


def test_table_without_columns_is_refused() -> None:
    assert refused(pd.DataFrame()).message.startswith("column 'shop' is missing, got columns none: ")


def test_empty_table_is_refused() -> None:
    assert refused(table().iloc[:0]).message == "the table has a header but no rows, wanted at least one row"


# What is refused: numbers


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["1", "many", "3"], "1 rows (row 2: 'many')"),
        (["1,5", "2", "nan"], "2 rows (row 1: '1,5', row 3: 'nan')"),
        (list("abc"), "3 rows (row 1: 'a', row 2: 'b', row 3: 'c')"),
        ([1, {"a": 1}, 2], "1 rows (row 2: {'a': 1})"),
        (pd.DatetimeIndex(["2024-05-01", "NaT", "2024-05-03"]), "2 rows (row 1: '2024-05-01', row 3: '2024-05-03')"),
        (pd.to_timedelta([1, 2, 3], unit="h"), "3 rows (row 1: '0 days 01:00:00'"),
    ],
)
def test_what_is_no_number_is_refused_with_its_rows(values: Any, shown: str) -> None:
    error = refused(table(sales=values))
    assert error.message.startswith(f"column 'sales' is no number in {shown}")
    assert error.message.endswith(", wanted a number, or nothing where it is missing")
    assert error.param == "sales"


def test_many_faults_are_counted_and_three_are_shown() -> None:
    raw = pd.DataFrame({"hour": pd.date_range("2024", periods=50, freq="h"), "sales": ["x"] * 50})
    message = refused(raw, id=None).message
    assert "in 50 rows (row 1: 'x', row 2: 'x', row 3: 'x'), " in message


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "sales",
            [1, np.inf, -np.inf],
            "2 values out of range (row 2 of series 'a': inf, row 3 of series 'a': -inf), wanted finite numbers",
        ),
        ("sales", ["inf", "1", "2"], "1 values out of range (row 1 of series 'a': inf), wanted finite numbers"),
        ("rain", [0, 0, np.inf], "1 values out of range (row 3 of series 'a': inf), wanted finite numbers"),
        (
            "sales",
            [1, -2, np.nan],
            "1 values out of range (row 2 of series 'a': -2.0), wanted 0 or more (params.yaml says series.nonnegative: true)",
        ),
    ],
)
def test_number_out_of_range_is_refused_with_its_rows(column: str, values: list[Any], message: str) -> None:
    raw = table(**{"rain": [0, 1, 0], column: values})
    assert refused(raw, covariates={"past": ["rain"]}).message.startswith(f"column {column!r}: {message}")


def test_rows_are_counted_as_the_user_wrote_them() -> None:
    raw = table(shop=["b", "a", "a"], sales=[-1.0, 1.0, 2.0])
    assert "(row 1 of series 'b': -1.0)" in refused(raw).message


def test_negative_numbers_are_fine_unless_refused_by_the_declaration() -> None:
    assert len(schema.check(table(sales=[0.0, -0.0, 1.0]), declared())) == 3
    raw = table(sales=[-1.0, 0.0, 1.0], rain=[-1.0, -2.0, 0.0])
    frame = schema.check(raw, declared(nonnegative=False, covariates={"past": ["rain"]}))
    assert frame["target"].min() == -1
    assert schema.check(raw.assign(sales=1.0), declared(covariates={"past": ["rain"]}))["rain"].min() == -2


@pytest.mark.parametrize(("column", "values"), [("sales", [None, None, 1.0]), ("rain", [np.nan, np.nan, 0.0])])
def test_series_without_any_value_is_refused(column: str, values: list[Any]) -> None:
    raw = table(**{"shop": ["a", "a", "b"], "rain": [0.0, 1.0, 0.0], column: values})
    error = refused(raw, covariates={"future": ["rain"]})
    assert error.message == (
        f"column {column!r} is missing in every row of series 'a' (1 such series), wanted at least one value: "
        "remove the series from the table, or the column from params.yaml"
    )
    assert error.param == column


# What is refused: names and times


def test_missing_id_is_refused_with_its_rows() -> None:
    error = refused(table(shop=["a", None, "a"]))
    assert error.message.startswith("column 'shop' has no value in 1 rows (row 2: ")
    assert error.message.endswith(", wanted the name of a series in every row")
    assert error.param == "shop"


@pytest.mark.parametrize(("values", "shown"), [([1714521600, 2, 3], "1714521600"), ([0.5, 1, 2], "0.5")])
def test_numbers_as_timestamps_are_refused(values: list[float], shown: str) -> None:
    error = refused(table(hour=values))
    assert error.message == f"column 'hour': got numbers ({shown}), wanted dates such as 2024-05-01T13:00"
    assert error.param == "hour"


@pytest.mark.parametrize("zone", ["", "Z", "+02:00"])
@pytest.mark.parametrize("fault", ["soon", "01/05/2024", "", None])
def test_what_is_no_date_is_refused_with_its_row(fault: str | None, zone: str) -> None:
    error = refused(table(hour=[HOURS[0] + zone, fault, HOURS[2] + zone]))
    assert error.message.startswith("column 'hour' is no date in 1 rows (row 2: ")
    assert error.message.endswith(", wanted ISO 8601 such as 2024-05-01T13:00")
    assert error.param == "hour"


@pytest.mark.parametrize("fault", ["2024-13-01", "2023-02-29T00:00", "2024-05-01T25:00", "1714521600"])
def test_date_that_is_not_in_the_calendar_is_refused(fault: str) -> None:
    assert f"is no date in 1 rows (row 1: '{fault}')" in refused(table(hour=[fault, *HOURS[1:]])).message


@pytest.mark.parametrize(
    ("zones", "shown"),
    [
        (["+01:00", "+02:00", "+02:00"], "+01:00, +02:00"),
        (["-05", "-04", "-04"], "-04:00, -05:00"),
        (["Z", "", "Z"], "+00:00, none"),
        (["+0530", "+05:30", "+0545"], "+05:30, +05:45"),
    ],
)
def test_time_zone_that_jumps_is_refused(zones: list[str], shown: str) -> None:
    error = refused(table(hour=[hour + zone for hour, zone in zip(HOURS, zones, strict=True)]))
    assert error.message == (
        f"column 'hour': the time zone jumps (offsets {shown}), so an hour repeats or is skipped; wanted one offset "
        "throughout: convert the column to UTC or to local standard time"
    )
    assert error.param == "hour"


@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27"])
def test_clock_that_is_set_for_summer_is_refused(day: str) -> None:
    hours = pd.date_range(day, periods=6, freq="h", tz="Europe/Berlin")
    raw = pd.DataFrame({"hour": hours, "sales": 1.0})
    assert "the time zone jumps (offsets +01:00, +02:00)" in refused(raw, id=None).message


def test_dates_without_a_clock_beside_zones_are_refused() -> None:
    assert "offsets +00:00, none" in refused(table(hour=["2024-05-01", HOURS[1] + "Z", HOURS[2] + "Z"])).message


def test_repeated_timestamp_is_refused() -> None:
    error = refused(table(hour=[HOURS[0], HOURS[1], HOURS[1]]))
    assert error.message == (
        "column 'hour': 2024-05-01 01:00:00 repeats in series 'a' (2 such rows in all), wanted one row a timestamp: "
        "remove the copies, or convert local time to UTC if the clock was set back"
    )


def test_same_timestamp_in_two_series_is_fine() -> None:
    assert len(schema.check(table(shop=["a", "b", "c"], hour=HOURS[:1] * 3), declared())) == 3


@pytest.mark.parametrize(
    ("hour", "at", "count", "fits"),
    [
        (["2024-05-01T00:00", "2024-05-01T01:00", "2024-05-01T01:30"], "2024-05-01 01:30:00", 1, "30min"),
        (["2024-05-01T00:00", "2024-05-01T00:15", "2024-05-01T00:30"], "2024-05-01 00:15:00", 2, "15min"),
        (["2024-05-01T00:00", "2024-05-01T01:00:01", "2024-05-01T03:00"], "2024-05-01 01:00:01", 1, "1s"),
    ],
)
def test_timestamp_off_the_grid_is_refused_with_a_frequency_that_fits(
    hour: list[str], at: str, count: int, fits: str
) -> None:
    error = refused(table(hour=hour))
    assert error.message == (
        f"column 'hour': {at} in series 'a' does not fit the frequency '1h' counted from the series' start ({count} such "
        "rows), wanted every row on the grid: resample the table, or set series.frequency (its rows would fit "
        f"'{fits}')"
    )
    assert error.param == "hour"


# Whatever the table holds

TIMES = st.one_of(
    st.datetimes().map(dt.datetime.isoformat),
    st.from_regex(r"20\d\d-[01]\d-[0-3]\d([T ][0-2]\d(:?[0-6]\d)?)?(Z|[+-][01]\d(:?[0-6]\d)?)?", fullmatch=True),
    st.text(max_size=10),
    st.none(),
)
NUMBERS = st.one_of(
    st.floats().map(str), st.integers().map(str), st.text(max_size=5), st.none(), st.from_regex(r"-?\d[\d.,e_ ]*")
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TIMES, NUMBERS), min_size=1, max_size=4), st.booleans())
def test_any_text_is_taken_or_refused(rows: list[tuple[str | None, str | None]], nonnegative: bool) -> None:  # noqa: FBT001
    raw = pd.DataFrame(rows, columns=["hour", "sales"], dtype=object)
    try:
        frame = schema.check(raw, declared(id=None, frequency="1s", nonnegative=nonnegative))
    except DataError as err:
        assert "wanted" in err.message  # noqa: PT017 - some tables are right
    else:
        assert np.isfinite(frame["target"].dropna()).all()
        assert frame["timestamp"].is_monotonic_increasing
