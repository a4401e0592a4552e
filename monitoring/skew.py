"""Test 3: the features that the service computed are those that training computes, to the last bit.

The service keeps a few requests as they came, with the features it made of them. Here the training path (a whole panel,
`Design.origin_table`, this checkout's code) makes features of the same requests, for the served model's declaration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data import durations, gaps
from data.errors import NotFoundError
from data.features import Design, Rows
from data.forecaster import verify
from data.monitoring import Skew
from data.panel import Panel
from data.verdict import Check, Outcome, Verdict
from monitoring import model
from monitoring.context import Context
from service.record.samples import SampleEntry

Floats = NDArray[np.float64]

NAME = "features of training and serving"


def check(context: Context) -> Verdict:
    """Compute sampled requests again, and judge what comes out."""
    from service.record.sampled import sampled

    served, settings = context.served(), context.params.monitoring.skew
    if served is None:
        return _undecided("no service says which model it serves (model_info)")
    if context.record is None:
        return _undecided("there is no record: deploy the service, or name its record with --record")
    since = context.now - durations.seconds(settings.window)
    samples = sampled(context.record, served.version, served.bento, since, settings.most)
    try:
        card = verify(model.folder(served))
    except NotFoundError as err:
        return _undecided(err.message)
    return judge(samples, Design(card.declaration, card.scale_floor), settings)


def judge(samples: Sequence[SampleEntry], design: Design, settings: Skew) -> Verdict:
    """Compare the features of sampled requests with the training path's.

    Args:
        samples: requests, and the features that the service made of them.
        design: the served model's declaration, compiled by this checkout's code.
        settings: how many it takes.
    """
    differing: Counter[str] = Counter()
    example: dict[str, str] = {}
    for sample in samples:
        for feature, text in differences(sample, recomputed(sample, design), design.names).items():
            differing[feature] += 1
            example.setdefault(feature, text)
    if differing:
        return Verdict.of(
            [
                Check(
                    name=NAME,
                    outcome=Outcome.FAIL,
                    text=f"{feature} differs in {count} of {len(samples)} requests: {example[feature]}",
                    numbers={"requests": len(samples), "value": count, "limit": 0},
                )
                for feature, count in differing.most_common()
            ]
        )
    if len(samples) < settings.requests:
        return _undecided(
            f"{len(samples)} sampled requests of the last {settings.window} in the record, wanted {settings.requests} or more "
            "(skew.window, skew.requests): a worker keeps one each BENTOCAST_RECORD_SAMPLE"
        )
    text = f"{len(design.names)} features and the scale agree to the last bit in {len(samples)} requests"
    numbers = {"requests": len(samples), "value": 0, "limit": 0}
    return Verdict.of([Check(name=NAME, outcome=Outcome.PASS, text=text, numbers=numbers)])


def recomputed(sample: SampleEntry, design: Design) -> Rows:
    """The features of a request by the training path."""
    rules = design.declaration.series.gaps
    known = sample.values.size
    history = _panel(
        sample,
        gaps.fill(sample.values, rules.target),
        {name: gaps.fill(values, rules.covariates) for name, values in sample.past.items()},
    )
    origin = np.array([known - 1])
    # Training looks at a table in which the horizon's covariates follow the history.
    ahead = {name: np.full(known + design.horizon, np.nan) for name in {*sample.past, *sample.future}}
    for name, values in history.covariates.items():
        ahead[name][:known] = values
    for name, values in sample.future.items():
        ahead[name][known : known + values.size] = values
    target = np.concatenate([history.target, np.full(design.horizon, np.nan)])
    return design.rows(_panel(sample, target, ahead), origin, design.origin_table(history)[:, origin])


def differences(sample: SampleEntry, ours: Rows, names: Sequence[str]) -> dict[str, str]:
    """By feature, the first difference in words; features that agree are left out.

    Two NaN agree, 0.0 and -0.0 do not. The model takes float32, so that is what is compared; the scale is float64.
    """
    if sample.inputs.size != ours.inputs.size:
        return {"shape": f"the service made {sample.inputs.size} numbers, training makes {ours.inputs.size}"}
    theirs = sample.inputs.reshape(ours.inputs.shape)
    found = {}
    wrong = _bits(theirs) != _bits(ours.inputs)
    for place in np.flatnonzero(wrong.any(axis=0)).tolist():
        step = int(np.flatnonzero(wrong[:, place])[0])
        found[names[place]] = (
            f"series {sample.series!r} at {sample.origin}, step {step + 1}: the service made "
            f"{theirs[step, place]:.9g}, training makes {ours.inputs[step, place]:.9g}"
        )
    if sample.scale != ours.scale[0]:
        found["scale"] = f"series {sample.series!r} at {sample.origin}: {sample.scale:.17g}, not {ours.scale[0]:.17g}"
    return found


def _bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.where(np.isnan(values), np.float32(np.nan), values).astype(np.float32).view(np.uint32)


def _panel(sample: SampleEntry, target: Floats, covariates: dict[str, Floats]) -> Panel:
    return Panel(
        ids=(sample.series,),
        offsets=np.array([0, target.size]),
        starts=np.array([sample.origin - np.timedelta64((sample.values.size - 1) * sample.step_seconds, "s")]),
        step_seconds=sample.step_seconds,
        target=target,
        observed=np.ones(target.size, np.bool_),
        covariates=covariates,
    )


def _undecided(text: str) -> Verdict:
    return Verdict.of([Check(name=NAME, outcome=Outcome.INCONCLUSIVE, text=text)])
