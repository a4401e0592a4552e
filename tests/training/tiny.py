"""A tiny town: a few hourly series of some weeks, and a configuration that a stage gets through in a second."""

from __future__ import annotations

from typing import Any

import numpy as np

from data import frame, store
from data.declaration import Declaration
from data.features import Design, scale_floor
from data.panel import Panel
from data.params import Params, parse
from training import backtest
from training.forecasts import Forecasts

#: skl2onnx hands booleans to protobuf as integers, which protobuf 7.34 will refuse (pyproject.toml keeps it under 7).
BOOLEANS = "ignore:Field onnx.AttributeProto.ints. Expected an int, got a boolean:DeprecationWarning"
#: What MLflow 3.17 itself does that newer libraries warn of.
MLFLOW = ["ignore:The ``noload`` loader strategy is deprecated", "ignore:.*Any type hint is inferred as AnyType"]
#: What BentoML 1.4.39 itself does that newer libraries warn of.
BENTOML = ["ignore:GitWildMatchPattern"]
HOUR = 3_600
TREES = {"max_iter": 10, "learning_rate": 0.3, "max_leaf_nodes": 8, "min_samples_leaf": 20, "max_features": 1.0}
CONFIG: dict[str, Any] = {
    "series": {
        "id": "shop",
        "timestamp": "hour",
        "target": "sales",
        "frequency": "1h",
        "nonnegative": True,
        "covariates": {"future": ["rain"]},
    },
    "ingest": {"source": "csv", "path": "sales.csv"},
    "features": {
        "horizon": 6,
        "scale": "1d",
        "lags": [1, 2],
        "seasonal_lags": ["1d"],
        "moving_averages": ["1h", "6h"],
        "rolling_spread": ["6h"],
        "calendar": ["hour", "is_weekend"],
    },
    "backtest": {"folds": 4, "fold": "3d", "every": "3d", "stride": 3, "season": "1d", "levels": [0.8, 0.95]},
    "train": {
        "max_rows": 2_000,
        "half_life": "28d",
        "examples": 1,
        "point": TREES,
        "spread": {**TREES, "loss": "squared_error"},
    },
    "promote": {"experiment": "town", "gate": {"min_days": 10, "coverage_tolerance": 0.2}},
}


def params(changes: dict[str, Any] | None = None) -> Params:
    """The configuration, with some values changed: `{"train": {"seed": 1}}`."""
    return parse(_merged(CONFIG, changes or {}))


def panel(lengths: tuple[int, ...] = (576, 576), *, seed: int = 0, noise: float = 0.1) -> Panel:
    """Series with a daily rhythm, fewer sales in the rain, and noise; the first is large, the last is small."""
    draw = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    hours = np.concatenate([np.arange(length) for length in lengths])
    rain = (draw.random(hours.size) < 0.2).astype(np.float64)
    level = np.repeat([200.0 / (1 + place) ** 2 for place in range(len(lengths))], lengths)
    rhythm = 1 + 0.6 * np.sin(2 * np.pi * hours / 24)
    return Panel(
        ids=tuple(f"shop {place}" for place in range(len(lengths))),
        offsets=offsets,
        starts=np.full(len(lengths), np.datetime64("2024-03-04T00:00", "s")),
        step_seconds=HOUR,
        target=level * rhythm * (1 - 0.4 * rain) * np.exp(noise * draw.standard_normal(hours.size)),
        observed=np.ones(hours.size, bool),
        covariates={"rain": rain},
    )


def design(config: Params, series: Panel) -> Design:
    """The features that a configuration declares."""
    return Design(Declaration(series=config.series, features=config.features), scale_floor(series))


def backtested(config: Params, series: Panel) -> Forecasts:
    """The backtest of a configuration, in memory."""
    made = design(config, series)
    return backtest.run(config, made, series, made.origin_table(series)).forecasts


def write_features(config: Params, series: Panel) -> None:
    """Put into `out/` what the room before this one hands over."""
    frame.write(store.SERIES, series)
    frame.write_features(store.FEATURES, series, design(config, series))


def _merged(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merged(whole[key], value) if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
        for key, value in changes.items()
    }
    return whole | nested
