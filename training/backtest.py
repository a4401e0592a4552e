"""Stage `backtest`: forecasts from the past, each by a model fitted on what was known then.

The last `folds` cuts of the table, `every` apart. At each cut a model is fitted on targets at or before
the cut and forecasts from origins at or after it; the seasonal naive forecast (the value one season
before) is scored on the same rows. The errors are what intervals are calibrated on and what the gate
compares, so no target of a fold may have been seen by its model: that is asserted, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from data import cluster, durations
from data.cluster import Each
from data.errors import ConfigError, DataError
from data.features import Design
from data.panel import Panel
from data.params import Backtest, Params
from training import estimator
from training.forecasts import Forecasts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Fold(NamedTuple):
    """A cut: training targets lie at or before `cut`, scored origins from `cut` to before `end`."""

    cut: np.datetime64
    end: np.datetime64


class Backtested(NamedTuple):
    """What a backtest leaves.

    Attributes:
        forecasts: of all folds.
        model: that of the last fold; those of the folds before it are gone.
    """

    forecasts: Forecasts
    model: HistGradientBoostingRegressor


class Given(NamedTuple):
    """What all folds share.

    Attributes:
        params: the configuration.
        design: the features.
        panel: the series.
        known: `design.origin_table(panel)`.
    """

    params: Params
    design: Design
    panel: Panel
    known: Floats


def run(
    params: Params,
    design: Design,
    panel: Panel,
    known: Floats,
    progress: Iterable[Fold] | None = None,
    each: Each = cluster.here,
) -> Backtested:
    """Backtest the estimator that `params` declares.

    Args:
        params: the configuration.
        design: the features.
        panel: the series.
        known: `design.origin_table(panel)`.
        progress: the folds, wrapped in a progress bar.
        each: where they are worked on, each fold by one fit.

    Raises:
        DataError: the table is too short for the folds.
        ConfigError: the naive season is shorter than the horizon, or folds overlap.
    """
    naive_season(params.backtest, design)
    cuts = progress or folds(params.backtest, design, panel)
    made = []
    for part in each(_one, Given(params, design, panel, known), enumerate(cuts)):
        made.append(part.forecasts)
        model = part.model
    joined = (np.concatenate([getattr(part, field.name) for part in made]) for field in fields(Forecasts))
    return Backtested(Forecasts(*joined), model)


def folds(config: Backtest, design: Design, panel: Panel) -> list[Fold]:
    """The cuts, oldest first.

    Raises:
        ConfigError: folds overlap, so that a target would count twice.
        DataError: the oldest cut leaves nothing to fit on.
    """
    length = np.timedelta64(durations.seconds(config.fold), "s")
    every = np.timedelta64(durations.seconds(config.every), "s")
    if every < length:
        raise ConfigError(
            f"params.yaml: backtest.every: got {config.every!r} with folds of {config.fold!r}, so folds overlap, wanted "
            f"{config.fold!r} or longer",
            param="backtest.every",
        )
    end = panel.times.max() + np.timedelta64(panel.step_seconds, "s")
    cuts = [end - length - every * back for back in reversed(range(config.folds))]
    needed = np.timedelta64(int(design.context + design.horizon) * panel.step_seconds, "s")
    earliest = panel.starts.min() + needed
    if cuts[0] < earliest:
        raise DataError(
            f"the table runs from {panel.starts.min()} to {panel.times.max()}, too short for {config.folds} folds of "
            f"{config.fold} every {config.every}: the oldest would be cut at {cuts[0]}, wanted {earliest} or later; "
            "lower backtest.folds, backtest.fold or backtest.every in params.yaml",
            param="backtest.folds",
        )
    step = np.timedelta64(panel.step_seconds, "s")
    return [Fold(cut - step, cut - step + length) for cut in cuts]


def naive_season(config: Backtest, design: Design) -> int:
    """Steps of the season of the naive forecast.

    Raises:
        ConfigError: it is no multiple of the frequency, or shorter than the horizon.
    """
    try:
        season = durations.steps(config.season, design.declaration.series.frequency)
    except ValueError as err:
        raise ConfigError(f"params.yaml: backtest.season: {err}", param="backtest.season") from err
    if not design.horizon <= season <= design.context:
        raise ConfigError(
            f"params.yaml: backtest.season: got {config.season!r}, which is {season} steps, wanted {design.horizon} (the "
            f"horizon) to {design.context} (the history that the features need)",
            param="backtest.season",
        )
    return season


def seasonal_naive(panel: Panel, origins: Integers, horizon: int, season: int) -> Floats:
    """Shape (origins, horizon): the value one season before each target."""
    return np.asarray(panel.target[origins[:, None] + np.arange(1, horizon + 1) - season])


def scored_origins(design: Design, panel: Panel, fold: Fold, stride: int) -> Integers:
    """Rows of the panel that a fold forecasts from, `stride` steps apart.

    The first target of each is a multiple of `stride` steps from 1970, not from the cut: a cut moves with the
    end of the table, and backtests of a table that grows have to share origins to be compared. A fold too
    short for one of those is scored every `stride` steps from its cut on.
    """
    usable = design.origins(panel)
    at = (panel.times[usable] - fold.cut).astype(np.int64) // panel.step_seconds
    last = (fold.end - fold.cut).astype(np.int64) // panel.step_seconds - design.horizon
    inside = (at >= 0) & (at <= last)
    usable, at = usable[inside], at[inside]
    since_1970 = panel.times[usable].astype(np.int64) // panel.step_seconds
    shared = usable[(since_1970 + 1) % stride == 0]
    return np.asarray(shared if shared.size else usable[at % stride == 0])


def _one(given: Given, numbered: tuple[int, Fold]) -> Backtested:
    """A fold's forecasts and its model."""
    (params, design, panel, known), (number, fold) = given, numbered
    season = naive_season(params.backtest, design)
    seen = panel.times + np.timedelta64(design.horizon * panel.step_seconds, "s") <= fold.cut
    origins = estimator.training_origins(design, panel, params.train.max_rows, among=seen)
    scored = scored_origins(design, panel, fold, params.backtest.stride)
    if not scored.size:
        raise DataError(
            f"the fold from {fold.cut} to {fold.end} has no origin that can be scored; lower backtest.folds or "
            "lengthen backtest.fold in params.yaml",
            param="backtest.fold",
        )
    horizon = np.timedelta64(design.horizon * panel.step_seconds, "s")
    assert (panel.times[origins] + horizon).max() <= fold.cut <= panel.times[scored].min()
    rows = design.rows(panel, origins, known[:, origins])
    design.check_inputs(rows.inputs)
    target = estimator.actuals(panel, origins, design.horizon) / rows.scale[:, None]
    weight = estimator.weights(panel, origins, design.horizon, params.train.recency)
    model = estimator.fit(rows.inputs, target.ravel(), params.train.point, params.train.seed, weight)
    test = design.rows(panel, scored, known[:, scored])
    shape = (scored.size, design.horizon)
    point = model.predict(test.inputs).reshape(shape) * test.scale[:, None]
    made = Forecasts(
        fold=np.full(scored.size, number),
        origins=scored,
        times=panel.times[scored],
        inputs=test.inputs,
        scale=test.scale,
        actual=estimator.actuals(panel, scored, design.horizon),
        point=np.maximum(point, 0.0) if params.series.nonnegative else point,
        naive=seasonal_naive(panel, scored, design.horizon, season),
    )
    return Backtested(made, model)
