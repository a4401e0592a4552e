"""The table of out-of-sample forecasts: written, read, and matched with another one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.errors import DataError
from data.panel import Panel
from tests.training import tiny
from training import forecasts
from training.forecasts import Bounds, Forecasts

PARAMS = tiny.params()
PANEL = tiny.panel((420, 400, 380))
HORIZON = 6


def gappy() -> tuple[Panel, Forecasts, Bounds]:
    hidden = np.random.default_rng(0).random(PANEL.target.size) < 0.2
    panel = dataclasses.replace(PANEL, observed=~hidden)
    made = tiny.backtested(PARAMS, panel)
    low, high = made.point - 1, made.point + np.pi
    low[made.fold < 2] = high[made.fold < 2] = np.nan
    return panel, made, {0.8: (low, high), 0.995: (low - 1, high + 1)}


def same(one: Forecasts, other: Forecasts) -> bool:
    names = [field.name for field in dataclasses.fields(Forecasts)]
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "actual") for name in names)


def test_read_gives_what_was_written_bit_for_bit(tmp_path: Path) -> None:
    panel, made, bounds = gappy()
    path = tmp_path / "out" / "forecasts.parquet"
    forecasts.write(path, panel, made, bounds)
    design = tiny.design(PARAMS, panel)
    found, ends = forecasts.read(path, design, panel, design.origin_table(panel))
    assert same(found, made)
    assert list(ends) == [0.8, 0.995]
    for level, pair in bounds.items():
        for part, wanted in zip(ends[level], pair, strict=True):
            assert np.array_equal(part, wanted, equal_nan=True)
    for field in dataclasses.fields(Forecasts):
        kind, wanted_kind = (getattr(part, field.name).dtype for part in (found, made))
        assert kind == wanted_kind, field.name


def test_write_makes_one_row_for_each_origin_and_step(tmp_path: Path) -> None:
    panel, made, bounds = gappy()
    path = tmp_path / "forecasts.parquet"
    forecasts.write(path, panel, made, bounds)
    table = pq.read_table(path)
    assert table.column_names == [
        *("fold", "series_id", "origin", "origin_row", "step", "actual", "point", "naive"),
        *("low_80", "high_80", "low_99.5", "high_99.5"),
    ]
    assert table.num_rows == made.origins.size * HORIZON
    row = table.slice(10 * HORIZON + 2, 1).to_pylist()[0]
    origin = made.origins[10]
    assert row["series_id"] == panel.ids[panel.series[origin]]
    assert np.datetime64(row["origin"], "s") == panel.times[origin]
    assert (row["step"], row["fold"]) == (3, made.fold[10])
    assert row["point"] == made.point[10, 2]
    assert row["naive"] == made.naive[10, 2]


def test_read_of_a_missing_table_says_how_to_make_it(tmp_path: Path) -> None:
    design = tiny.design(PARAMS, PANEL)
    path = tmp_path / "forecasts.parquet"
    with pytest.raises(DataError) as caught:
        forecasts.read(path, design, PANEL, design.origin_table(PANEL))
    assert caught.value.message == f"{path} not found: run `dvc repro` to make it, or `dvc pull` to fetch it"


def test_take_gives_some_origins_with_all_that_belongs_to_them() -> None:
    _, made, _ = gappy()
    rows = made.fold == 2
    part = made.take(rows)
    assert part.origins.size == rows.sum() > 0
    assert same(made.take(np.ones(rows.size, bool)), made)
    inputs = made.inputs.reshape(rows.size, HORIZON, -1)
    assert np.array_equal(part.inputs.reshape(rows.sum(), HORIZON, -1), inputs[rows])
    for name in ("fold", "origins", "times", "scale", "point", "naive"):
        assert np.array_equal(getattr(part, name), getattr(made, name)[rows])
    assert np.array_equal(part.actual, made.actual[rows], equal_nan=True)


def small(ids: tuple[str, ...], length: int, start: str) -> Panel:
    return dataclasses.replace(
        tiny.panel((length,) * len(ids)), ids=ids, starts=np.full(len(ids), np.datetime64(start, "s"))
    )


def invented(panel: Panel, origins: NDArray[np.int64], horizon: int, seed: int) -> Forecasts:
    point = np.random.default_rng(seed).random((origins.size, horizon))
    return Forecasts(
        fold=np.zeros(origins.size, np.int64),
        origins=origins,
        times=panel.times[origins],
        inputs=np.zeros((point.size, 1), np.float32),
        scale=np.ones(origins.size),
        actual=point,
        point=point,
        naive=point,
    )


def keyed(panel: Panel, made: Forecasts) -> dict[tuple[str, str, int], float]:
    return {
        (panel.ids[panel.series[origin]], str(panel.times[origin]), step + 1): float(made.point[row, step])
        for row, origin in enumerate(made.origins)
        for step in range(made.point.shape[1])
    }


names = st.lists(st.sampled_from(["a", "b", "1", "01", "Straße 3", "None"]), min_size=1, max_size=4, unique=True)
places = st.sets(st.integers(0, 30), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ours=names, theirs=names, mine=places, others=places, later=st.integers(-20, 20), steps=st.integers(1, 4))
def test_matched_finds_what_a_dictionary_finds(
    tmp_path: Path,
    ours: list[str],
    theirs: list[str],
    mine: set[int],
    others: set[int],
    later: int,
    steps: int,
) -> None:
    """The other table has its own series in its own order, its own range of time, origins and horizon."""
    start = np.datetime64("2024-03-04T00:00", "s")
    here = small(tuple(ours), 40, str(start))
    there = small(tuple(theirs), 40, str(start + np.timedelta64(later, "h")))
    made = invented(here, np.array([40 * series + row for series in range(len(ours)) for row in sorted(mine)]), 3, 1)
    kept = invented(
        there, np.array([40 * series + row for series in range(len(theirs)) for row in sorted(others)]), steps, 2
    )
    path = tmp_path / "theirs.parquet"
    forecasts.write(path, there, kept, {})
    known = keyed(there, kept)
    wanted = [
        [known.get((here.ids[here.series[origin]], str(here.times[origin]), step), np.nan) for step in (1, 2, 3)]
        for origin in made.origins
    ]
    found = forecasts.matched(path, here, made)
    assert np.array_equal(found, np.array(wanted), equal_nan=True)


def test_matched_with_the_same_backtest_is_the_backtest_itself(tmp_path: Path) -> None:
    panel, made, bounds = gappy()
    forecasts.write(tmp_path / "ours.parquet", panel, made, bounds)
    assert np.array_equal(forecasts.matched(tmp_path / "ours.parquet", panel, made), made.point)
