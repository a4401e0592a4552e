"""The stages as DVC runs them: which files, what is in them, and the same bytes again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from data import frame, store
from data.errors import DataError
from data.forecaster import Forecaster
from tests.training import tiny
from training import backtest, forecasts, importance, intervals, metrics, stages

pytestmark = [pytest.mark.filterwarnings(text) for text in (tiny.BOOLEANS, *tiny.MLFLOW)]

PARAMS = tiny.params()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_backtest_writes_forecasts_figures_curves_and_importance(workspace: Path) -> None:
    panel, design = stages.load(PARAMS)
    made, bounds = forecasts.read(store.FORECASTS, design, panel, frame.read_features(store.FEATURES, design))
    backtested = backtest.run(PARAMS, design, panel, design.origin_table(panel))
    wanted = backtested.forecasts
    assert np.array_equal(made.point, wanted.point)
    spreads = intervals.forward_spread(wanted, PARAMS.train)
    ends = intervals.rolling_bounds(wanted, spreads, (0.8, 0.95), 28 * 86_400, nonnegative=True)
    for level, pair in ends.items():
        for part, end in zip(bounds[level], pair, strict=True):
            assert np.array_equal(part, end, equal_nan=True)
    figures = json.loads((workspace / store.BACKTEST_METRICS).read_text())
    assert set(figures.pop("cost")) == {"seconds", "cpu_seconds", "peak_memory_bytes"}
    assert figures == pytest.approx(metrics.summary(wanted, ends), rel=1e-5)
    rows = read(store.BY_STEP)
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert float(rows[2]["mae"]) == pytest.approx(metrics.by_step(wanted, ends)[2]["mae"], rel=1e-5)
    rises = {row["column"]: float(row["rise"]) for row in read(store.IMPORTANCE)}
    found = importance.by_column(design, backtested, PARAMS.train.seed)
    assert rises == pytest.approx(found, rel=1e-5)
    assert list(rises) == list(found)


def test_train_writes_the_model_and_figures(workspace: Path) -> None:
    forecaster = Forecaster.load(workspace / store.MODEL)
    assert {path.name for path in store.MODEL.iterdir()} == {"model.onnx", "forecaster.json", "examples.json"}
    assert [example.request["inputs"][0]["name"] for example in forecaster.examples] == ["shop 0"]
    figures = json.loads(store.TRAIN_METRICS.read_text())
    assert figures["rows"] == forecaster.card.training_rows
    assert figures["columns"] == len(forecaster.card.columns)
    assert figures["onnx_bytes"] == (store.MODEL / "model.onnx").stat().st_size
    assert 0 <= figures["parity"] <= 1e-5 < figures["parity_rows"]
    assert figures["cost"]["seconds"] > 0


@pytest.mark.usefixtures("workspace")
def test_train_keeps_the_table_out_of_the_model_unless_examples_are_asked_for() -> None:
    stages.train(tiny.params({"train": {"examples": 0}}))
    assert {path.name for path in store.MODEL.iterdir()} == {"model.onnx", "forecaster.json"}
    assert Forecaster.load(store.MODEL).examples == ()


@pytest.mark.usefixtures("workspace")
def test_stages_write_the_same_bytes_again() -> None:
    """What DVC keeps is worth keeping only if it is not made anew for nothing."""
    paths = [store.FORECASTS, store.BY_STEP, store.IMPORTANCE, *sorted(store.MODEL.iterdir())]
    before = [path.read_bytes() for path in paths]
    figures = stages.backtest(PARAMS)
    stages.train(PARAMS)
    assert [path.read_bytes() for path in paths] == before
    assert 0 < figures["mae_ratio"] < 1


@pytest.mark.usefixtures("workspace")
def test_a_stage_that_fails_leaves_what_was_there() -> None:
    before = {path: path.read_bytes() for path in sorted(store.OUT.rglob("*")) if path.is_file()}
    with pytest.raises(DataError, match="too short for 9 folds"):
        stages.backtest(tiny.params({"backtest": {"folds": 9}}))
    store.FORECASTS.unlink()
    with pytest.raises(DataError, match=r"forecasts\.parquet not found: run `dvc repro`"):
        stages.train(PARAMS)
    del before[store.FORECASTS]
    assert {path: path.read_bytes() for path in sorted(store.OUT.rglob("*")) if path.is_file()} == before


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("path", [store.SERIES, store.FEATURES])
def test_stages_say_which_file_is_missing(path: Path) -> None:
    path.unlink()
    for stage in (stages.backtest, stages.train):
        with pytest.raises(DataError) as caught:
            stage(PARAMS)
        assert caught.value.message == f"{path} not found: run `dvc repro` to make it, or `dvc pull` to fetch it"
