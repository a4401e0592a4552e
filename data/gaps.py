"""Filling gaps by the declared rule, with the same code in training and serving.

`zero`: no row means that nothing happened; the filled value is data, it is trained on and scored.
`forward`: the last value still holds. `interpolate`: a straight line between the neighbours; where
there is no right neighbour (the end of a history), the last value holds. What these two fill is an
estimate: it feeds features, but no model is trained on it or scored against it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.params import Gap

Floats = NDArray[np.float64]


def fill(values: Floats, rule: Gap) -> Floats:
    """Fill the NaN of one series.

    Args:
        values: shape (time,), NaN where there is no value; the first is a number.
        rule: `zero`, `forward` or `interpolate`.

    Returns:
        A new array of the same shape without NaN.

    Raises:
        ValueError: the first value is NaN under `forward` or `interpolate`.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    if rule == "zero":
        return np.where(missing, 0.0, values)
    if missing[0]:
        raise ValueError("the first value is missing, so there is nothing to fill from")
    known = np.flatnonzero(~missing)
    if rule == "forward":
        last = np.maximum.accumulate(np.where(missing, 0, np.arange(values.size)))
        return values[last]
    return np.interp(np.arange(values.size), known, values[known])
