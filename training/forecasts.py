"""Out-of-sample forecasts of a backtest: in memory, and as the table that later stages and the gate read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data import atomic
from data.errors import DataError
from data.features import Design
from data.panel import Panel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Times = NDArray[np.datetime64]
#: Lower and upper ends of intervals by level, each of shape (origins, horizon).
Bounds = dict[float, tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Out-of-sample forecasts, one row an origin and one column a step, in the target's unit.

    Attributes:
        fold: shape (origins,), which cut each belongs to, oldest first.
        origins: shape (origins,), rows of the panel.
        times: shape (origins,), datetime64[s], the time of each origin.
        inputs: shape (origins * horizon, columns), the model's input.
        scale: shape (origins,).
        actual: shape (origins, horizon), NaN where nothing was observed.
        point: shape (origins, horizon).
        naive: shape (origins, horizon), the seasonal naive forecast.
    """

    fold: Integers
    origins: Integers
    times: Times
    inputs: NDArray[np.float32]
    scale: Floats
    actual: Floats
    point: Floats
    naive: Floats

    def take(self, rows: NDArray[np.bool_]) -> Forecasts:
        """The forecasts of some origins."""
        horizon = self.actual.shape[1]
        inputs = self.inputs.reshape(rows.size, horizon, -1)[rows].reshape(-1, self.inputs.shape[1])
        parts = (self.scale, self.actual, self.point, self.naive)
        keys = (self.fold[rows], self.origins[rows], self.times[rows])
        return Forecasts(*keys, inputs, *(part[rows] for part in parts))


def write(path: Path, panel: Panel, forecasts: Forecasts, bounds: Bounds) -> None:
    """Write one row for each origin and step."""
    origins, horizon = forecasts.actual.shape
    row = np.repeat(forecasts.origins, horizon)
    ids = pa.DictionaryArray.from_arrays(pa.array(panel.series[row], pa.int32()), pa.array(panel.ids, pa.string()))
    columns = {
        "fold": pa.array(np.repeat(forecasts.fold, horizon)),
        "series_id": ids,
        "origin": pa.array(panel.times[row]),
        "origin_row": pa.array(row),
        "step": pa.array(np.tile(np.arange(1, horizon + 1), origins)),
        "actual": pa.array(forecasts.actual.ravel()),
        "point": pa.array(forecasts.point.ravel()),
        "naive": pa.array(forecasts.naive.ravel()),
    }
    for level, (low, high) in bounds.items():
        columns[f"low_{level * 100:g}"] = pa.array(low.ravel())
        columns[f"high_{level * 100:g}"] = pa.array(high.ravel())
    with atomic.replacing(path) as scratch:
        pq.write_table(pa.table(columns), scratch, compression="zstd")


def read(path: Path, design: Design, panel: Panel, known: Floats) -> tuple[Forecasts, Bounds]:
    """Read what `write` wrote; the model's inputs are computed again."""
    if not path.exists():
        raise DataError(f"{path} not found: run `dvc repro` to make it, or `dvc pull` to fetch it")
    table = pq.read_table(path)

    def column(name: str) -> np.ndarray:
        return np.asarray(table[name]).reshape(-1, design.horizon)

    origins = column("origin_row")[:, 0]
    rows = design.rows(panel, origins, known[:, origins])
    forecasts = Forecasts(
        fold=column("fold")[:, 0],
        origins=origins,
        times=panel.times[origins],
        inputs=rows.inputs,
        scale=rows.scale,
        actual=column("actual"),
        point=column("point"),
        naive=column("naive"),
    )
    levels = [name.removeprefix("low_") for name in table.column_names if name.startswith("low_")]
    return forecasts, {float(level) / 100: (column(f"low_{level}"), column(f"high_{level}")) for level in levels}


def matched(path: Path, panel: Panel, forecasts: Forecasts) -> Floats:
    """Shape (origins, horizon): another backtest's forecasts of the same series, origins and steps, else NaN."""
    keys = ["series_id", "origin", "step"]
    theirs = pd.read_parquet(path, columns=[*keys, "point"]).astype({"series_id": "str"})
    origins, horizon = forecasts.actual.shape
    ours = pd.DataFrame(
        {
            "series_id": np.repeat([panel.ids[place] for place in panel.series[forecasts.origins]], horizon),
            "origin": np.repeat(panel.times[forecasts.origins], horizon),
            "step": np.tile(np.arange(1, horizon + 1), origins),
        }
    )
    return ours.merge(theirs, on=keys, how="left")["point"].to_numpy(np.float64).reshape(origins, horizon)
