"""Figures of forecasts against actuals; NaN actuals are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.forecasts import Bounds, Forecasts

Floats = NDArray[np.float64]


def summary(forecasts: Forecasts, intervals: Bounds) -> dict[str, float]:
    """Figures over all rows.

    Returns:
        `mae`, `rmse`, `bias` (forecast - actual) in the target's unit; `wape` = sum of absolute errors
        over sum of absolute actuals; `naive_mae`; `mae_ratio` = mae / naive_mae; and per level
        `coverage_80` (share inside) and `width_80` (mean width over mean actual).
    """
    error = forecasts.point - forecasts.actual
    size = _mean(np.abs(forecasts.actual))
    mae = _mean(np.abs(error))
    naive = _mean(np.abs(forecasts.naive - forecasts.actual))
    figures = {
        "mae": mae,
        "rmse": np.sqrt(_mean(error**2)),
        "bias": _mean(error),
        "wape": mae / size if size else np.nan,
        "naive_mae": naive,
        "mae_ratio": mae / naive if naive else np.nan,
    }
    for level, (low, high) in intervals.items():
        figures[f"coverage_{level * 100:g}"] = coverage(forecasts.actual, low, high)
        figures[f"width_{level * 100:g}"] = _mean(high - low) / size if size else np.nan
    return {name: float(value) for name, value in figures.items()}


def coverage(actual: Floats, low: Floats, high: Floats) -> float:
    """Share of the actuals that lie inside, among those with an actual and an interval; NaN if none."""
    known = ~(np.isnan(actual) | np.isnan(low))
    return float(np.mean((actual >= low)[known] & (actual <= high)[known])) if known.any() else float("nan")


def by_step(forecasts: Forecasts, intervals: Bounds) -> list[dict[str, Any]]:
    """One row a step: MAE of the model and of the naive forecast, and the coverage of each level."""
    error, naive = np.abs(forecasts.point - forecasts.actual), np.abs(forecasts.naive - forecasts.actual)
    rows = []
    for step in range(error.shape[1]):
        row: dict[str, Any] = {
            "step": step + 1,
            "mae": _mean(error[:, step]),
            "naive_mae": _mean(naive[:, step]),
        }
        for level, (low, high) in intervals.items():
            inside = coverage(forecasts.actual[:, step], low[:, step], high[:, step])
            row[f"coverage_{level * 100:g}"] = inside
        rows.append(row)
    return rows


def _mean(values: Floats) -> float:
    """Mean of what is known; NaN if nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
