"""The stages as DVC runs them: files in, files out. Everything else in this room is free of paths."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data import atomic, cluster, command, durations, example, frame, store
from data.cluster import Each
from data.declaration import Declaration
from data.features import Design, scale_floor
from data.forecaster import save
from data.panel import Panel
from data.params import Params
from training import backtest as backtesting
from training import cost, forecasts, importance, intervals, metrics
from training import train as training


def load(params: Params) -> tuple[Panel, Design]:
    """The panel that `ingest` wrote, and the design of its features.

    Raises:
        DataError: `ingest` has not run.
    """
    panel = frame.read(store.SERIES, params.series.step_seconds)
    declaration = Declaration(series=params.series, features=params.features)
    return panel, Design(declaration, scale_floor(panel))


def backtest(params: Params, each: Each = cluster.here) -> dict[str, float]:
    """Stage `backtest`.

    Args:
        params: the configuration.
        each: where the folds are worked on.
    """
    with cost.measured() as spent:
        panel, design = load(params)
        known = frame.read_features(store.FEATURES, design)
        cuts = backtesting.folds(params.backtest, design, panel)
        with tqdm(total=len(cuts), desc="backtest", unit="fold") as bar:
            backtested = backtesting.run(params, design, panel, known, cuts, cluster.counted(each, bar.update))
        made = backtested.forecasts
        command.say("backtest: ranking the features, calibrating intervals fold by fold")
        rises = importance.by_column(design, backtested, params.train.seed)
        bounds = intervals.rolling_bounds(
            made,
            intervals.forward_spread(made, params.train),
            params.backtest.levels,
            durations.seconds(params.train.half_life),
            nonnegative=params.series.nonnegative,
        )
    figures = metrics.summary(made, bounds)
    forecasts.write(store.FORECASTS, panel, made, bounds)
    _write_csv(store.BY_STEP, metrics.by_step(made, bounds))
    _write_csv(store.IMPORTANCE, [{"column": name, "rise": rise} for name, rise in rises.items()])
    _write_json(store.BACKTEST_METRICS, {**_rounded(figures), "cost": spent})
    return figures


def train(params: Params) -> dict[str, Any]:
    """Stage `train`."""
    with cost.measured() as spent:
        panel, design = load(params)
        known = frame.read_features(store.FEATURES, design)
        made, _ = forecasts.read(store.FORECASTS, design, panel, known)
        trained = training.run(params, design, panel, known, made, command.say)
    figures = {
        "rows": trained.card.training_rows,
        "columns": len(trained.card.columns),
        "onnx_bytes": len(trained.onnx),
        "parity": trained.parity.relative,
        "parity_rows": trained.parity.rows,
        "cost": spent,
    }
    save(store.MODEL, trained.card, trained.onnx, example.examples(params, panel))
    _write_json(store.TRAIN_METRICS, figures)
    return figures


def _write_json(path: Path, content: dict[str, Any]) -> None:
    atomic.write_text(path, json.dumps(content, indent=2) + "\n")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(_rounded(row) for row in rows)
    atomic.write_text(path, text.getvalue())


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Six digits: enough for people, and no noise in a diff."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in figures.items()}
