"""What a column may hold, declared once (`series.limits`) and counted alike in training and serving.

Training refuses a table that breaks a limit; the service counts what breaks one and answers all the same.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from data import durations
from data.params import ColumnLimits

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Kind = Literal["low", "high", "constant", "missing"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def count(values: Floats, begins: Integers, limits: ColumnLimits, step_seconds: int) -> dict[Kind, int]:
    """How many values of a column break its limits, by the kind of limit.

    Args:
        values: shape (n,), stretches of one or more series one after another, NaN where there is no value.
        begins: shape (stretches,), where each begins.
        limits: of the column.
        step_seconds: between two values.

    Returns:
        Values below `low` and above `high`, values in runs of one value that last longer than `constant`, and
        missing values, which are counted whatever the limit: `missing` is a share, which no single value breaks.
    """
    longest = None if limits.constant is None else durations.seconds(limits.constant) // step_seconds
    lengths = np.empty(0, np.int64) if longest is None else runs(values, begins)
    return {
        "low": 0 if limits.low is None else int((values < limits.low).sum()),
        "high": 0 if limits.high is None else int((values > limits.high).sum()),
        "constant": 0 if longest is None else int(lengths[lengths > longest].sum()),
        "missing": int(np.isnan(values).sum()),
    }


def runs(values: Floats, begins: Integers) -> Integers:
    """Lengths of the runs of one value, in order; a missing value is no value and ends a run.

    Args:
        values: shape (n,), NaN where there is no value.
        begins: shape (stretches,), where each stretch begins; a run does not go on from one to the next.
    """
    turns = np.ones(values.size, np.bool_)
    turns[1:] = values[1:] != values[:-1]
    turns[begins[begins < values.size]] = True
    return np.diff(np.flatnonzero(turns), append=values.size)
