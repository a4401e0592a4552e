"""What the backtest says of a model's errors, for its card: sizes to expect, and how days and slices vary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.accuracy import Accuracy, Daily, Expected
from data.panel import Panel
from data.scoring import DAY, Batch, Days, Errors, Levels, Sums, Units, known, log_mean
from training.forecasts import Forecasts

Floats = NDArray[np.float64]

#: Bins of the level of a forecast (its ratio to the series' usual size), about equally filled.
LEVELS = 8
#: Rows of all series that a series' own bin is mixed with, so that an almost empty one does not mislead.
PRIOR_ROWS = 50.0


def of(panel: Panel, forecasts: Forecasts) -> Accuracy:
    """Of a backtest."""
    origins, horizon = forecasts.actual.shape
    step = np.arange(1, horizon + 1)
    batch = Batch(
        np.repeat(panel.series[forecasts.origins], horizon),
        np.tile(step, origins),
        (forecasts.times.astype("datetime64[s]").astype(np.int64)[:, None] + step * panel.step_seconds).ravel(),
        forecasts.point.ravel(),
        forecasts.actual.ravel(),
    )
    return measure(panel.ids, batch, horizon, panel.step_seconds)


def measure(names: Sequence[str], batch: Batch, horizon: int, step_seconds: int) -> Accuracy:
    """What a backtest says of its model.

    Args:
        names: of the series.
        batch: forecasts of all steps, and what came.
        horizon: steps ahead.
        step_seconds: time between them.
    """
    first, last = int(batch.time.min()), int(batch.time.max())
    days = Days(-(-(last + 1) // DAY) * DAY, last // DAY - first // DAY + 1, step_seconds)
    levels = Levels(days)
    levels.add(batch)
    expected = _expected(names, known(batch, days)[0], levels.sizes, horizon)
    errors = Errors(names, Units.of(expected, names, levels.sizes), levels)
    errors.add(batch)
    found = dict(errors.slices())
    least = days.values / 2
    whole = errors.all()
    return Accuracy(
        expected=expected,
        mae={"all": _ratio(whole)} | {name: _ratio(sums) for name, sums in found.items()},
        shape={"all": daily(errors.shape())}
        | {
            name: daily(log_mean(sums.shape, sums.shaped, least if name.startswith("series ") else 1)).model_copy(
                update={"rows": _digits(sums.rows.sum() / (sums.rows > 0).sum())}
            )
            for name, sums in found.items()
        },
        error=daily(log_mean(whole.error, whole.rows, least)),
        bias=daily(np.where(whole.rows >= least, whole.bias / np.maximum(whole.rows, 1), np.nan)),
        days=int((whole.rows > 0).sum()),
    )


def daily(values: Floats) -> Daily:
    """Mean and deviation over days; NaN is left out, and fewer than two known days have a deviation of 0, which is none."""
    known = values[~np.isnan(values)]
    if known.size < 2:
        return Daily(mean=0.0, deviation=0.0)
    return Daily(mean=_digits(known.mean()), deviation=_digits(known.std(ddof=1)))


def _expected(names: Sequence[str], batch: Batch, sizes: Floats, horizon: int) -> Expected:
    relative = batch.forecast / sizes[batch.series]
    error = np.abs(batch.forecast - batch.actual) / sizes[batch.series]
    edges = np.quantile(relative, np.linspace(0, 1, LEVELS + 1)[1:-1])
    filled, code = np.unique(np.searchsorted(edges, relative), return_inverse=True)
    rows = np.bincount(code)
    usual = np.bincount(code, error) / rows
    usual = np.where(usual > 0, usual, max(float(error.mean()), 1e-9))
    cell, shape = batch.series * filled.size + code, (len(names), filled.size)
    sums = np.bincount(cell, error, len(names) * filled.size).reshape(shape) + PRIOR_ROWS * usual
    each = sums / (np.bincount(cell, minlength=sums.size).reshape(shape) + PRIOR_ROWS)
    scaled, place = error / each[batch.series, code], np.minimum(batch.step, horizon) - 1
    steps = np.bincount(place, scaled, horizon) / np.maximum(np.bincount(place, minlength=horizon), 1)
    return Expected(
        sizes={name: _digits(size) for name, size in zip(names, sizes, strict=True)},
        levels=tuple(map(float, np.bincount(code, relative) / rows)),
        errors={name: tuple(map(_digits, row)) for name, row in zip(names, each, strict=True)},
        usual=tuple(map(_digits, usual)),
        steps=tuple(_digits(one) if one > 0 else 1.0 for one in steps),
    )


def _ratio(sums: Sums) -> float:
    return _digits(sums.absolute.sum() / max(sums.rows.sum(), 1))


def _digits(value: float) -> float:
    """Five digits: enough to compare with, and a card of many series stays small."""
    return float(f"{value:.5g}")
