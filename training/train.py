"""Stage `train`: the final fit on the whole table, calibrated on the backtest's errors, exported and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data import durations
from data.errors import ModelError
from data.features import Design
from data.forecaster import Bins, Card, Reference
from data.panel import Panel
from data.params import Params
from training import accuracy, estimator, export, intervals, noise, packages
from training.export import Parity
from training.forecasts import Forecasts

Floats = NDArray[np.float64]

#: Largest relative difference between ONNX and scikit-learn that a model may be exported with.
PARITY_LIMIT = 1e-5
PARITY_ROWS = 10_000
REFERENCE_BINS = 10


class Trained(NamedTuple):
    """An exported model, not yet written.

    Attributes:
        card: what `forecaster.json` will say.
        onnx: what `model.onnx` will hold.
        parity: how far the export is from scikit-learn.
    """

    card: Card
    onnx: bytes
    parity: Parity


def run(
    params: Params,
    design: Design,
    panel: Panel,
    known: Floats,
    forecasts: Forecasts,
    say: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Fit on every usable origin of the panel.

    Args:
        params: the configuration.
        design: the features.
        panel: the series.
        known: `design.origin_table(panel)`.
        forecasts: the backtest, whose errors calibrate the intervals.
        say: told what is being done.

    Raises:
        DataError: nothing to fit on.
        ModelError: the export does not answer as scikit-learn does.
    """
    origins = estimator.training_origins(design, panel, params.train.max_rows)
    rows = design.rows(panel, origins, known[:, origins])
    design.check_inputs(rows.inputs)
    target = (estimator.actuals(panel, origins, design.horizon) / rows.scale[:, None]).ravel()
    say(f"train: fitting the forecast on {rows.inputs.shape[0]} rows")
    weight = estimator.weights(panel, origins, design.horizon, params.train.recency)
    point = estimator.fit(rows.inputs, target, params.train.point, params.train.seed, weight)
    say("train: fitting the spread and calibrating the intervals")
    spread = intervals.fit_spread(forecasts, params.train)
    onnx = export.export(point, spread)
    pick = np.random.default_rng(params.train.seed).permutation(rows.inputs.shape[0])[:PARITY_ROWS]
    say("train: comparing the export with scikit-learn")
    parity = export.parity(onnx, {"point": point, "spread": spread}, rows.inputs[pick])
    if not parity.relative <= PARITY_LIMIT:
        raise ModelError(
            f"the ONNX model differs from scikit-learn by {parity.relative:.2g} (relative) on {parity.rows} rows, wanted "
            f"{PARITY_LIMIT:g} or less; nothing was written"
        )
    say("train: measuring how far stretches of the table are from the whole")
    reference = _reference(design, rows.inputs, target)
    noises = noise.noise(design, panel, known, reference, point.predict)
    times = panel.times
    card = Card(
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        declaration=design.declaration,
        columns=tuple(design.names),
        scale_floor=design.floor,
        calibration=intervals.calibrate(
            forecasts, intervals.forward_spread(forecasts, params.train), durations.seconds(params.train.half_life)
        ),
        reference=reference.model_copy(update={"noise": noises, "largest": float(panel.size.max())}),
        trained_from=str(times.min()),
        trained_until=str(times.max()),
        training_rows=int(rows.inputs.shape[0]),
        accuracy=accuracy.of(panel, forecasts),
        packages=packages.versions(),
    )
    return Trained(card, onnx, parity)


def _reference(design: Design, inputs: NDArray[np.float32], target: Floats) -> Reference:
    return Reference(
        features={name: _bins(inputs[:, place]) for place, name in enumerate(design.names)},
        forecast=_bins(target[~np.isnan(target)]),
    )


def _bins(values: NDArray[np.floating]) -> Bins:
    """Bins of about equal shares; a value that is an edge counts into the bin below it."""
    known = values[~np.isnan(values)].astype(np.float64)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, REFERENCE_BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=edges.size + 1)
    shares = (counts + 0.5) / (known.size + 0.5 * counts.size)
    return Bins(
        edges=tuple(map(float, edges)),
        shares=tuple(map(float, shares)),
        low=float(known.min()) if known.size else None,
        high=float(known.max()) if known.size else None,
        missing=1 - known.size / values.size if values.size else None,
    )
