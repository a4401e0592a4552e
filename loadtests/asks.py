"""What users ask: requests for one series or a panel, for all steps ahead or a few, made from what a model wants.

An `Ask` is the body of `POST /v1/timeseries/forecast`; `loadtests.protocols` says it in other protocols.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import BentocastError

Floats = NDArray[np.float64]
Ask = dict[str, Any]

QUANTILES = (0.1, 0.5, 0.9)
#: Series in a request, and how many of `DECK` requests have that many: most clients ask for one.
PANELS = {1: 45, 4: 4, 16: 1}
#: Share of the model's horizon, and how many of ten requests want it.
HORIZONS = {1.0: 7, 0.5: 2, 0.0: 1}
DECK = sum(PANELS.values())
#: Share of values that a history misses.
GAPS = 0.01


class AnswerError(BentocastError):
    """An answer that is no forecast of what was asked."""


@dataclass(frozen=True)
class Wanted:
    """What a model wants, as `GET /v1/timeseries/models` tells it.

    Attributes:
        name: of the model.
        frequency: time between values.
        horizon: steps ahead, at most.
        context: values of a history.
        past: names of covariates with a number for each value.
        future: names of covariates with a number for each step.
        bento: tag of what serves it.
        grpc_port: where gRPC listens, or None.
    """

    name: str
    frequency: str
    horizon: int
    context: int
    past: tuple[str, ...]
    future: tuple[str, ...]
    bento: str
    grpc_port: int | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Wanted:
        """From one of `models`."""
        return cls(
            name=told["name"],
            frequency=told["frequency"],
            horizon=told["horizon"],
            context=told["context_length"],
            past=tuple(told["past_covariates"]),
            future=tuple(told["future_covariates"]),
            bento=told["bento"],
            grpc_port=told.get("grpc_port"),
        )


def differences(one: Wanted, other: Wanted) -> list[str]:
    """What two models do not want alike, so that the same requests would be other work for them, or none."""
    names = ("frequency", "horizon", "context", "past", "future")
    pairs = [(name, getattr(one, name), getattr(other, name)) for name in names]
    return [f"{name} {mine!r} and {theirs!r}" for name, mine, theirs in pairs if mine != theirs]


def deck(wanted: Wanted, examples: Sequence[Ask], seed: int) -> list[Ask]:
    """`DECK` requests with the mix of `PANELS` and `HORIZONS`, the same for the same seed.

    Args:
        wanted: what the model wants.
        examples: real requests of the service (`GET /v1/timeseries/examples`), whose series are shifted and
            scaled; a daily wave with noise where there are none.
        seed: of everything that is drawn.
    """
    draw = np.random.default_rng(seed)
    sizes = draw.permutation(np.repeat(list(PANELS), list(PANELS.values())))
    horizons = draw.permutation(np.resize(np.repeat(list(HORIZONS), list(HORIZONS.values())), DECK))
    inputs = [one for example in examples for one in example["inputs"]] or [_wave(wanted, draw)]
    made = []
    for size, share in zip(sizes.tolist(), horizons.tolist(), strict=True):
        steps = max(1, round(share * wanted.horizon))
        chosen = [inputs[place] for place in draw.integers(len(inputs), size=size)]
        series = [_drawn(template, f"series {place}", steps, draw) for place, template in enumerate(chosen)]
        made.append({"inputs": series, "options": {"horizon": steps, "quantiles": list(QUANTILES)}})
    return made


def check(lines: Floats, ask: Ask) -> None:
    """See that an answer is a forecast of what was asked.

    Args:
        lines: shape (series, 1 + levels, steps), the mean and each quantile.
        ask: the request.

    Raises:
        AnswerError: another shape, a number that is not finite, or quantiles that cross.
    """
    options = ask["options"]
    wanted = (len(ask["inputs"]), 1 + len(options["quantiles"]), options["horizon"])
    if lines.shape != wanted:
        raise AnswerError(f"got forecasts of shape {lines.shape}, wanted {wanted} (series, mean and quantiles, steps)")
    if not np.isfinite(lines).all():
        raise AnswerError("got a forecast that is not finite, wanted numbers")
    if (lines[:, 1:-1] > lines[:, 2:]).any():
        raise AnswerError("got quantiles that cross, wanted each at or above the one before")


def _drawn(template: Ask, name: str, steps: int, draw: np.random.Generator) -> Ask:
    """Another series like one: at another time, larger or smaller, with a few values missing."""
    scale = float(draw.lognormal(0.0, 0.5))
    missing = (draw.random(len(template["series"])) < GAPS).tolist()
    missing[0] = False  # a history begins with its first value
    values = [
        None if gap or value is None else round(value * scale, 2)
        for value, gap in zip(template["series"], missing, strict=True)
    ]
    start = dt.datetime.fromisoformat(template["start_timestamp"]) + dt.timedelta(weeks=int(draw.integers(0, 520)))
    future = {key: ahead[:steps] for key, ahead in template.get("future_covariates", {}).items()}
    changed = {"name": name, "series": values, "start_timestamp": start.isoformat()}
    return template | changed | ({"future_covariates": future} if future else {})


def _wave(wanted: Wanted, draw: np.random.Generator) -> Ask:
    steps = np.arange(wanted.context)
    values = 100.0 * (1.2 + np.sin(steps / 3.8)) * draw.uniform(0.8, 1.2, wanted.context)
    return {
        "series": values.round(2).tolist(),
        "frequency": wanted.frequency,
        "start_timestamp": "2024-01-01T00:00:00",
        "past_covariates": {name: [1.0] * wanted.context for name in wanted.past},
        "future_covariates": {name: [1.0] * wanted.horizon for name in wanted.future},
    }
