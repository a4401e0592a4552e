"""Work B inside a peer: one series in, point and quantiles out, with the project's own feature code.

Runs in the peer's own process and virtual environment, which has numpy, pydantic and PyYAML; how the
trees are evaluated (scikit-learn, onnxruntime) is the peer's affair.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from data.declaration import Declaration
from data.features import Design
from data.panel import Panel

Floats = NDArray[np.float64]
#: Input rows to the scaled point and spread of each row.
Trees = Callable[[NDArray[np.float32]], tuple[NDArray[np.floating], NDArray[np.floating]]]

#: As in `data.forecaster`, which cannot be imported where onnxruntime is not installed.
SPREAD_FLOOR = 0.01


class Series(BaseModel):
    """What a client sends: a history, and what is known over the horizon."""

    start_timestamp: str  # MLflow gives a type hint no text for a datetime
    series: list[float]
    past_covariates: dict[str, list[float]]
    future_covariates: dict[str, list[float]]
    quantiles: list[float]


class Answer(BaseModel):
    """What it gets: a number for each step, and as many for each quantile."""

    mean: list[float]
    quantiles: dict[str, list[float]]


class Forecasting:
    """The forecaster of a folder that `loadtests.peers.prepare` made.

    Args:
        card: its `forecaster.json`.
        trees: evaluates point and spread.
    """

    def __init__(self, card: Path, trees: Trees) -> None:
        told = json.loads(card.read_text(encoding="utf-8"))
        self._design = Design(Declaration.model_validate(told["declaration"]), told["scale_floor"])
        self._levels = told["calibration"]["levels"]
        self._table = told["calibration"]["quantiles"]
        self._trees = trees

    def __call__(self, asked: Series) -> Answer:
        """Features, trees, quantiles."""
        panel = self._panel(asked)
        origin = np.array([len(asked.series) - 1])
        rows = self._design.rows(panel, origin, self._design.origin_rows(panel, origin))
        point, spread = self._trees(rows.inputs)
        scale = rows.scale[0]
        point, spread = self._clipped(point * scale), np.maximum(spread, SPREAD_FLOOR) * scale
        bounds = {str(level): self._clipped(point + spread * self._at(level)).tolist() for level in asked.quantiles}
        return Answer(mean=point.tolist(), quantiles=bounds)

    def _at(self, level: float) -> Floats:
        return np.array([np.interp(level, self._levels, row) for row in self._table])

    def _clipped(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.maximum(values, 0.0) if self._design.declaration.series.nonnegative else values

    def _panel(self, asked: Series) -> Panel:
        """The history, and room for the horizon."""
        size, ahead = len(asked.series), self._design.horizon
        unknown = np.full(size, np.nan)
        covariates = {
            name: np.concatenate([asked.past_covariates.get(name, unknown), values])
            for name, values in asked.future_covariates.items()
        }
        return Panel(
            ids=("series",),
            offsets=np.array([0, size + ahead]),
            starts=np.array([asked.start_timestamp], dtype="datetime64[s]"),
            step_seconds=self._design.declaration.series.step_seconds,
            target=np.concatenate([asked.series, np.full(ahead, np.nan)]),
            observed=np.ones(size + ahead, dtype=np.bool_),
            covariates=covariates,
        )


def with_scikit_learn(folder: Path) -> Forecasting:
    """The forecaster of a folder with `forecaster.json` and the two pickled models."""
    import joblib

    point, spread = (joblib.load(folder / f"{name}.joblib") for name in ("point", "spread"))
    return Forecasting(folder / "forecaster.json", lambda inputs: (point.predict(inputs), spread.predict(inputs)))
