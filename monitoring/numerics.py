"""Test 5: numbers are finite and of a possible size: in what is served, in training, and in the model's own file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import durations
from data.errors import ModelError, NotFoundError, RegistryError
from data.forecaster import ONNX_FILE, verify
from data.monitoring import Numerics
from data.verdict import Check, Outcome, Verdict
from monitoring import model
from monitoring.context import Context
from monitoring.seen import NothingServedError, seen
from training import tracking

#: Figures of every backtest; training logs none that is NaN, since others may be (of a target that is always 0).
ALWAYS = ("backtest.mae", "backtest.rmse", "backtest.bias")


class Counted(NamedTuple):
    """What the service counted over the window; None where it has no such counter.

    Attributes:
        rows: forecasts made (series x steps).
        nonfinite: outputs that are NaN or infinite.
        extreme: outputs larger than ten times the largest value of training.
        infinite: features that are infinite, of a sample.
    """

    rows: float | None
    nonfinite: float | None
    extreme: float | None
    infinite: float | None


def check(context: Context) -> Verdict:
    """Gather the numbers, and judge them."""
    settings = context.params.monitoring.numerics
    try:
        found = seen(context, durations.seconds(settings.window))
    except NothingServedError as err:
        return Verdict.of([Check(name="served numbers", outcome=Outcome.INCONCLUSIVE, text=err.message)])

    def rise(name: str) -> float | None:
        samples = found.increase(context, name, found.seconds)
        return sum(one.value for one in samples) if samples else None

    counted = Counted(
        rise("model_rows_total"),
        rise("model_output_nonfinite_total"),
        rise("model_output_extreme_total"),
        rise("model_input_infinite_total"),
    )
    checks = served(counted, settings)
    try:
        checks.append(trained(tracking.figures(found.served.run_id), settings))
    except RegistryError as err:
        checks.append(Check(name="training", outcome=Outcome.INCONCLUSIVE, text=err.message))
    try:
        checks.append(own(numbers(model.folder(found.served))))
    except NotFoundError as err:
        checks.append(Check(name="model file", outcome=Outcome.INCONCLUSIVE, text=err.message))
    except ModelError as err:
        checks.append(Check(name="model file", outcome=Outcome.ERROR, text=err.message))
    return Verdict.of(checks)


def served(counted: Counted, settings: Numerics) -> list[Check]:
    """Whether what the service took and gave were numbers of a possible size."""
    if not counted.rows:
        text = f"no forecast was made within {settings.window} (model_rows_total)"
        return [Check(name="served numbers", outcome=Outcome.INCONCLUSIVE, text=text)]
    rows = counted.rows
    extreme = "forecasts and spreads exceed ten times the largest value of training (model_output_extreme_total)"
    limits = (
        ("finite outputs", "forecasts and spreads are NaN or infinite (model_output_nonfinite_total)",
         counted.nonfinite, 0.0),
        ("possible outputs", extreme, counted.extreme, settings.extreme * rows),
        ("finite features", "features are infinite (model_input_infinite_total)", counted.infinite, 0.0),
    )  # fmt: skip
    checks = []
    for name, what, number, limit in limits:
        if number is None:
            text = f"the service does not count how many {what}: serve a Bento of this version"
            checks.append(Check(name=name, outcome=Outcome.INCONCLUSIVE, text=text))
        else:
            outcome = Outcome.PASS if number <= limit else Outcome.FAIL
            text = f"{number:,.0f} {what}, at most {limit:,.0f} (limit) of {rows:,.0f} within {settings.window}"
            checks.append(Check(name=name, outcome=outcome, text=text, numbers={"value": number, "limit": limit}))
    return checks


def trained(figures: Mapping[str, float], settings: Numerics) -> Check:
    """Whether the run that made the model has finite figures, and an export that answers as scikit-learn does."""
    wrong = [f"{name} is {value}" for name, value in sorted(figures.items()) if not math.isfinite(value)]
    if wrong:
        return Check(name="training", outcome=Outcome.FAIL, text=f"figures of the run that are no numbers: {wrong[0]}")
    parity = figures.get("export.parity")
    if parity is None:
        text = f"the run has {len(figures)} figures and none of the export (export.parity)"
        return Check(name="training", outcome=Outcome.INCONCLUSIVE, text=text)
    missing = [name for name in ALWAYS if name not in figures]
    if missing:
        text = f"{', '.join(missing)} of the run was no number when it was trained (it was not logged)"
        return Check(name="training", outcome=Outcome.FAIL, text=text)
    return Check.at_most("relative difference between the export and scikit-learn", parity, settings.parity)


def own(found: Mapping[str, float]) -> Check:
    """Whether the model's own numbers are finite.

    Args:
        found: by place, the number of values there that are NaN or infinite.
    """
    wrong = [f"{place} has {count:g}" for place, count in found.items() if count]
    if not found:
        return Check(name="model file", outcome=Outcome.INCONCLUSIVE, text="the model's file holds no numbers")
    if wrong:
        text = f"numbers of the model's file that are NaN or infinite: {'; '.join(wrong[:3])}"
        return Check(name="model file", outcome=Outcome.FAIL, text=text)
    text = f"all thresholds, leaves, quantiles and bins of the model's file are finite ({len(found)} groups)"
    return Check(name="model file", outcome=Outcome.PASS, text=text)


def numbers(folder: Path) -> dict[str, float]:
    """By place in the model's files, how many numbers are NaN or infinite.

    Raises:
        ModelError: a file is missing or damaged.
    """
    import onnx

    card = verify(folder)
    found: dict[str, float] = {}
    for node in onnx.load(str(folder / ONNX_FILE)).graph.node:
        for attribute in node.attribute:
            values = np.array(attribute.floats, np.float64)
            if attribute.type == onnx.AttributeProto.TENSOR:
                values = np.asarray(onnx.numpy_helper.to_array(attribute.t))
            if values.size and values.dtype.kind == "f":
                found[f"{node.name}.{attribute.name}"] = float((~np.isfinite(values)).sum())
    for part in ("calibration", "reference"):
        values = np.array(list(_floats(getattr(card, part).model_dump())))
        found[part] = float((~np.isfinite(values)).sum())
    return found


def _floats(document: Any) -> Iterator[float]:
    if isinstance(document, float):
        yield document
    elif isinstance(document, dict):
        for part in document.values():
            yield from _floats(part)
    elif isinstance(document, list | tuple):
        for part in document:
            yield from _floats(part)
