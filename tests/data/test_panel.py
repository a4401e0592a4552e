"""The panel's derived columns and its cut, against a plain loop over its rows."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.panel import Panel

Row = tuple[str, dt.datetime, float, bool, float]
START = dt.datetime.fromisoformat("2024-02-28T22:00")


def hours(number: int) -> np.timedelta64:
    return np.timedelta64(number, "h")


@st.composite
def panels(draw: st.DrawFn) -> Panel:
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    begins = [draw(st.integers(0, 6)) for _ in lengths]
    rows = sum(lengths)
    return Panel(
        ids=tuple(f"shop {place}" for place in range(len(lengths))),
        offsets=np.cumsum([0, *lengths]),
        starts=np.array([np.datetime64(START, "s") + hours(begin) for begin in begins]),
        step_seconds=3_600,
        target=np.linspace(0.0, 9.0, rows),
        observed=np.arange(rows) % 3 > 0,
        covariates={"rain": np.linspace(5.0, -5.0, rows)},
    )


def listed(panel: Panel) -> list[Row]:
    """Every row of a panel, put together one by one."""
    rows: list[Row] = []
    for name, start, (first, stop) in zip(panel.ids, panel.starts, itertools.pairwise(panel.offsets), strict=True):
        for row in range(first, stop):
            moment = start.item() + (row - int(first)) * dt.timedelta(seconds=panel.step_seconds)
            values = float(panel.target[row]), bool(panel.observed[row]), float(panel.covariates["rain"][row])
            rows.append((name, moment, *values))
    return rows


@given(panels())
def test_rows_know_their_series_age_and_time(panel: Panel) -> None:
    wanted = listed(panel)
    assert len(panel) == len(panel.ids)
    assert panel.lengths.tolist() == [sum(row[0] == name for row in wanted) for name in panel.ids]
    assert [panel.ids[series] for series in panel.series] == [row[0] for row in wanted]
    assert panel.times.tolist() == [row[1] for row in wanted]
    ages = [
        (row[1] - panel.starts[place].item()).total_seconds() / 3_600
        for place, row in zip(panel.series, wanted, strict=True)
    ]
    assert panel.age.tolist() == ages


@given(panels(), st.data())
def test_times_of_chosen_rows_are_those_of_all(panel: Panel, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, panel.target.size - 1), max_size=6)), dtype=np.int64)
    assert panel.times_at(rows).tolist() == panel.times[rows].tolist()
    grid = np.stack([rows, rows[::-1]])
    assert panel.times_at(grid).tolist() == panel.times[grid].tolist()


def test_size_is_the_target_without_its_sign() -> None:
    panel = Panel((), np.array([0]), np.array([], "datetime64[s]"), 60, np.array([]), np.array([], bool), {})
    mixed = replace(panel, target=np.array([1.0, -2.0, np.nan, 0.0]))
    assert mixed.size.tolist() == pytest.approx([1.0, 2.0, np.nan, 0.0], nan_ok=True)
    positive = replace(panel, target=np.array([1.0, 2.0, np.nan, 0.0]))
    assert positive.size is positive.target


@settings(max_examples=200)
@given(panels(), st.integers(-1, 16))
def test_until_keeps_the_rows_up_to_a_moment(panel: Panel, after: int) -> None:
    moment = START + dt.timedelta(hours=after)
    cut = panel.until(np.datetime64(moment, "s"))
    assert listed(cut) == [row for row in listed(panel) if row[1] <= moment]
    assert cut.step_seconds == panel.step_seconds
    assert (cut.lengths > 0).all()


@given(panels())
def test_until_a_moment_before_everything_is_an_empty_panel(panel: Panel) -> None:
    cut = panel.until(np.datetime64("2000-01-01", "s"))
    assert (len(cut), cut.target.size, cut.offsets.tolist()) == (0, 0, [0])


def test_panel_cannot_be_changed() -> None:
    panel = Panel((), np.array([0]), np.array([], "datetime64[s]"), 60, np.array([]), np.array([], bool), {})
    with pytest.raises(AttributeError):
        panel.step_seconds = 1  # type: ignore[misc]
