"""The figures by which accuracy is judged, on UCI's bike-sharing hours: one table, one command.

Everything is fitted, tuned and calibrated on the first 80 % of the hours; then 24 steps are forecast
from every 6th hour of the rest, without a refit, through the exported ONNX model.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import ingest, schema
from data.declaration import Declaration
from data.features import Design, scale_floor
from data.forecaster import Forecaster, save
from data.params import Params, Series
from data.sources import uci_bike_sharing
from training import backtest, estimator, metrics, train

CALENDAR = ("holiday", "workingday")
VARIANTS = {
    "weather known ahead": ("temp", "atemp", "hum", "windspeed", "weathersit", *CALENDAR),
    "calendar only": CALENDAR,
}
TRAINING_SHARE = 0.8
STRIDE = 6


class Figures(NamedTuple):
    """One variant's row of the table."""

    variant: str
    mae: float
    naive_mae: float
    coverage: dict[float, float]
    parity: float
    parity_rows: int
    seconds: float


def measure(table: Path, params: Params, work: Path, variant: str, covariates: tuple[str, ...]) -> Figures:
    """Fit on the first 80 % of the hours of a bike-sharing file and score the rest.

    Args:
        table: UCI's hour.csv.
        params: the project's configuration; its series section is replaced by the file's columns.
        work: a folder for the exported model.
        variant: a name.
        covariates: which of the file's columns are known ahead.
    """
    began = time.perf_counter()
    series = Series(
        timestamp="timestamp",
        target="cnt",
        frequency="1h",
        nonnegative=True,
        covariates={"future": covariates},
        gaps={"target": "zero", "covariates": "forward"},
    )
    params = params.model_copy(update={"series": series})
    whole, _ = ingest.to_panel(schema.check(uci_bike_sharing.parse(table), series), series)
    last = int(whole.target.size * TRAINING_SHARE) - 1
    past = whole.until(whole.times[last])
    design = Design(Declaration(series=series, features=params.features), scale_floor(past))
    known = design.origin_table(past)
    trained = train.run(params, design, past, known, backtest.run(params, design, past, known).forecasts)
    save(work / variant, trained.card, trained.onnx)
    forecaster = Forecaster.load(work / variant)
    origins = np.arange(last, whole.target.size - design.horizon, STRIDE)
    forecast = forecaster.forecast(whole, origins)
    actual = estimator.actuals(whole, origins, design.horizon)
    naive = backtest.seasonal_naive(whole, origins, design.horizon, backtest.naive_season(params.backtest, design))
    coverage = {
        level: metrics.coverage(
            actual, *(forecaster.quantile(forecast, edge) for edge in ((1 - level) / 2, (1 + level) / 2))
        )
        for level in (0.8, 0.95)
    }
    return Figures(
        variant=variant,
        mae=float(np.abs(forecast.point - actual).mean()),
        naive_mae=float(np.abs(naive - actual).mean()),
        coverage=coverage,
        parity=trained.parity.relative,
        parity_rows=trained.parity.rows,
        seconds=time.perf_counter() - began,
    )


def render(rows: list[Figures]) -> str:
    """The table, as Markdown."""
    lines = [
        "| variant | MAE | seasonal naive | in 80 % | in 95 % | ONNX parity (rows) | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    lines.extend(
        f"| {row.variant} | {row.mae:.2f} | {row.naive_mae:.2f} | {row.coverage[0.8]:.1%} | {row.coverage[0.95]:.1%} "
        f"| {row.parity:.1e} ({row.parity_rows}) | {row.seconds:.0f} |"
        for row in rows
    )
    return "\n".join(lines)
