"""Small real forecasters, the tables they were trained on, and requests made from those tables."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import forecaster as files
from data import ingest, schema
from data.declaration import Declaration
from data.features import Design, scale_floor
from data.forecaster import Calibration, Card, Forecast, Forecaster
from data.panel import Panel
from data.params import Gap, Sample, Trees
from data.sources import sample
from service import forecasting, histories
from service.forecasting import Answer
from service.histories import History, Question
from service.served import Served
from service.settings import Settings
from service.worker import Worker
from training import estimator, export, train

Floats = NDArray[np.float64]

MODEL = "bentocast"
#: A small tree model; accuracy is no matter here.
POINT = Trees(max_iter=10, max_leaf_nodes=15, min_samples_leaf=20, max_features=1.0)
SPREAD = Trees(max_iter=5, max_leaf_nodes=7, min_samples_leaf=20, max_features=1.0)
TRAINING_ROWS = 20_000
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
QUANTILES = (-1.9, -1.4, -0.7, 0.0, 0.8, 1.5, 2.1)
SERIES: dict[str, Any] = {"id": "station", "timestamp": "hour", "target": "rides", "frequency": "1h"}
CITY: dict[str, Any] = {
    "series": SERIES
    | {
        "nonnegative": True,
        "covariates": {"future": ["temperature", "workingday"], "past": ["rain"]},
        "gaps": {"target": "zero", "covariates": "forward"},
    },
    "features": {
        "horizon": 12,
        "scale": "2d",
        "lags": [1, 2],
        "seasonal_lags": ["1d", "2d"],
        "seasonal_means": {"1d": 3},
        "moving_averages": ["1h", "1d"],
        "rolling_spread": ["1d"],
        "matched_means": {
            "match": "workingday",
            "season": "1d",
            "lookback": "4d",
            "counts": [1, 2],
            "ratios": ["1h", "6h"],
            "ratio_count": 2,
        },
        "calendar": ["hour", "is_weekend"],
    },
}
PLAIN: dict[str, Any] = {
    "series": SERIES | {"gaps": {"target": "interpolate"}},
    "features": {
        "horizon": 24,
        "scale": "1d",
        "lags": [1, 3],
        "seasonal_lags": ["1d"],
        "moving_averages": ["3h", "4d"],
        "calendar": ["hour", "day_of_week"],
    },
}


@dataclass(frozen=True, eq=False)
class World:
    """A forecaster, the panel it was trained on, and requests cut out of that panel.

    Attributes:
        forecaster: as `Forecaster.load` gives it.
        panel: as `data.ingest.to_panel` gives it.
        folder: where `model.onnx` and `forecaster.json` lie.
    """

    forecaster: Forecaster
    panel: Panel
    folder: Path

    @cached_property
    def served(self) -> Served:
        """What a worker serves of it."""
        return Served(self.forecaster, model=MODEL, model_version="7", bento="bentocast:abc123")

    def worker(self, **settings: Any) -> Worker:
        """A worker, with some settings other than the usual ones."""
        return Worker.of(self.served, Settings(**settings))

    def ask(self, *given: History, horizon: int | None = None, levels: Sequence[float] = ()) -> Question:
        """What the core makes of some histories."""
        return histories.ask(self.forecaster, given, horizon, levels)

    def answer(self, *given: History, horizon: int | None = None, levels: Sequence[float] = ()) -> Answer:
        """What the core says about some histories."""
        ((answer,), _) = forecasting.answer(self.forecaster, [self.ask(*given, horizon=horizon, levels=levels)])
        return answer

    def features(self, *origins: int) -> NDArray[np.float32]:
        """The model's input rows for some origins of the panel."""
        design, places = self.forecaster.design, np.array(origins)
        return design.rows(self.panel, places, design.origin_rows(self.panel, places)).inputs

    def filling(self, rule: Gap, of: str = "target") -> World:
        """The same model with another rule for gaps of the target, or of covariates."""
        card = self.forecaster.card
        series = card.declaration.series
        gaps = series.gaps.model_copy(update={of: rule})
        declaration = card.declaration.model_copy(update={"series": series.model_copy(update={"gaps": gaps})})
        session = self.forecaster._session
        return replace(self, forecaster=Forecaster(card.model_copy(update={"declaration": declaration}), session))

    def origin(self, place: int, back: int = 0) -> int:
        """Row of the latest origin of a series that has its whole horizon in the panel, or of one `back` steps earlier."""
        return int(self.panel.offsets[place + 1]) - 1 - self.forecaster.design.horizon - back

    def expected(self, origins: list[int]) -> Forecast:
        """What training says about some origins of the panel."""
        return self.forecaster.forecast(self.panel, np.array(origins, dtype=np.int64))

    def history(self, place: int = 0, *, back: int = 0, length: int | None = None, steps: int | None = None) -> History:
        """What a client who stands at an origin of the panel knows, with covariates if the model wants them."""
        panel, design = self.panel, self.forecaster.design
        origin = self.origin(place, back)
        past = slice(origin + 1 - (length or design.context), origin + 1)
        ahead = slice(origin + 1, origin + 1 + (steps or design.horizon))
        assert past.start >= panel.offsets[place], "the panel has no such history"
        return History(
            name=panel.ids[place],
            values=panel.target[past].copy(),
            start=panel.times[past.start],
            past_covariates={name: panel.covariates[name][past].copy() for name in design.past},
            future_covariates={name: panel.covariates[name][ahead].copy() for name in design.future},
            where=f"inputs[{place}]",
        )

    def histories(self, count: int) -> list[History]:
        """Histories of many series, each from another origin."""
        return [self.history(turn % len(self.panel), back=turn) for turn in range(count)]

    def document(self, *given: History, **options: Any) -> dict[str, Any]:
        """A request of the KServe Time Series API, ready for `json.dumps`."""
        given = given or (self.history(),)
        return {"model": MODEL, "inputs": [as_input(history) for history in given], "options": options}


