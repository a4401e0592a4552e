"""The series frame that a table becomes, against pandas' own reindexing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import ingest, schema
from data.errors import ConfigError, DataError, SourceError
from data.panel import Panel
from data.params import Series
from tests.data import project
from tests.data.drawn import series_of

DAYS = list(pd.date_range("2024-02-26", periods=40, freq="D"))


def declared(target: str = "zero", covariates: str = "forward") -> Series:
    return Series.model_validate(
        {
            "id": "shop",
            "timestamp": "day",
            "target": "sales",
            "frequency": "1d",
            "covariates": {"future": ["rain"], "past": ["price"]},
            "gaps": {"target": target, "covariates": covariates},
        }
    )


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Series with rows and values missing at random, in any order; each has a value of everything."""
    number = st.none() | st.floats(-1e9, 1e9)
    parts = []
    for shop in draw(st.lists(st.sampled_from(["b", "a", "é", "Z", "10", "9"]), min_size=1, max_size=3, unique=True)):
        days = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=12, unique=True))
        rows = [[shop, day, *draw(st.tuples(number, number, number))] for day in days]
        rows[0][2:] = draw(st.tuples(*[st.floats(-1e9, 1e9)] * 3))
        parts += rows
    columns = ["shop", "day", "sales", "rain", "price"]
    return pd.DataFrame(draw(st.permutations(parts)), columns=columns).astype(dict.fromkeys(columns[2:], float))


def as_checked(table: pd.DataFrame) -> pd.DataFrame:
    """What `schema.check` gives, without its checks (which take longer than all the rest)."""
    names = {"shop": "series_id", "day": "timestamp", "sales": "target"}
    frame = table.rename(columns=names).sort_values(["series_id", "timestamp"], ignore_index=True)
    return frame.astype({"series_id": "str", "timestamp": "datetime64[s]"})


@settings(max_examples=5, deadline=None)
@given(tables())
def test_checked_table_is_as_the_schema_gives_it(table: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(schema.check(table, declared()), as_checked(table))


def reindexed(table: pd.DataFrame, series: Series) -> pd.DataFrame:
    """What pandas makes of one series."""
    frame = table.set_index("day").sort_index()[["sales", "rain", "price"]]
    frame = frame.loc[frame["sales"].first_valid_index() : frame["sales"].last_valid_index()]
    frame = frame.reindex(pd.date_range(frame.index[0], frame.index[-1], freq="D"))
    frame["observed"] = frame["sales"].notna() | (series.gaps.target == "zero")
    match series.gaps.target:
        case "zero":
            frame["sales"] = frame["sales"].fillna(0.0)
        case "forward":
            frame["sales"] = frame["sales"].ffill()
        case "interpolate":
            frame["sales"] = frame["sales"].interpolate()
    for name in ("rain", "price"):
        zero = series.gaps.covariates == "zero"
        frame[name] = frame[name].fillna(0.0) if zero else frame[name].ffill().bfill()
    return frame


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from(["zero", "forward", "interpolate"]), st.sampled_from(["zero", "forward"]))
def test_panel_agrees_with_pandas(table: pd.DataFrame, target: str, covariates: str) -> None:
    series = declared(target, covariates)
    wanted = {str(shop): reindexed(part, series) for shop, part in table.groupby("shop")}
    checked = as_checked(table)
    if any(frame[["rain", "price"]].isna().to_numpy().any() for frame in wanted.values()):
        with pytest.raises(DataError, match="between the first and last target value"):
            ingest.to_panel(checked, series)
        return
    panel, found = ingest.to_panel(checked, series)
    assert panel.ids == tuple(sorted(wanted))
    assert panel.step_seconds == 86_400
    columns = {"sales": panel.target, "observed": panel.observed, **panel.covariates}
    for place, shop in enumerate(panel.ids):
        assert panel.starts[place] == wanted[shop].index[0].to_datetime64()
        for name, values in columns.items():
            got = series_of(panel, values.astype(np.float64))[place]
            np.testing.assert_allclose(got, wanted[shop][name].to_numpy(), rtol=1e-12, atol=1e-6)
    rows = sum(len(frame) for frame in wanted.values())
    assert found["rows"] == panel.target.size == rows
    assert found["filled_rows"] == rows - table["sales"].notna().sum()


