"""Real requests for the service, cut from the series frame: the last horizon of a series, asked for again."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.declaration import Declaration
from data.errors import DataError
from data.features import Design, scale_floor
from data.forecaster import Example
from data.panel import Panel
from data.params import Params

QUANTILES = [0.1, 0.5, 0.9]


def request(params: Params, panel: Panel, names: list[str], horizon: int | None = None) -> dict[str, Any]:
    """Body of `POST /v1/timeseries/forecast` (KServe Time Series API).

    Args:
        params: the configuration.
        panel: the series.
        names: the series wanted; the first one if empty.
        horizon: steps ahead; the model's if None.

    Raises:
        DataError: the table has no such series.
    """
    design = Design(Declaration(series=params.series, features=params.features), scale_floor(panel))
    unknown = [name for name in names if name not in panel.ids]
    if unknown:
        raise DataError(f"the table has no series {unknown[0]!r}, wanted one of {', '.join(panel.ids[:20])}")
    places = [panel.ids.index(name) for name in names] or [0]
    return {
        "inputs": [_input(params, panel, design, place) for place in places],
        "options": {"horizon": horizon or design.horizon, "quantiles": QUANTILES},
    }


def examples(params: Params, panel: Panel) -> list[Example]:
    """What goes with the model for people to try it: `train.examples` series, and what really came."""
    horizon = params.features.horizon
    made = []
    for place, name in enumerate(panel.ids[: params.train.examples]):
        end = int(panel.offsets[place + 1])
        ahead = slice(end - horizon, end)
        came = zip(_numbers(panel.target[ahead]), panel.observed[ahead].tolist(), strict=True)
        actuals = tuple(value if observed else None for value, observed in came)
        made.append(Example(request=request(params, panel, [name]), actuals=actuals))
    return made


def _input(params: Params, panel: Panel, design: Design, place: int) -> dict[str, Any]:
    origin = int(panel.offsets[place + 1]) - 1 - design.horizon
    history = slice(origin - design.context + 1, origin + 1)
    ahead = slice(origin + 1, origin + 1 + design.horizon)
    covariates = {
        "past_covariates": {name: _numbers(panel.covariates[name][history]) for name in design.past},
        "future_covariates": {name: _numbers(panel.covariates[name][ahead]) for name in design.future},
    }
    return {
        "type": "univariate_time_series",
        "name": panel.ids[place],
        "series": _numbers(panel.target[history]),
        "frequency": params.series.frequency,
        "start_timestamp": str(panel.times[history.start]),
    } | {key: values for key, values in covariates.items() if values}


def _numbers(values: np.ndarray) -> list[float]:
    return [float(f"{value:.12g}") for value in values]
