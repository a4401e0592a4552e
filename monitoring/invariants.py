"""Test 2: inputs in serving are what they were in training.

Four looks at what clients send, each over the last day, week and four weeks, as far as the served model has served:

- values against the limits that are declared for their column (`series.limits`), which training refuses to break;
- values of features beyond all that training saw;
- values of features that are missing and were there in training, which no distribution shows;
- the distribution of each feature, and of the forecast, against training's: by PSI, which fails above what training's
  own stretches of that length reach (`training.noise`), with a margin, and above what chance makes of so few values.
  Each hour of a day, and each quarter of the days of more, counts as much as another: an hour of load is no drift.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data import drift, durations
from data.drift import FEWEST, STRETCHES
from data.monitoring import Invariants
from data.params import Series
from data.verdict import Check, Outcome, Verdict
from monitoring.context import Context
from monitoring.metrics import Sample
from monitoring.seen import NothingServedError, Seen, seen

Floats = NDArray[np.float64]

HOUR, QUARTER, DAY = 3_600, 21_600, 86_400
#: Days of fewer requests, weekends for example, are still days of a stretch.
EVEN = 0.7


@dataclass(frozen=True)
class Stretch:
    """What was counted over some time.

    Attributes:
        name: its length.
        like: length of the stretches of training that may be as far from the whole; shorter where requests came on
            fewer days than it has.
        bins: by feature, values in each bin, where each hour (each quarter of a day) counts as much as another.
        counted: by feature, values.
        outside: by feature, values beyond all of training.
        noise: by feature, the largest PSI of a stretch of training like it; empty where that is not known.
        values: by column, values looked at.
        broken: by column and kind, values that break a limit.
        missing: by feature, values that are missing.
        usual: by feature, the share that was missing in training; a model of an earlier version does not say.
    """

    name: str
    like: str
    bins: Mapping[str, Floats]
    counted: Mapping[str, float]
    outside: Mapping[str, float]
    noise: Mapping[str, float]
    values: Mapping[str, float]
    broken: Mapping[tuple[str, str], float]
    missing: Mapping[str, float] = field(default_factory=dict)
    usual: Mapping[str, float] = field(default_factory=dict)


def check(context: Context) -> Verdict:
    """Gather what was counted, and judge it."""
    settings, series = context.params.monitoring.invariants, context.params.series
    try:
        found = seen(context, durations.seconds(settings.window))
    except NothingServedError as err:
        return Verdict.of([Check(name="inputs", outcome=Outcome.INCONCLUSIVE, text=err.message)])
    shares = _by_bin(found.last(context, "model_feature_reference_ratio"), largest=True)
    fitting = [name for name in STRETCHES if durations.seconds(name) <= found.seconds * 1.001]
    stretches = [_gather(context, found, name, durations.seconds(name)) for name in fitting]
    if not stretches:  # nothing can be said of drift yet, but limits hold from the first hour
        stretches = [_gather(context, found, f"{found.seconds / 3600:.2g}h", found.seconds)]
    return judge(stretches, shares, settings, series)


def judge(stretches: list[Stretch], shares: Mapping[str, Floats], settings: Invariants, series: Series) -> Verdict:
    """Whether inputs are what they were in training.

    Args:
        stretches: what was counted, over one time or several.
        shares: by feature, the share of training in each bin.
        settings: limits of the test.
        series: which columns there are, and how often they may be missing.
    """
    checks = []
    for stretch in stretches:
        checks += [
            *_limits(stretch, settings, series),
            *_outside(stretch, settings),
            *_missing(stretch, settings),
            *_drift(stretch, shares, settings),
        ]
    return Verdict.of(checks)


def _limits(stretch: Stretch, settings: Invariants, series: Series) -> list[Check]:
    name = f"limits over {stretch.name}"
    looked_at = {column: count for column, count in stretch.values.items() if count > FEWEST}
    if not looked_at:
        return [
            _undecided(name, f"no column has more than {FEWEST} values that clients sent (model_input_values_total)")
        ]
    failed = []
    for column, count in looked_at.items():
        tolerated = {"low": settings.beyond, "high": settings.beyond, "constant": settings.constant}
        missing = series.limits_of(column).missing
        for kind, limit in (tolerated | ({} if missing is None else {"missing": missing})).items():
            share = stretch.broken.get((column, kind), 0.0) / count
            if not share <= limit:
                text = f"{_MEANING[kind].format(column=column)}: {share:.1%} of {count:,.0f} values over {stretch.name}"
                failed.append(_failed(name, f"{text}, at most {limit:.1%} (limit)", share, limit))
    text = f"{len(looked_at)} columns keep their limits over {stretch.name}, {sum(looked_at.values()):,.0f} values"
    return failed or [Check(name=name, outcome=Outcome.PASS, text=text)]


_MEANING = {
    "low": "{column} is below series.limits.{column}.low",
    "high": "{column} is above series.limits.{column}.high",
    "constant": "{column} stays at one value for longer than series.limits.{column}.constant",
    "missing": "{column} is missing",
}


def _outside(stretch: Stretch, settings: Invariants) -> list[Check]:
    name, failed, counted = f"range over {stretch.name}", [], 0
    for feature, number in stretch.counted.items():
        if number <= FEWEST:
            continue
        counted += 1
        share = stretch.outside.get(feature, 0.0) / number
        if not share <= settings.outside:
            text = f"{feature} lies beyond all of training in {share:.1%} of {number:,.0f} values over {stretch.name}"
            failed.append(_failed(name, f"{text}, at most {settings.outside:.1%} (limit)", share, settings.outside))
    if not counted:
        return [_undecided(name, f"no feature has more than {FEWEST} values over {stretch.name}")]
    return failed or [
        Check(name=name, outcome=Outcome.PASS, text=f"{counted} features lie where training was over {stretch.name}")
    ]


def _missing(stretch: Stretch, settings: Invariants) -> list[Check]:
    """Of what training had of a feature, no more than a share is missing.

    A feature that is missing now and then in training (the mean of holidays before this one) may be so for all of a day:
    it is judged over longer stretches alone.
    """
    name, failed, judged = f"missing over {stretch.name}", [], 0
    for feature, missing in stretch.missing.items():
        number, usual = missing + stretch.counted.get(feature, 0.0), stretch.usual.get(feature)
        if number <= FEWEST or usual == 1 or (usual != 0 and stretch.name not in STRETCHES[1:]):
            continue
        judged += 1
        share, trained = missing / number, usual or 0.0
        limit = trained + settings.missing * (1 - trained)
        if not share <= limit:
            text = f"{feature} is missing in {share:.1%} of {number:,.0f} values over {stretch.name}"
            told = "of training it is not known" if usual is None else f"{trained:.1%} in training"
            failed.append(_failed(name, f"{text}, {told}, at most {limit:.1%} (limit)", share, limit))
    if not judged:
        return []
    text = f"{judged} features are there as they were in training over {stretch.name}"
    return failed or [Check(name=name, outcome=Outcome.PASS, text=text)]


def _drift(stretch: Stretch, shares: Mapping[str, Floats], settings: Invariants) -> list[Check]:
    name = f"drift over {stretch.name}"
    if not stretch.noise:
        why = (
            "the served model does not say how far its own training data is from itself: train it again"
            if stretch.name in STRETCHES
            else f"it has served for {stretch.name}, wanted {STRETCHES[0]} or more"
        )
        return [_undecided(name, why)]
    failed, ratios = [], {}
    for feature, bins in stretch.bins.items():
        number, reference = float(bins.sum()), shares.get(feature)
        if number <= FEWEST or feature not in stretch.noise:
            continue
        if reference is None or reference.size != bins.size:
            text = f"{feature} has {bins.size} bins, its reference (model_feature_reference_ratio) has not"
            return [Check(name=name, outcome=Outcome.ERROR, text=text)]
        psi = float(drift.psi(bins, reference))
        limit = settings.margin * stretch.noise[feature] + max(settings.psi, drift.CHANCE / number)
        ratios[feature] = psi / limit
        if not psi <= limit:
            text = (
                f"{feature} has drifted: PSI {psi:.3g} > {limit:.3g} (limit) over {stretch.name}, {number:,.0f} values"
                + ("" if stretch.like == stretch.name else f", on as few days as {stretch.like} has")
            )
            failed.append(_failed(name, text, psi / limit, 1.0))
    if not ratios:
        return [_undecided(name, f"no feature has more than {FEWEST} values over {stretch.name}")]
    nearest = max(ratios, key=ratios.__getitem__)
    text = (
        f"{len(ratios)} of {len(stretch.bins)} features have enough values and none has drifted over {stretch.name}; "
        f"{nearest} comes nearest, at {ratios[nearest]:.0%} of its limit"
    )
    return failed or [
        Check(name=name, outcome=Outcome.PASS, text=text, numbers={"value": ratios[nearest], "limit": 1.0})
    ]


def _undecided(name: str, text: str) -> Check:
    return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=text)


def _failed(name: str, text: str, value: float, limit: float) -> Check:
    return Check(name=name, outcome=Outcome.FAIL, text=text, numbers={"value": value, "limit": limit})


def _gather(context: Context, found: Seen, name: str, seconds: float) -> Stretch:
    def summed(metric: str, *labels: str) -> dict[tuple[str, ...], float]:
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for one in found.increase(context, metric, seconds):
            sums[tuple(one.labels[label] for label in labels)] += one.value
        return sums

    by_part = _by_part(context, found, name, seconds)
    like = _like(name, max((_days(counts, seconds) for counts in by_part.values()), default=0))
    noise = [one for one in found.last(context, "model_feature_reference_psi") if one.labels["stretch"] == like]
    return Stretch(
        name=name,
        like=like,
        bins={feature: even(counts) for feature, counts in by_part.items()},
        counted={feature: value for (feature,), value in summed("model_feature_bin_total", "feature").items()},
        outside={feature: value for (feature,), value in summed("model_feature_outside_total", "feature").items()},
        noise={one.labels["feature"]: one.value for one in noise},
        values={column: value for (column,), value in summed("model_input_values_total", "column").items()},
        broken={
            (column, kind): value
            for (column, kind), value in summed("model_input_violation_total", "column", "kind").items()
        },
        missing={feature: value for (feature,), value in summed("model_feature_missing_total", "feature").items()},
        usual={
            one.labels["feature"]: one.value for one in found.last(context, "model_feature_reference_missing_ratio")
        },
    )


def even(counts: Floats) -> Floats:
    """Values in each bin, where each part that has any counts as much as another.

    Args:
        counts: shape (parts, bins).

    Returns:
        Shape (bins,): the mean of the parts' shares, times how many values would say as much if parts had as many each.
    """
    numbers = counts.sum(axis=1)
    kept, many = counts[numbers > 0], numbers[numbers > 0]
    if not many.size:
        return np.zeros(counts.shape[1])
    return np.asarray((kept / many[:, None]).mean(axis=0) * many.size**2 / (1 / many).sum())


def _like(name: str, days: int) -> str:
    """The longest stretch that is no longer than this one and has not many more days than its requests came on."""
    if name not in STRETCHES[1:]:
        return name
    fitting = [one for one in STRETCHES[: STRETCHES.index(name) + 1] if EVEN * durations.seconds(one) <= days * DAY]
    return fitting[-1] if fitting else STRETCHES[0]


def _days(counts: Floats, seconds: float) -> int:
    """Days of a stretch, back from its end, in which there is any value."""
    parts = len(counts)
    ago = (parts - 1 - np.flatnonzero(counts.any(axis=1))) * seconds / parts // DAY
    return int(np.unique(ago).size)


def _by_part(context: Context, found: Seen, name: str, seconds: float) -> dict[str, Floats]:
    """By feature, values in each bin of each part of a stretch, oldest first; shape (parts, bins)."""
    part = QUARTER if name in STRETCHES[1:] else HOUR
    parts, begin = max(1, int(seconds / part)), context.now - seconds
    cells: dict[str, dict[tuple[int, int], float]] = defaultdict(lambda: defaultdict(float))
    for labels, points in context.metrics.over("model_feature_bin_total", seconds, part):
        if labels["instance"] not in found.instances:
            continue
        # Counters begin at 0: what is on a page that was not there a part before came since.
        first = [] if points[0][0] < begin + part / 2 else [(begin, 0.0)]
        for (_, before), (at, after) in pairwise([*first, *points]):
            place = min(parts - 1, round((at - begin) / part) - 1)
            cells[labels["feature"]][place, int(labels["bin"])] += after - before if after >= before else after
    made = {}
    for feature, values in cells.items():
        made[feature] = np.zeros((parts, 1 + max(place for _, place in values)))
        for cell, value in values.items():
            made[feature][cell] = value
    return made


def _by_bin(samples: Iterable[Sample], *, largest: bool = False) -> dict[str, Floats]:
    """By feature, the values of its bins in order: sums over instances, or the largest, of what is the same in all."""
    cells: dict[str, dict[int, float]] = defaultdict(dict)
    for one in samples:
        bins, place = cells[one.labels["feature"]], int(one.labels["bin"])
        before = bins.get(place, 0.0)
        bins[place] = max(before, one.value) if largest else before + one.value
    return {
        feature: np.array([bins.get(place, 0.0) for place in range(max(bins) + 1)]) for feature, bins in cells.items()
    }
