"""The estimators: gradient-boosted trees on (origin, step) rows, in units of the scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from data import durations
from data.errors import DataError
from data.features import Design
from data.panel import Panel
from data.params import Trees

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def training_origins(
    design: Design, panel: Panel, max_rows: int, *, among: NDArray[np.bool_] | None = None
) -> Integers:
    """Rows of the panel to train from: all that are usable, or an even sample of them.

    The stride shares no divisor with a week of the series, so that every hour of the day and of the
    week is seen.

    Args:
        design: the features.
        panel: the series.
        max_rows: most (origin, step) rows.
        among: shape (rows,), False for origins that may not be used.

    Raises:
        DataError: a series is too short, or none of its rows can be trained on.
    """
    design.check_lengths(panel)
    usable = design.origins(panel)
    if among is not None:
        usable = usable[among[usable]]
    if not usable.size:
        raise DataError("no row of the table can be trained on: no origin has enough history and an observed value")
    stride = math.ceil(usable.size * design.horizon / max_rows)
    week = max(1, 604_800 // panel.step_seconds)
    while math.gcd(stride, week) > 1:
        stride += 1
    return np.asarray(usable[(usable - usable[0]) % stride == 0])


def weights(panel: Panel, origins: Integers, horizon: int, recency: str | None) -> Floats | None:
    """Shape (origins * horizon,): how much each row counts, half as much for each `recency` of age; None: all the same."""
    if recency is None:
        return None
    times = panel.times[origins]
    age = (times.max() - times).astype("timedelta64[s]").astype(np.float64)
    return np.asarray(np.repeat(0.5 ** (age / durations.seconds(recency)), horizon))


def fit(
    inputs: NDArray[np.float32], target: Floats, trees: Trees, seed: int, weight: Floats | None = None
) -> HistGradientBoostingRegressor:
    """Fit one model.

    Args:
        inputs: shape (rows, columns).
        target: shape (rows,), in units of the scale; rows whose target is NaN are left out.
        trees: hyper-parameters.
        seed: of the sampling of columns.
        weight: shape (rows,), how much each counts; all the same if None.
    """
    known = ~np.isnan(target)
    model = HistGradientBoostingRegressor(
        loss=trees.loss,
        max_iter=trees.max_iter,
        learning_rate=trees.learning_rate,
        max_leaf_nodes=trees.max_leaf_nodes,
        min_samples_leaf=trees.min_samples_leaf,
        l2_regularization=trees.l2_regularization,
        max_features=trees.max_features,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(inputs[known], target[known], sample_weight=None if weight is None else weight[known])
    return model


def actuals(panel: Panel, origins: Integers, horizon: int) -> Floats:
    """Shape (origins, horizon): what came, NaN where it was not observed."""
    rows = origins[:, None] + np.arange(1, horizon + 1)
    return np.where(panel.observed[rows], panel.target[rows], np.nan)
