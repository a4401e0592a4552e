"""The core of the service, free of any protocol: questions of many clients in, answers out, one pass of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.features import Rows
from data.forecaster import Forecast, Forecaster
from data.panel import Panel
from service.histories import Question

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Answer:
    """Forecasts of the series of one question, in order.

    Attributes:
        names: of the series.
        starts: shape (series,), time of the first step.
        mean: shape (series, steps).
        levels: quantiles asked for.
        quantiles: shape (levels, series, steps).
        rows: what the model was given, horizon rows a series.
    """

    names: tuple[str, ...]
    starts: Times
    mean: Floats
    levels: tuple[float, ...]
    quantiles: Floats
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of the model: what went in and what came out, for those who watch the model.

    Attributes:
        inputs: shape (series * horizon, columns); the steps of a series stand together.
        forecast: of all series.
        scale: shape (series,), in the target's unit.
        questions: whose series these are, in order.
    """

    inputs: NDArray[np.float32]
    forecast: Forecast
    scale: Floats
    questions: Sequence[Question]


def answer(forecaster: Forecaster, questions: Sequence[Question]) -> tuple[list[Answer], Pass]:
    """Forecast the series of many questions in one pass of the features and the model."""
    panel, origins = _panel(forecaster, questions)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # A value far from all others may become infinite in float32: the trees take it for a large one.
        rows = forecaster.design.rows(panel, origins)
        made = forecaster.scaled(rows)
        answers = _split(forecaster, questions, made, rows)
    return answers, Pass(rows.inputs, made, rows.scale, questions)


def _split(forecaster: Forecaster, questions: Sequence[Question], made: Forecast, rows: Rows) -> list[Answer]:
    step = np.timedelta64(forecaster.card.declaration.series.step_seconds, "s")
    answers, first, horizon = [], 0, forecaster.design.horizon
    for question in questions:
        part = slice(first, first := first + len(question.names))
        own = Forecast(made.point[part], made.spread[part])
        answers.append(
            Answer(
                names=question.names,
                starts=question.starts + step * question.target.shape[1],
                mean=own.point[:, : question.steps],
                levels=question.levels,
                quantiles=forecaster.quantiles(own, question.levels)[..., : question.steps],
                rows=Rows(rows.inputs[part.start * horizon : part.stop * horizon], rows.scale[part]),
            )
        )
    return answers


def _panel(forecaster: Forecaster, questions: Sequence[Question]) -> tuple[Panel, NDArray[np.int64]]:
    """All series in one panel, each followed by room for its horizon, and the row of each one's origin."""
    design = forecaster.design
    context, width = design.context, design.context + design.horizon
    count = sum(len(question.names) for question in questions)

    def filled(past: Sequence[Floats] | None, future: Sequence[Floats] | None) -> Floats:
        whole = np.full((count, width), np.nan)
        if past is not None:
            np.concatenate(past, out=whole[:, :context])
        first = 0
        for part in future or ():
            whole[first : first + part.shape[0], context : context + part.shape[1]] = part
            first += part.shape[0]
        return whole.ravel()

    covariates = {
        name: filled(
            [question.past[name] for question in questions] if name in design.past else None,
            [question.future[name] for question in questions] if name in design.future else None,
        )
        for name in dict.fromkeys(design.past + design.future)
    }
    offsets = np.arange(count + 1) * width
    panel = Panel(
        ids=tuple(name for question in questions for name in question.names),
        offsets=offsets,
        starts=np.concatenate([question.starts for question in questions]),
        step_seconds=forecaster.card.declaration.series.step_seconds,
        target=filled([question.target for question in questions], None),
        observed=np.ones(count * width, dtype=np.bool_),
        covariates=covariates,
    )
    return panel, offsets[:-1] + (context - 1)
