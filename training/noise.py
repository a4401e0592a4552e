"""How far stretches of the training data are from the whole, which is how far a quiet week may be from it.

Weather, seasons and holidays make every week differ from the years that a model was trained on. The largest
difference of any stretch of the training data is what is still no drift; it goes with the model (`Reference.noise`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data import drift, durations
from data.drift import STRETCHES
from data.features import Design
from data.forecaster import Bins, Reference
from data.panel import Panel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: A service may be asked at any hour or once a day: stretches are compared by these times of the day and all together.
TIMES_OF_DAY = 4
MOST_ORIGINS = 40_000
BLOCK = 1_000
DAY = 86_400
FORECAST = "forecast"


def noise(
    design: Design,
    panel: Panel,
    known: Floats,
    reference: Reference,
    point: Callable[[NDArray[np.float32]], Floats],
) -> dict[str, dict[str, float]]:
    """The largest PSI of any stretch of a length against the whole.

    Args:
        design: the features.
        panel: the series.
        known: `design.origin_table(panel)`.
        reference: the whole.
        point: the fitted model, in units of the scale.

    Returns:
        By length of the stretch, by feature (and `forecast`), without what chance makes of so few values. Not for those
        that say when clients ask, and for what (`Design.asked`): that is no drift.
    """
    origins = _origins(design, panel)
    times = panel.times[origins].astype(np.int64)
    day, time = times // DAY - times.min() // DAY, times % DAY * TIMES_OF_DAY // DAY
    cells = day * TIMES_OF_DAY + time
    counts = {
        name: np.zeros((int(day.max() + 1) * TIMES_OF_DAY, len(bins.shares)))
        for name, bins in {**reference.features, FORECAST: reference.forecast}.items()
        if name not in design.asked
    }
    once = {column.name for column in design.columns if column.known == "origin"}
    for start in range(0, origins.size, BLOCK):
        block = origins[start : start + BLOCK]
        inputs = design.rows(panel, block, known[:, block]).inputs
        steps = inputs.reshape(block.size, design.horizon, -1)
        for place, name in enumerate(design.names):
            if name in design.asked:
                continue
            values = steps[:, :1, place] if name in once else steps[:, :, place]
            _add(counts[name], cells[start : start + BLOCK], values, reference.features[name])
        _add(counts[FORECAST], cells[start : start + BLOCK], point(inputs).reshape(steps.shape[:2]), reference.forecast)
    shares = {name: np.array(bins.shares) for name, bins in reference.features.items()}
    shares[FORECAST] = np.array(reference.forecast.shares)
    largest = dict.fromkeys(counts, 0.0)
    by_stretch: dict[str, dict[str, float]] = {}
    for stretch in reversed(STRETCHES):
        days, by_stretch[stretch] = durations.seconds(stretch) // DAY, {}
        for name, each in counts.items():
            found = _largest(each.reshape(-1, TIMES_OF_DAY, each.shape[-1]), shares[name], days)
            # A part of a stretch may be as far off as all of it, also where the parts have too few values to tell.
            largest[name] = max(largest[name], found)
            by_stretch[stretch][name] = float(f"{largest[name]:.4g}")
    return by_stretch


def _origins(design: Design, panel: Panel) -> Integers:
    """Usable origins at some times of the day, of all series or an even sample of them."""
    usable = design.origins(panel)
    between = max(1, DAY // panel.step_seconds // TIMES_OF_DAY) * panel.step_seconds
    usable = usable[panel.times[usable].astype(np.int64) % between < panel.step_seconds]
    every = -(-usable.size // MOST_ORIGINS)
    return np.asarray(usable[panel.series[usable] % every == 0])


def _add(counts: Floats, cells: Integers, values: NDArray[np.floating], bins: Bins) -> None:
    """Count values, shape (origins, steps), into the cell of their origin; bins as `service.metrics` counts them."""
    places = np.searchsorted(np.array(bins.edges), values.astype(np.float64), side="left")
    places += cells[:, None] * len(bins.shares)
    counts += np.bincount(places[~np.isnan(values)], minlength=counts.size).reshape(counts.shape)


def _largest(counts: Floats, shares: Floats, days: int) -> float:
    """The largest PSI of so many days, at one time of the day or all, beyond what chance makes of their number.

    Args:
        counts: shape (days, times, bins).
        shares: shape (bins,).
        days: of a stretch; all there are if they are fewer.
    """
    days = min(days, counts.shape[0])
    sums = np.concatenate([np.zeros((1, *counts.shape[1:])), counts.cumsum(axis=0)])
    stretches = sums[days:] - sums[:-days]
    stretches = np.concatenate([stretches, stretches.sum(axis=1, keepdims=True)], axis=1)
    stretches = stretches[stretches.any(axis=-1)]
    beyond = drift.psi(stretches, shares) - drift.CHANCE / stretches.sum(axis=-1)
    return float(beyond.max(initial=0.0))