def as_input(history: History) -> dict[str, Any]:
    """One series of a request, NaN as null."""
    made: dict[str, Any] = {
        "type": "univariate_time_series",
        "name": history.name,
        "series": numbers(history.values),
        "frequency": "1h",
        "start_timestamp": str(history.start),
    }
    for key, covariates in (("past", history.past_covariates), ("future", history.future_covariates)):
        if covariates:
            made[f"{key}_covariates"] = {name: numbers(values) for name, values in covariates.items()}
    return made


def make(declared: dict[str, Any], lowered_by: float, folder: Path) -> World:
    """Train a model on a town's table, with all targets lowered by a number."""
    declaration = Declaration.model_validate(declared)
    panel = _panel(declaration, lowered_by)
    design = Design(declaration, scale_floor(panel))
    card, onnx = _train(design, panel)
    files.save(folder / "model", card, onnx)
    return World(Forecaster.load(folder / "model"), panel, folder / "model")


def _panel(declaration: Declaration, lowered_by: float) -> Panel:
    city = Sample(stations=3, start="2024-03-01", end="2024-04-30T23:00", seed=11)
    table = schema.check(sample.generate(city).astype({"rides": float}), declaration.series)
    table["target"] -= lowered_by
    return ingest.to_panel(table, declaration.series)[0]


def _train(design: Design, panel: Panel) -> tuple[Card, bytes]:
    origins = estimator.training_origins(design, panel, max_rows=TRAINING_ROWS)
    rows = design.rows(panel, origins, design.origin_rows(panel, origins))
    target = (estimator.actuals(panel, origins, design.horizon) / rows.scale[:, None]).ravel()
    point = estimator.fit(rows.inputs, target, POINT, seed=0)
    spread = estimator.fit(rows.inputs, np.abs(target - point.predict(rows.inputs)), SPREAD, seed=0)
    with warnings.catch_warnings():
        # skl2onnx 1.20 writes booleans where protobuf wants integers.
        warnings.filterwarnings("ignore", "Field onnx.AttributeProto.ints", DeprecationWarning)
        onnx = export.export(point, spread)
    quantiles = tuple(tuple(value * (1 + step / 100) for value in QUANTILES) for step in range(design.horizon))
    card = Card(
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        declaration=design.declaration,
        columns=tuple(design.names),
        scale_floor=design.floor,
        calibration=Calibration(levels=LEVELS, quantiles=quantiles),
        reference=train._reference(design, rows.inputs, target),
        trained_from=str(panel.times.min()),
        trained_until=str(panel.times.max()),
        training_rows=int(rows.inputs.shape[0]),
    )
    return card, onnx


def longer(world: World, history: History, before: Floats) -> History:
    """The history with values before its first, and covariates of 0.25 next to them."""
    step = np.timedelta64(world.forecaster.card.declaration.series.step_seconds, "s")
    return replace(
        history,
        values=np.concatenate([before, history.values]),
        start=history.start - before.size * step,
        past_covariates={
            name: np.concatenate([np.full(before.size, 0.25), values])
            for name, values in history.past_covariates.items()
        },
    )


def equal(one: Answer, other: Answer) -> bool:
    """Whether two answers agree to the last bit."""
    return (
        (one.names, one.levels) == (other.names, other.levels)
        and np.array_equal(one.starts, other.starts)
        and np.array_equal(one.mean, other.mean)
        and np.array_equal(one.quantiles, other.quantiles)
    )


def part(answer: Answer, place: int) -> Answer:
    """What an answer says about one of its series."""
    only = slice(place, place + 1)
    return Answer(answer.names[only], answer.starts[only], answer.mean[only], answer.levels, answer.quantiles[:, only])


def numbers(values: Floats) -> list[float | None]:
    """As JSON has them: null for NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]
