"""Prediction intervals from out-of-sample errors: a spread for each row, calibrated per step.

Locally weighted split conformal prediction (Lei et al. 2018, section 5.2; Papadopoulos et al. 2008): a
second model learns the size of the backtest's errors in units of the scale, the errors are divided by
it, and the quantiles of that quotient, taken per step, are what a level is looked up in. An interval
is so wide where errors are large (a rainy Saturday) and narrow where they are small (3 a.m.).

The quotient must be honest: the spread of a fold's rows comes from a model of the folds before it. And
it must be recent: series grow and change, so an error counts half as much for every `half_life` of its
age (Barber, Candes, Ramdas and Tibshirani 2023, "Conformal prediction beyond exchangeability").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from data.forecaster import SPREAD_FLOOR, Calibration
from data.params import HIGHEST_QUANTILE, LOWEST_QUANTILE, Train
from training import estimator
from training.forecasts import Bounds, Forecasts

Floats = NDArray[np.float64]

#: Levels whose quantiles are kept; those asked for in between are interpolated.
LEVELS = (LOWEST_QUANTILE, 0.01, 0.025, *(round(0.05 * k, 2) for k in range(1, 20)), 0.975, 0.99, HIGHEST_QUANTILE)
#: Steps on either side whose errors are taken together with a step's own, for smoother tails.
NEIGHBOURS = 1


def fit_spread(forecasts: Forecasts, train: Train) -> HistGradientBoostingRegressor:
    """Fit the model of the size of the point's error, in units of the scale."""
    size = np.abs(forecasts.actual - forecasts.point) / forecasts.scale[:, None]
    return estimator.fit(forecasts.inputs, size.ravel(), train.spread, train.seed)


def spread(model: HistGradientBoostingRegressor, forecasts: Forecasts) -> Floats:
    """Shape (origins, horizon): the spread in the target's unit, as the exported model gives it."""
    scaled = np.maximum(model.predict(forecasts.inputs), SPREAD_FLOOR).reshape(forecasts.actual.shape)
    return np.asarray(scaled * forecasts.scale[:, None])


def forward_spread(forecasts: Forecasts, train: Train) -> Floats:
    """Shape (origins, horizon): the spread of each fold by a model of the folds before it; NaN in the first."""
    made = np.full_like(forecasts.point, np.nan)
    for fold in np.unique(forecasts.fold)[1:]:
        own = forecasts.fold == fold
        made[own] = spread(fit_spread(forecasts.take(forecasts.fold < fold), train), forecasts.take(own))
    return made


def calibrate(forecasts: Forecasts, spreads: Floats, half_life: float) -> Calibration:
    """Quantiles of the normalised error per step.

    Args:
        forecasts: out-of-sample forecasts.
        spreads: shape (origins, horizon), from models that have not seen the rows they are for; NaN
            where there is none.
        half_life: age at which an error counts half, in seconds.
    """
    quotient = (forecasts.actual - forecasts.point) / spreads
    age = (forecasts.times.max() - forecasts.times).astype(np.float64)
    weight = np.repeat(0.5 ** (age / half_life), quotient.shape[1]).reshape(quotient.shape)
    table = []
    for step in range(quotient.shape[1]):
        near = slice(max(0, step - NEIGHBOURS), step + NEIGHBOURS + 1)
        table.append(weighted_quantiles(quotient[:, near].ravel(), weight[:, near].ravel(), LEVELS))
    return Calibration(levels=LEVELS, quantiles=tuple(tuple(map(float, row)) for row in table))


def weighted_quantiles(values: Floats, weights: Floats, levels: tuple[float, ...]) -> Floats:
    """Shape (levels,): the smallest values below or at which each share of the weight lies; NaN values are left out."""
    known = ~np.isnan(values)
    order = np.argsort(values[known], kind="stable")
    share = np.cumsum(weights[known][order])
    place = np.searchsorted(share, np.array(levels) * share[-1])
    return np.asarray(values[known][order][np.minimum(place, share.size - 1)])


def bounds(
    forecasts: Forecasts, spreads: Floats, calibration: Calibration, level: float, *, nonnegative: bool
) -> tuple[Floats, Floats]:
    """Lower and upper end of the central interval that holds `level` of the actuals."""
    low, high = (forecasts.point + spreads * calibration.at(edge) for edge in ((1 - level) / 2, (1 + level) / 2))
    return (np.maximum(low, 0.0), np.maximum(high, 0.0)) if nonnegative else (low, high)


def rolling_bounds(
    forecasts: Forecasts, spreads: Floats, levels: tuple[float, ...], half_life: float, *, nonnegative: bool
) -> Bounds:
    """Intervals of each fold, calibrated on earlier folds alone; NaN in the first two.

    This is how the coverage of the backtest is measured: as it would have been in service.

    Args:
        forecasts: out-of-sample forecasts.
        spreads: as `forward_spread` gives them.
        levels: shares of the actuals to hold.
        half_life: as in `calibrate`.
        nonnegative: whether an end below zero is raised to zero.
    """
    made = {level: (np.full_like(forecasts.point, np.nan), np.full_like(forecasts.point, np.nan)) for level in levels}
    for fold in np.unique(forecasts.fold)[2:]:
        before, own = forecasts.fold < fold, forecasts.fold == fold
        calibration = calibrate(forecasts.take(before), spreads[before], half_life)
        for level, ends in made.items():
            found = bounds(forecasts.take(own), spreads[own], calibration, level, nonnegative=nonnegative)
            for whole, part in zip(ends, found, strict=True):
                whole[own] = part
    return made
