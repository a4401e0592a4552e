"""Where each stage finds what the stage before it made. DVC versions these files; git ignores them."""

from __future__ import annotations

from pathlib import Path

OUT = Path("out")
SERIES = OUT / "series.parquet"
INGEST = OUT / "ingest.json"
FEATURES = OUT / "features.parquet"
FORECASTS = OUT / "forecasts.parquet"
BACKTEST_METRICS = OUT / "backtest.json"
BY_STEP = OUT / "by_step.csv"
IMPORTANCE = OUT / "importance.csv"
MODEL = OUT / "model"
TRAIN_METRICS = OUT / "train.json"
PROMOTE = OUT / "promote.json"
