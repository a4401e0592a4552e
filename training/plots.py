"""Pictures of a backtest for people: forecast against actual with its interval, errors and coverage by step."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from data.features import Design
from data.panel import Panel
from training.forecasts import Bounds, Forecasts

INK, MODEL, NAIVE, BAND = "#222222", "#1f6feb", "#b0b7c0", "#1f6feb"
DAYS_SHOWN = 7


def draw(
    panel: Panel,
    design: Design,
    forecasts: Forecasts,
    bounds: Bounds,
    steps: list[dict[str, float]],
    importance: dict[str, float],
) -> Iterator[tuple[str, Figure]]:
    """Each picture with its file name."""
    mpl.use("Agg")
    yield "forecast.png", _forecast(panel, design, forecasts, bounds)
    yield "error_by_step.png", _error_by_step(steps)
    yield "coverage_by_step.png", _coverage_by_step(steps, bounds)
    yield "importance.png", _importance(importance)


def _forecast(panel: Panel, design: Design, forecasts: Forecasts, bounds: Bounds) -> Figure:
    """The last week of the last fold, for up to three series: day-ahead forecasts put end to end."""
    last = forecasts.fold == forecasts.fold.max()
    volume = {
        place: np.nansum(forecasts.actual[last & (panel.series[forecasts.origins] == place)])
        for place in np.unique(panel.series[forecasts.origins[last]])
    }
    shown = sorted(volume, key=lambda place: -volume[place])[:3]
    figure = Figure(figsize=(11, 2.6 * len(shown)), layout="constrained")
    for axes, series in zip(np.atleast_1d(figure.subplots(len(shown), 1)), shown, strict=True):
        own = np.flatnonzero(last & (panel.series[forecasts.origins] == series))
        picked = _end_to_end(forecasts.origins[own], design.horizon)[
            -max(1, DAYS_SHOWN * 86_400 // (design.horizon * panel.step_seconds)) :
        ]
        rows = own[picked]
        at = (forecasts.origins[rows][:, None] + np.arange(1, design.horizon + 1)).ravel()
        times = panel.times[at]
        for level, (low, high) in sorted(bounds.items(), reverse=True):
            alpha = 0.15 if level > 0.9 else 0.25
            axes.fill_between(
                times,
                low[rows].ravel(),
                high[rows].ravel(),
                color=BAND,
                alpha=alpha,
                lw=0,
                label=f"{level * 100:g}% interval",
            )
        axes.plot(times, forecasts.naive[rows].ravel(), color=NAIVE, lw=1, label="seasonal naive")
        axes.plot(times, forecasts.point[rows].ravel(), color=MODEL, lw=1.6, label="forecast")
        axes.plot(times, forecasts.actual[rows].ravel(), color=INK, lw=1, label="actual")
        axes.set_title(f"series {panel.ids[series]}", loc="left", fontsize=10, parse_math=False)
        axes.margins(x=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=5, fontsize=8, frameon=False)
    return figure


def _end_to_end(origins: np.ndarray, horizon: int) -> np.ndarray:
    """Places of origins whose horizons follow each other without overlap, the last one last."""
    chosen: list[int] = []
    for place in range(origins.size - 1, -1, -1):
        if not chosen or origins[chosen[-1]] - origins[place] >= horizon:
            chosen.append(place)
    return np.array(chosen[::-1])


def _error_by_step(steps: list[dict[str, float]]) -> Figure:
    figure, axes = _single("mean absolute error", "steps ahead")
    at = [row["step"] for row in steps]
    axes.plot(at, [row["naive_mae"] for row in steps], color=NAIVE, marker="o", ms=3, label="seasonal naive")
    axes.plot(at, [row["mae"] for row in steps], color=MODEL, marker="o", ms=3, label="model")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def _coverage_by_step(steps: list[dict[str, float]], bounds: Bounds) -> Figure:
    figure, axes = _single("share of actuals inside", "steps ahead")
    for level in sorted(bounds):
        axes.axhline(level, color=NAIVE, lw=1)
        values = [row[f"coverage_{level * 100:g}"] for row in steps]
        axes.plot([row["step"] for row in steps], values, marker="o", ms=3, label=f"{level * 100:g}% interval")
    axes.set_ylim(0.5, 1.0)
    if bounds:
        axes.legend(frameon=False, loc="lower right")
    return figure


def _importance(importance: dict[str, float]) -> Figure:
    figure = Figure(figsize=(8, 0.24 * len(importance) + 1), layout="constrained")
    axes = figure.subplots()
    names = list(importance)[::-1]
    axes.barh(range(len(names)), [importance[name] for name in names], color=MODEL)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("rise of the last fold's scaled absolute error when the column is shuffled")
    axes.tick_params(labelsize=8)
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _single(ylabel: str, xlabel: str) -> tuple[Figure, mpl.axes.Axes]:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