def shop(sales: list[float], **covariates: list[float]) -> pd.DataFrame:
    """One shop's days, one value each."""
    values = {"sales": sales, "rain": [0.0] * len(sales), "price": [1.0] * len(sales)} | covariates
    return pd.DataFrame({"shop": "a", "day": DAYS[: len(sales)], **values})


def panel_of(table: pd.DataFrame, series: Series) -> Panel:
    return ingest.to_panel(schema.check(table, series), series)[0]


def test_known_values_keep_their_bits() -> None:
    values = [0.1, 1e-300, 3.0, np.nan, 1e15 + 0.5]
    panel = panel_of(shop(values), declared("interpolate"))
    known = [0, 1, 2, 4]
    assert panel.target[known].tobytes() == np.array(values)[known].tobytes()


def test_leading_and_trailing_rows_without_a_value_are_dropped() -> None:
    panel = panel_of(shop([np.nan, np.nan, 5.0, np.nan, 6.0, np.nan]), declared())
    assert panel.target.tolist() == [5, 0, 6]
    assert str(panel.starts[0]) == "2024-02-28T00:00:00"


def test_filled_target_is_data_under_zero_and_an_estimate_otherwise() -> None:
    table = shop([1.0, np.nan, 3.0])
    assert panel_of(table, declared("zero")).observed.tolist() == [True, True, True]
    assert panel_of(table, declared("forward")).observed.tolist() == [True, False, True]
    assert panel_of(table, declared("interpolate")).observed.tolist() == [True, False, True]


def test_covariate_missing_at_the_start_keeps_to_its_rule() -> None:
    table = shop([1.0, 1.0, 1.0, 1.0], price=[np.nan, np.nan, 7.0, np.nan])
    assert panel_of(table, declared(covariates="forward")).covariates["price"].tolist() == [7, 7, 7, 7]
    assert panel_of(table, declared(covariates="zero")).covariates["price"].tolist() == [0, 0, 7, 0]


def test_covariate_without_a_value_where_the_target_has_some_is_refused() -> None:
    table = shop([np.nan, 1.0, 1.0], rain=[0.0, np.nan, np.nan])
    with pytest.raises(DataError) as caught:
        panel_of(table, declared())
    assert caught.value.message == (
        "column 'rain' is missing between the first and last target value of series 'a', wanted at least one value "
        "there: fill it in, or remove the column from params.yaml"
    )
    assert (caught.value.param, caught.value.exit_code) == ("rain", 3)


def test_figures_say_what_was_found() -> None:
    series = declared()
    _, found = ingest.to_panel(schema.check(shop([1.0, np.nan, np.nan, 3.0]), series), series)
    assert found == {
        "series": 1,
        "rows": 4,
        "filled_rows": 2,
        "filled_share": 0.5,
        "target_mean": 1.0,
        "first": "2024-02-26T00:00:00",
        "last": "2024-02-29T00:00:00",
        "columns": {
            "sales": {"low": 1.0, "high": 3.0, "missing": 0.5, "constant_steps": 1},
            "rain": {"low": 0.0, "high": 0.0, "missing": 0.0, "constant_steps": 4},
            "price": {"low": 1.0, "high": 1.0, "missing": 0.0, "constant_steps": 4},
        },
    }


def limited(table: pd.DataFrame, **limits: dict[str, Any]) -> DataError:
    series = Series.model_validate(declared().model_dump() | {"limits": limits})
    with pytest.raises(DataError) as caught:
        panel_of(table, series)
    assert caught.value.exit_code == 3
    return caught.value


def test_value_beyond_its_limit_is_refused_with_column_series_and_row() -> None:
    error = limited(shop([1.0, 2.0, 3.0], rain=[0.0, 99.0, -1.0]), rain={"low": 0, "high": 10})
    assert error.message == (
        "column 'rain': 2 values out of range (row 2 of series 'a': 99.0, row 3 of series 'a': -1.0), wanted 0 to 10 "
        "(params.yaml says series.limits.rain)"
    )
    assert "wanted -inf to 2 " in limited(shop([1.0, 2.5]), sales={"high": 2}).message


