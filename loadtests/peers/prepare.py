"""`python -m loadtests.peers.prepare FOLDER`: the models and the questions that every server is given.

Runs in the project's virtual environment. The sample table and every seed are fixed. A folder a work:

    rows/      model.onnx forecaster.json  point.joblib point.onnx            work A, 18 columns
    forecast/  model.onnx forecaster.json  point.joblib spread.joblib         work B, the default features

and beside them `question.json` (what is asked) and `answer.json` (what scikit-learn says to it). How
good the models are is no matter here, so the spread is fitted on the errors of the training itself.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from data import command, forecaster, params, schema
from data.declaration import Declaration
from data.features import Design, scale_floor
from data.forecaster import Bins, Calibration, Card, Reference
from data.ingest import to_panel
from data.panel import Panel
from data.params import Features, Params
from data.sources import sample
from loadtests.peers import forecasting
from training import estimator, export, intervals

Floats = NDArray[np.float64]

#: Features of work A: 18 columns without any covariate.
EIGHTEEN = Features(
    horizon=24,
    scale="7d",
    lags=(1, 2, 3),
    seasonal_lags=("1d", "7d", "14d"),
    moving_averages=("1h", "3h", "6h", "1d", "7d"),
    rolling_spread=("1d", "7d"),
    calendar=("hour", "day_of_week", "hour_of_week", "is_weekend"),
    covariates="ignore",
)
ROWS, HISTORY, SERIES = 24, 768, 256
#: Enough for 300 full trees; more would only take longer.
MAX_ROWS = 40_000
QUANTILES = [0.1, 0.5, 0.9]


def main(argv: list[str]) -> None:
    """Make both works."""
    folder = Path(argv[0])
    declared = params.load()
    panel = _panel(declared)
    _rows(folder / "rows", declared, panel)
    _forecast(folder / "forecast", declared, panel)


def _panel(declared: Params) -> Panel:
    table = sample.generate(params.Sample())
    return to_panel(schema.check(table.astype({declared.series.target: float}), declared.series), declared.series)[0]


def _rows(folder: Path, declared: Params, panel: Panel) -> None:
    design = Design(Declaration(series=declared.series, features=EIGHTEEN), scale_floor(panel))
    assert len(design.names) == 18, design.names
    point, _ = _train(folder, declared, design, panel)
    joblib.dump(point, folder / "point.joblib")
    whole = onnx.load(folder / forecaster.ONNX_FILE)
    onnx.save(onnx.utils.Extractor(whole).extract_model(["features"], ["point"]), folder / "point.onnx")
    origins = panel.offsets[1:2] - 1 - design.horizon
    matrix = design.rows(panel, origins, design.origin_rows(panel, origins)).inputs[:ROWS]
    _write(folder, matrix.tolist(), [point.predict(matrix).tolist()])


def _forecast(folder: Path, declared: Params, panel: Panel) -> None:
    design = Design(Declaration(series=declared.series, features=declared.features), scale_floor(panel))
    assert design.context <= HISTORY, design.context
    for name, model in zip(("point", "spread"), _train(folder, declared, design, panel), strict=True):
        joblib.dump(model, folder / f"{name}.joblib")
    answer = forecasting.with_scikit_learn(folder)
    questions = list(_questions(design, panel))
    made = [answer(forecasting.Series.model_validate(question)) for question in questions]
    _write(folder, questions, [[one.mean, *one.quantiles.values()] for one in made])


def _train(
    folder: Path, declared: Params, design: Design, panel: Panel
) -> tuple[HistGradientBoostingRegressor, HistGradientBoostingRegressor]:
    """Fit point and spread by the project's own code, and write the exported forecaster."""
    origins = estimator.training_origins(design, panel, MAX_ROWS)
    inputs, scale = design.rows(panel, origins, design.origin_rows(panel, origins))
    target = (estimator.actuals(panel, origins, design.horizon) / scale[:, None]).ravel()
    command.say(f"prepare: {folder.name}: fitting on {inputs.shape[0]} rows of {inputs.shape[1]} columns")
    trees = declared.train.point.model_copy(update={"max_iter": 300, "max_leaf_nodes": 31})
    point = estimator.fit(inputs, target, trees, declared.train.seed)
    error = target - point.predict(inputs)
    spread = estimator.fit(inputs, np.abs(error), declared.train.spread, declared.train.seed)
    quotient = error / np.maximum(spread.predict(inputs), forecaster.SPREAD_FLOOR)
    made = export.export(point, spread)
    card = Card(
        onnx_sha256=hashlib.sha256(made).hexdigest(),
        declaration=design.declaration,
        columns=tuple(design.names),
        scale_floor=design.floor,
        calibration=_calibration(quotient.reshape(-1, design.horizon)),
        reference=Reference(features={}, forecast=Bins(edges=(0.0,), shares=(0.5, 0.5))),
        trained_from=str(panel.times.min()),
        trained_until=str(panel.times.max()),
        training_rows=int(inputs.shape[0]),
    )
    forecaster.save(folder, card, made)
    return point, spread


def _calibration(quotient: Floats) -> Calibration:
    table = np.nanquantile(quotient, intervals.LEVELS, axis=0).T
    return Calibration(levels=intervals.LEVELS, quantiles=tuple(tuple(map(float, row)) for row in table))


def _questions(design: Design, panel: Panel) -> Iterator[dict[str, Any]]:
    """Histories of many series, each from another origin, as `data.example` cuts one."""
    for turn in range(SERIES):
        place = turn % len(panel)
        origin = int(panel.offsets[place + 1]) - 1 - design.horizon - turn
        history, ahead = slice(origin - HISTORY + 1, origin + 1), slice(origin + 1, origin + 1 + design.horizon)
        yield {
            "start_timestamp": str(panel.times[history.start]),
            "series": panel.target[history].tolist(),
            "past_covariates": {name: _numbers(panel.covariates[name][history]) for name in design.past},
            "future_covariates": {name: _numbers(panel.covariates[name][ahead]) for name in design.future},
            "quantiles": QUANTILES,
        }


def _numbers(values: Floats) -> list[float]:
    return [float(f"{value:.12g}") for value in values]


def _write(folder: Path, question: Any, answer: Any) -> None:
    (folder / "question.json").write_text(json.dumps(question), encoding="utf-8")
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
