"""The series frame and the features as Parquet files: one row a timestamp, one file each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data import atomic
from data.errors import DataError
from data.features import Design
from data.panel import Panel

Floats = NDArray[np.float64]


def write(path: Path, panel: Panel) -> None:
    """Write a panel: `series_id`, `timestamp`, `target`, `observed`, then the covariates."""
    columns = _keys(panel) | {"target": pa.array(panel.target), "observed": pa.array(panel.observed)}
    _write(path, columns | {name: pa.array(values) for name, values in panel.covariates.items()})


def read(path: Path, step_seconds: int) -> Panel:
    """Read what `write` wrote.

    Raises:
        DataError: there is no such file.
    """
    table = _read(path)
    ids = table["series_id"].combine_chunks()
    code = ids.indices.to_numpy()
    offsets = np.concatenate([[0], np.flatnonzero(np.diff(code)) + 1, [code.size]]).astype(np.int64)
    return Panel(
        ids=tuple(ids.dictionary.to_pylist()),
        offsets=offsets,
        starts=table["timestamp"].to_numpy()[offsets[:-1]].astype("datetime64[s]"),
        step_seconds=step_seconds,
        target=table["target"].to_numpy(),
        observed=table["observed"].to_numpy(),
        covariates={name: table[name].to_numpy() for name in table.column_names[4:]},
    )


def write_features(path: Path, panel: Panel, design: Design) -> Floats:
    """Compute and write everything known at each origin; gives it back (see `Design.origin_table`)."""
    known = design.origin_table(panel)
    columns = {name: pa.array(values) for name, values in zip(design.origin_columns, known, strict=True)}
    _write(path, _keys(panel) | columns)
    return known


def read_features(path: Path, design: Design) -> Floats:
    """Shape (origin columns, rows): what `write_features` wrote.

    Raises:
        DataError: there is no such file.
    """
    table = _read(path)
    return np.stack([table[name].to_numpy() for name in design.origin_columns])


def _keys(panel: Panel) -> dict[str, pa.Array]:
    ids = pa.DictionaryArray.from_arrays(pa.array(panel.series, pa.int32()), pa.array(panel.ids, pa.string()))
    return {"series_id": ids, "timestamp": pa.array(panel.times)}


def _write(path: Path, columns: dict[str, pa.Array]) -> None:
    with atomic.replacing(path) as scratch:
        pq.write_table(pa.table(columns), scratch, compression="zstd")


def _read(path: Path) -> pa.Table:
    if not path.exists():
        raise DataError(f"{path} not found: run `dvc repro` to make it, or `dvc pull` to fetch it")
    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as err:
        raise DataError(
            f"{path} is damaged ({err}): remove it, then `dvc checkout` or `dvc repro` brings it back"
        ) from err