def test_column_that_is_missing_too_often_is_refused() -> None:
    table = shop([1.0, np.nan, np.nan, 3.0])
    assert limited(table, sales={"missing": 0.4}).message == (
        "column 'sales' is missing in 50.00% of series 'a', wanted at most 40.00% (params.yaml says "
        "series.limits.sales.missing): complete the table, or raise the limit"
    )
    declared_so = Series.model_validate(declared().model_dump() | {"limits": {"sales": {"missing": 0.5}}})
    assert panel_of(table, declared_so).target.size == 4


def test_value_that_stays_too_long_is_refused_and_a_gap_ends_its_run() -> None:
    price = [5.0, 7.0, 7.0, 7.0, 8.0]
    assert limited(shop([1.0] * 5, price=price), price={"constant": "2d"}).message == (
        "column 'price' of series 'a' stays at 7 for 3 rows, from row 2 of the series on, wanted at most 2d (params.yaml "
        "says series.limits.price.constant): empty the cells if a sensor was stuck, or raise the limit"
    )
    longer = Series.model_validate(declared().model_dump() | {"limits": {"price": {"constant": "3d"}}})
    assert panel_of(shop([1.0] * 5, price=price), longer).target.size == 5
    gap = Series.model_validate(declared().model_dump() | {"limits": {"price": {"constant": "2d"}}})
    assert panel_of(shop([1.0] * 5, price=[7.0, 7.0, np.nan, 7.0, 7.0]), gap).target.size == 5


# From a file on


def run(path: Path, **changes: Any) -> Panel:
    section = {"id": "shop", "timestamp": "day", "target": "sales", "frequency": "1d"}
    return ingest.run(project.changed({"series": section | changes, "ingest.source": "csv", "ingest.path": str(path)}))[
        0
    ]


def test_run_reads_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("shop,day,sales\nb,2024-01-03,3\na,2024-01-01,1\nb,2024-01-01,2\n")
    panel = run(path)
    assert (panel.ids, panel.target.tolist()) == (("a", "b"), [1, 2, 0, 3])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("shop,day\na,2024-01-01\n", DataError, "'sales'"),
        ("shop,day,sales\n", DataError, "no rows"),
        ("shop,day,sales\na,2024-01-01,many\n", DataError, "'many'"),
        ("shop,day,sales\na,2024-01-01,1\na,2024-01-01,2\n", DataError, "repeats in series 'a'"),
        ("shop,day,sales\na,2024-01-01T00:00+01:00,1\na,2024-01-02T00:00+02:00,2\n", DataError, "time zone jumps"),
        ("shop,day,sales\na,2024-01-01,1\na,2024-01-02T12:00,2\n", DataError, "does not fit the frequency '1d'"),
        ("shop,day,sales\na,2024-01-01,\na,2024-01-02,\n", DataError, "is missing in every row of series 'a'"),
        ("shop,day,sales\na,2024-01-01,-1\n", DataError, "wanted 0 or more"),
        ("shop,day,sales\n,2024-01-01,1\n", DataError, "'shop'"),
        ("shop,day,sales\na,1714521600,1\n", DataError, "'day'"),
        ("shop,day,sales\na,1/2/2024,1\n", DataError, "'day' is no date"),
    ],
)
def test_run_refuses_a_faulty_file(tmp_path: Path, text: str, error: type[DataError], message: str) -> None:
    path = tmp_path / "sales.csv"
    path.write_text(text)
    with pytest.raises(error) as caught:
        run(path, nonnegative=True)
    assert message in caught.value.message


def test_run_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises((SourceError, ConfigError), match=r"sales\.csv"):
        run(tmp_path / "sales.csv")


def test_run_makes_the_built_in_city() -> None:
    params = project.changed({"ingest.sample": {"stations": 2, "start": "2024-01-01", "end": "2024-01-31T23:00"}})
    panel, found = ingest.run(params)
    assert len(panel) == found["series"] == 2
    assert set(panel.covariates) == set(params.series.covariates.names)
    assert np.isfinite(panel.target).all()
