"""The forecasts of a chunk of series: its rows as histories, through the core that answers requests."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import RequestError
from data.forecaster import Forecaster
from service import forecasting, histories
from service.batch import rows, table
from service.batch.table import Chunk, Table
from service.histories import History, Limits, Question

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]

NO_LIMITS = Limits(series=1 << 62, values=1 << 62)


@dataclass(frozen=True)
class Job:
    """What all chunks share.

    Attributes:
        table: where their rows are.
        card: text of `forecaster.json`.
        onnx: content of `model.onnx`.
        steps: ahead.
        levels: quantiles.
    """

    table: Table
    card: str
    onnx: bytes
    steps: int
    levels: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Made:
    """Forecasts of a chunk.

    Attributes:
        names: of the series that could be forecast.
        starts: shape (series,), time of the first step.
        step_seconds: from one to the next.
        mean: shape (series, steps).
        quantiles: shape (levels, series, steps).
        rejected: series that could not be forecast, and why.
    """

    names: tuple[str, ...]
    starts: Times
    step_seconds: int
    mean: Floats
    quantiles: Floats
    rejected: tuple[tuple[str, str], ...]


def make(job: Job, chunk: Chunk) -> Made:
    """Read a chunk's rows and forecast its series in one pass of the features and the model.

    Raises:
        DataError: the table cannot be read, or a column does not hold what it should.
    """
    forecaster = _forecaster(job.card, job.onnx)
    told = rows.tell(forecaster.design, chunk.names, table.read(job.table, chunk), job.steps)
    faults = {chunk.names[place]: why for place, why in told.faults.items()}
    questions = [*_asked(forecaster, told.clean, job, faults), *_asked(forecaster, told.holed, job, faults)]
    answers = forecasting.answer(forecaster, questions)[0] if questions else []
    names = [name for answer in answers for name in answer.names]
    places = {name: place for place, name in enumerate(chunk.names)}
    order = np.argsort([places[name] for name in names]).astype(np.int64)

    def joined(parts: Sequence[NDArray[Any]], empty: tuple[int, ...], axis: int = 0) -> NDArray[Any]:
        return np.concatenate(parts, axis=axis).take(order, axis=axis) if parts else np.empty(empty)

    return Made(
        names=tuple(names[place] for place in order),
        starts=joined([answer.starts for answer in answers], (0,)).astype("datetime64[s]"),
        step_seconds=forecaster.card.declaration.series.step_seconds,
        mean=joined([answer.mean for answer in answers], (0, job.steps)),
        quantiles=joined([answer.quantiles for answer in answers], (len(job.levels), 0, job.steps), axis=1),
        rejected=tuple((name, faults[name]) for name in chunk.names if name in faults),
    )


def _asked(forecaster: Forecaster, told: Sequence[History], job: Job, faults: dict[str, str]) -> list[Question]:
    """The questions that the core makes of histories; one that it refuses goes to `faults`, and the others are asked."""
    if not told:
        return []
    try:
        return [histories.ask(forecaster, told, job.steps, job.levels, NO_LIMITS)]
    except RequestError as err:
        if len(told) == 1:
            faults[told[0].name] = err.message
            return []
        return [question for history in told for question in _asked(forecaster, [history], job, faults)]


@functools.lru_cache(maxsize=1)
def _forecaster(card: str, onnx: bytes) -> Forecaster:
    return Forecaster.of(card, onnx)
