"""The trees alone: rows of features in, scaled forecast and spread out.

For those who compute features themselves, and for whoever wants to see that the service and the training
path come to the same numbers. Served as a model of its own, `<model>-rows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import RequestError
from data.forecaster import Forecaster

MAX_ROWS = 200_000
OUTPUTS = ("point", "spread")


@dataclass(frozen=True, slots=True)
class RowsQuestion:
    """Rows of the model's input.

    Attributes:
        inputs: shape (rows, columns), in the order of `forecaster.design.names`; NaN where unknown.
        outputs: what is wanted of `OUTPUTS`.
    """

    inputs: NDArray[np.float32]
    outputs: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of the model's input."""
        return int(self.inputs.shape[0])


@dataclass(frozen=True, slots=True)
class RowsAnswer:
    """What the trees say, in units of the scale.

    Attributes:
        values: by output that was wanted, shape (rows,).
    """

    values: dict[str, NDArray[np.float64]]


def ask(forecaster: Forecaster, inputs: NDArray[np.float32], outputs: Sequence[str] = OUTPUTS) -> RowsQuestion:
    """Check the shape of rows.

    Args:
        forecaster: the model.
        inputs: of any shape.
        outputs: what is wanted, of `OUTPUTS`.

    Raises:
        RequestError: names what was got and what is wanted.
    """
    columns = len(forecaster.design.names)
    if inputs.ndim != 2 or inputs.shape[1] != columns or not 1 <= inputs.shape[0] <= MAX_ROWS:
        raise RequestError(
            f"features: got shape {list(inputs.shape)}, wanted [rows, {columns}] with 1 to {MAX_ROWS} rows; "
            "the model's metadata names the columns",
            param="features",
        )
    return RowsQuestion(inputs, tuple(outputs))


def answer(forecaster: Forecaster, questions: Sequence[RowsQuestion]) -> list[RowsAnswer]:
    """Run the rows of many questions in one pass, and only the trees that somebody wants."""
    wanted = [name for name in OUTPUTS if any(name in question.outputs for question in questions)]
    inputs = questions[0].inputs if len(questions) == 1 else np.concatenate([question.inputs for question in questions])
    made = dict(zip(wanted, forecaster.trees(inputs, wanted), strict=True))
    answers, first = [], 0
    for question in questions:
        part = slice(first, first := first + question.rows)
        answers.append(RowsAnswer({name: made[name][part] for name in question.outputs}))
    return answers
