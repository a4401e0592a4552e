"""Stage `ingest`: a user's table in, the checked series frame without gaps out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from data import durations, gaps, invariants, schema, sources
from data.errors import DataError
from data.panel import Panel
from data.params import Gap, Params, Series

Found = dict[str, float | str | dict[str, dict[str, float]]]


def run(params: Params) -> tuple[Panel, Found]:
    """Read the source, check it, fill its gaps.

    Raises:
        SourceError: the source cannot be read.
        DataError: the table does not keep to the declared schema.
    """
    raw = sources.read(params.series, params.ingest)
    return to_panel(schema.check(raw, params.series), params.series)


def to_panel(table: pd.DataFrame, series: Series) -> tuple[Panel, Found]:
    """Put a checked table on its grid, from each series' first to its last value, and fill the gaps.

    Args:
        table: as `schema.check` returns it.
        series: the declaration.

    Returns:
        The panel, and figures about it (rows, series, share of rows filled, first and last time, and what the values
        of each column are, to set limits by).

    Raises:
        DataError: a column is missing more often, or stays the same for longer, than its limits allow.
    """
    table = _between_first_and_last_value(table)
    ids, code = np.unique(table["series_id"].to_numpy(dtype=object), return_inverse=True)
    seconds = table["timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64)
    begins = np.flatnonzero(np.diff(code, prepend=-1))
    starts = seconds[begins]
    place = (seconds - starts[code]) // series.step_seconds
    lengths = np.append(place[begins[1:] - 1], place[-1]) + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = offsets[code] + place

    def on_grid(column: str) -> np.ndarray:
        values = np.full(offsets[-1], np.nan)
        values[rows] = table[column].to_numpy()
        return values

    raw = {name: on_grid(name) for name in series.columns}
    columns = {
        column: _within_limits(raw[name], column, series, ids, offsets) for name, column in series.columns.items()
    }

    def covariate(name: str) -> np.ndarray:
        values = raw[name]
        if series.gaps.covariates == "forward":
            _back(values, offsets, name, ids)
        return _filled(values, offsets, series.gaps.covariates)

    target = raw["target"]
    missing = np.isnan(target)
    panel = Panel(
        ids=tuple(map(str, ids)),
        offsets=offsets,
        starts=starts.astype("datetime64[s]"),
        step_seconds=series.step_seconds,
        target=_filled(target, offsets, series.gaps.target),
        observed=~missing if series.gaps.target != "zero" else np.ones(target.size, bool),
        covariates={name: covariate(name) for name in series.covariates.names},
    )
    times = panel.times
    found: Found = {
        "series": len(panel),
        "rows": int(target.size),
        "filled_rows": int(missing.sum()),
        "filled_share": round(float(missing.mean()), 6),
        "target_mean": round(float(panel.target.mean()), 6),
        "first": str(times.min()),
        "last": str(times.max()),
        "columns": columns,
    }
    return panel, found


def _within_limits(
    values: np.ndarray, column: str, series: Series, ids: np.ndarray, offsets: np.ndarray
) -> dict[str, float]:
    """What the values of a column are, before gaps are filled; refused where that breaks its limits."""
    limits, found = series.limits_of(column), []
    for name, (start, stop) in zip(ids, itertools.pairwise(offsets), strict=True):
        part = values[start:stop]
        lengths = invariants.runs(part, np.zeros(1, np.int64))
        share, longest = float(np.isnan(part).mean()), int(lengths.max())
        found.append((share, longest))
        if limits.missing is not None and share > limits.missing:
            raise DataError(
                f"column {column!r} is missing in {share:.2%} of series {name!r}, wanted at most {limits.missing:.2%} "
                f"(params.yaml says series.limits.{column}.missing): complete the table, or raise the limit",
                param=column,
            )
        if limits.constant is not None and longest * series.step_seconds > durations.seconds(limits.constant):
            run = int(lengths.argmax())
            raise DataError(
                f"column {column!r} of series {name!r} stays at {part[lengths[:run].sum()]:g} for {longest} rows, from row "
                f"{lengths[:run].sum() + 1} of the series on, wanted at most {limits.constant} "
                f"(params.yaml says series.limits.{column}.constant): empty the cells if a sensor was stuck, or raise the "
                "limit",
                param=column,
            )
    known = values[~np.isnan(values)]
    ends = {"low": round(float(known.min()), 6), "high": round(float(known.max()), 6)} if known.size else {}
    return {
        **ends,
        "missing": round(max(share for share, _ in found), 6),
        "constant_steps": max(longest for _, longest in found),
    }


def _between_first_and_last_value(table: pd.DataFrame) -> pd.DataFrame:
    """Drop the rows of each series before its first and after its last value."""
    known = table["target"].notna()
    place = pd.Series(np.arange(len(table)), index=table.index)
    by_series = place.where(known).groupby(table["series_id"], sort=False)
    inside = (place >= by_series.transform("min")) & (place <= by_series.transform("max"))
    return table[inside].reset_index(drop=True)


def _filled(values: np.ndarray, offsets: np.ndarray, rule: Gap) -> np.ndarray:
    if not np.isnan(values).any():
        return values
    parts = [gaps.fill(values[start:stop], rule) for start, stop in itertools.pairwise(offsets)]
    return np.concatenate(parts)


def _back(values: np.ndarray, offsets: np.ndarray, name: str, ids: np.ndarray) -> None:
    """Give a covariate that is missing at a series' start its first known value."""
    for series, (start, stop) in zip(ids, itertools.pairwise(offsets), strict=True):
        if np.isnan(values[start]):
            known = np.flatnonzero(~np.isnan(values[start:stop]))
            if not known.size:
                raise DataError(
                    f"column {name!r} is missing between the first and last target value of series {series!r}, "
                    "wanted at least one value there: fill it in, or remove the column from params.yaml",
                    param=name,
                )
            values[start] = values[start + known[0]]
