"""Test 7: the forecasts that were served are as good as the backtest said.

Forecasts of the model that serves are put beside the actual values that came, and their errors are compared with the
backtest's day by day (`data.scoring`). A sudden change is found by evidence that adds up over days (CUSUM of
likelihood ratios), a small one that lasts by the mean of the whole window. docs/decisions/0013-quality.md has the
reasons and how often each is wrong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from data import durations, forecaster
from data.accuracy import Accuracy, Daily
from data.monitoring import Quality
from data.scoring import DAY, Batch, Days, Errors, Levels, Sums, Units, log_mean
from data.shown import SOME, some
from data.verdict import Check, Outcome, Verdict
from monitoring.context import Context, Served
from service.record.join import Pairs
from service.record.pairs import pairs

Floats = NDArray[np.float64]

#: The change that evidence is gathered for, in standard deviations of a day.
SHIFT = 3.0
#: Share of the evidence needed that one day of one slice may bring: a counter that was broken for two days is not a
#: worse model.
ONE_DAY = 0.35
#: Fewest days whose mean is judged, and how sure it has to be to fail.
DAYS, CONFIDENCE = 7, 0.999
#: Quantiles are judged whose level is a multiple of 1 / this: clients may ask for any, and each has a check of its own.
LEVELS = 200
#: Fewest days that say anything of how they vary.
INTERVAL_DAYS = 3
#: Days of the backtest below which there is no telling how days vary.
REFERENCE_DAYS = 14


@dataclass
class Found:
    """What served forecasts came to.

    Attributes:
        days: that were looked at.
        due: shape (days,), steps whose time is over, of series that the backtest had or of which any value came.
        arrived: shape (days,), those of them with an actual value, be it that it is known to be missing.
        errors: sums of errors; None if nothing arrived.
        below, above: by quantile level, shape (days,): steps whose actual value is below, and above the quantile.
        asked: by quantile level, shape (days,): steps with that quantile and an actual value.
        strangers: other series: anybody may ask for names that nobody measures.
        unmeasured: by series that the backtest had and of which no number came, shape (days,), steps that are due.
    """

    days: Days
    due: Floats
    arrived: Floats
    errors: Errors | None = None
    below: dict[float, Floats] = field(default_factory=dict)
    above: dict[float, Floats] = field(default_factory=dict)
    asked: dict[float, Floats] = field(default_factory=dict)
    strangers: int = 0
    unmeasured: dict[str, Floats] = field(default_factory=dict)

    def late(self, least: float) -> NDArray[np.bool_]:
        """Days of which too few actual values are there: those that come first need not be like the others."""
        return self.arrived < least * self.due


def check(context: Context) -> Verdict:
    """Compare what was served with the backtest of the model that served it."""
    served = context.served()
    if served is None:
        return _unknown("no service tells which model it serves (model_info): is it up, and does Prometheus reach it?")
    if context.record is None:
        return _unknown("there is no record of forecasts: start the service with BENTOCAST_RECORD=true")
    card = reference(context, served)
    if isinstance(card, str):
        return _unknown(card)
    settings = context.params.monitoring.quality
    step = card.declaration.series.step_seconds
    days = Days(int(context.wall) // step * step, durations.seconds(settings.window) // DAY, step)
    record, version, name = context.record, served.version, served.model
    begin, end = (np.datetime64(moment, "s") for moment in (days.end - days.count * DAY, days.end))
    if card.accuracy is None:
        return _unknown(f"model {version} was trained before models kept their backtest's accuracy: train it again")
    return judge(gather(lambda: pairs(record, begin, end, version, name), card.accuracy, days), card.accuracy, settings)


def reference(context: Context, served: Served) -> forecaster.Card | str:
    """The card of the model that serves, from MLflow, or why there is none."""
    from training import registry, tracking

    tracking.connect("the test was not run")
    name = context.params.promote.experiment
    version = registry.find(name, served.version)
    if version is None:
        return f"MLflow holds no version {served.version!r} of {name!r}, which serves: is it another registry's?"
    if served.run_id not in ("", "unknown", version.run_id):
        return (
            f"{name} version {served.version} is of run {version.run_id} in MLflow, and of run {served.run_id} in the "
            "service: errors of another model are no reference"
        )
    with registry.model(version) as folder:
        return forecaster.verify(folder)


def gather(read: Callable[[], Iterable[Pairs]], accuracy: Accuracy, days: Days) -> Found:
    """Add up forecasts beside actual values, in two passes; memory is that of one chunk and of series x days.

    Args:
        read: the pairs of the days, in any order, each time that it is called.
        accuracy: of the model that made the forecasts.
        days: that are looked at.
    """
    numbers: dict[str, int] = {}
    found = Found(days, np.zeros(days.count), np.zeros(days.count))
    levels, due = Levels(days), Arrivals(days)
    for part in read():
        day = days.of(part.time.astype(np.int64))
        batch = _batch(part, numbers)
        due.add(batch, day, part.has_actual)
        for level, quantile in zip(part.levels.tolist(), part.quantiles, strict=True):
            if abs(level * LEVELS - round(level * LEVELS)) > 1e-6:
                continue
            for kept, hit in (
                (found.below, part.actual < quantile),
                (found.above, part.actual > quantile),
                (found.asked, ~np.isnan(part.actual) & ~np.isnan(quantile)),
            ):
                kept[level] = kept.get(level, np.zeros(days.count)) + np.bincount(day, hit, days.count)
        levels.add(batch)
    expected = [name in accuracy.expected.sizes for name in numbers]
    found.due, found.arrived, found.strangers = due.of(expected)
    measured = set(np.flatnonzero(levels.count.any(axis=1)).tolist())
    found.unmeasured = {
        name: due.due[place] for name, place in numbers.items() if expected[place] and place not in measured
    }
    if levels.count.sum():
        # Actual values come in between the two passes, too: a series that had none in the first is left out.
        numbers = dict(itertools.islice(numbers.items(), len(levels.count)))
        found.errors = Errors([*numbers], Units.of(accuracy.expected, [*numbers], levels.sizes), levels)
        for part in read():
            found.errors.add(_batch(part, numbers, fresh=False))
    return found


@dataclass
class Arrivals:
    """Steps that are due, and those with an actual value, by series and day."""

    days: Days
    due: Floats = field(init=False)
    arrived: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.due, self.arrived = (np.zeros((0, self.days.count)) for _ in range(2))

    def add(self, batch: Batch, day: NDArray[np.int64], has_actual: NDArray[np.bool_]) -> None:
        """Take in some steps, all inside the days."""
        more = int(batch.series.max(initial=-1)) + 1 - len(self.due)
        if more > 0:
            self.due, self.arrived = (np.pad(one, ((0, more), (0, 0))) for one in (self.due, self.arrived))
        cell = batch.series * self.days.count + day
        self.due += np.bincount(cell, minlength=self.due.size).reshape(self.due.shape)
        self.arrived += np.bincount(cell, has_actual, self.due.size).reshape(self.due.shape)

    def of(self, known: Sequence[bool]) -> tuple[Floats, Floats, int]:
        """Both by day, and how many series are left out: those that are not known and of which nothing came.

        Args:
            known: of each series, whether the backtest had it.
        """
        kept = np.array(known, dtype=bool) | self.arrived.any(axis=1)
        if not kept.any():  # nothing came of any
            kept[:] = True
        return self.due[kept].sum(axis=0), self.arrived[kept].sum(axis=0), int((~kept).sum())


def _batch(part: Pairs, numbers: dict[str, int], *, fresh: bool = True) -> Batch:
    """The pairs with their series as numbers; unless `fresh`, a series without a number is left out."""
    if fresh:
        for name in dict.fromkeys(part.series.tolist()):
            numbers.setdefault(name, len(numbers))
    series = np.array([numbers.get(name, -1) for name in part.series.tolist()], dtype=np.int64)
    made = Batch(series, part.step, part.time.astype(np.int64), part.forecast, part.actual)
    return made if fresh else made.take(series >= 0)


def judge(found: Found, accuracy: Accuracy, settings: Quality) -> Verdict:
    """The verdict on what was served.

    Args:
        found: of the window.
        accuracy: what the backtest said.
        settings: what is tolerated.
    """
    due, arrived = float(found.due.sum()), float(found.arrived.sum())
    numbers = {"due": due, "arrived": arrived, "late_days": float(found.late(settings.arrived).sum())}
    if not due:
        return _unknown(f"no forecast of this model is due in the last {settings.window}", numbers)
    text = f"{arrived:,.0f} of {due:,.0f} forecast values whose time is over have an actual value ({arrived / due:.1%})"
    if found.strangers:
        text += f"; left out: {found.strangers:,} series that the backtest did not have and of which no value came"
    errors, late = found.errors, found.late(settings.arrived)
    if arrived < settings.arrived * due or errors is None or (late | (found.due == 0)).all():
        return _unknown(f"{text}, wanted {settings.arrived:.0%} (quality.arrived): the others are late", numbers)
    if accuracy.days < REFERENCE_DAYS:
        return _unknown(f"the backtest has {accuracy.days} days, wanted {REFERENCE_DAYS}: set more backtest.folds")
    if not errors.all().rows[~late].sum():
        return _unknown("no forecast that is due is a number and has an actual value that is one", numbers)
    checks = [Check(name="arrived", outcome=Outcome.PASS, text=text, numbers=numbers), *_unmeasured(found, late)]
    checks += [_sudden(errors.shape(), late, accuracy, settings), _slices(errors, late, accuracy, settings)]
    checks += [*_lasting(errors.all(), late, accuracy, settings), *_quantiles(found, late, settings)]
    return Verdict.of(checks)


def _unmeasured(found: Found, late: NDArray[np.bool_]) -> list[Check]:
    """Series that are forecast and were in the backtest, and of which nothing came on days on which others' did."""
    names = [name for name, due in found.unmeasured.items() if due[~late].any()]
    if not names:
        return []
    text = (
        f"{len(names):,} series that the backtest had are not judged, since no actual value of them is a number: "
        f"{some(names)}; who brings them (POST /v1/timeseries/actuals)?"
    )
    numbers = {"value": float(len(names))}
    return [Check(name="series without values", outcome=Outcome.INCONCLUSIVE, text=text, numbers=numbers)]


def evidence(deviations: Floats, cap: float = math.inf) -> Floats:
    """Evidence, after each day, that errors have become larger at some moment: a CUSUM of likelihood ratios.

    Args:
        deviations: shape (days,), how many standard deviations each day is above the backtest's mean; NaN is no evidence.
        cap: most that one day may bring.

    Returns:
        Shape (days,), logarithms: of the likelihood ratio of a normal distribution moved by `SHIFT` to one that is not,
        over the most telling run of days that ends there (Page 1954). While nothing changes it reaches log(A) not more
        often than once in A days on average (Lorden 1971).
    """
    made = np.zeros(deviations.size)
    state = 0.0
    for place, deviation in enumerate(deviations.tolist()):
        if not math.isnan(deviation):
            state = max(0.0, state + min(cap, SHIFT * (deviation - SHIFT / 2)))
        made[place] = state
    return made


def deviations(values: Floats, usual: Daily) -> Floats:
    """How many standard deviations values are above the usual mean; NaN where that is not known."""
    return (values - usual.mean) / usual.deviation if usual.deviation > 0 else np.full_like(values, np.nan)


def _sudden(shape: Floats, late: NDArray[np.bool_], accuracy: Accuracy, settings: Quality) -> Check:
    name, usual = "errors from day to day", accuracy.shape["all"]
    moved = deviations(np.where(late, np.nan, shape), usual)
    if np.isnan(moved).all():
        return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=f"{name}: no day has enough values of most series")
    found, needed = float(evidence(moved)[-1]), math.log(durations.seconds(settings.false_alarm) / DAY)
    worst = float(np.nanmax(moved))
    text = (
        f"{name}: evidence {found:.1f} {'>' if found > needed else '<='} {needed:.1f} that they grew, the worst day "
        f"{worst:.1f} standard deviations above the backtest's mean"
    )
    outcome = Outcome.FAIL if found > needed else Outcome.PASS
    return Check(name=name, outcome=outcome, text=text, numbers={"value": found, "limit": needed, "worst": worst})


def _slices(errors: Errors, late: NDArray[np.bool_], accuracy: Accuracy, settings: Quality) -> Check:
    """Each slice as the whole, with as much more evidence as there are slices, and larger errors while it grew."""
    slices = [(name, sums) for name, sums in errors.slices() if name in accuracy.shape]
    needed = math.log(durations.seconds(settings.false_alarm) / DAY * max(1, len(slices)))
    half = errors.levels.days.values / 2
    found: dict[str, float] = {}
    worse: list[str] = []
    known = False
    for name, sums in slices:
        family = name.partition(" ")[0]
        # A step that is forecast once a day is one hour of the day, and varies as that does, not as the backtest's did.
        least = {"series": half, "step": accuracy.shape[name].rows / 2}.get(family, 1)
        values = np.where(late, np.nan, log_mean(sums.shape, sums.shaped, least))
        moved = deviations(values, accuracy.shape[name])
        known = known or not np.isnan(moved).all()
        grown = evidence(moved, ONE_DAY * needed)
        found[name] = float(grown[-1])
        if found[name] > needed:
            since = int(np.flatnonzero(np.append(0.0, grown) == 0)[-1])
            if math.exp(float(np.nanmean(values[since:])) - accuracy.shape[name].mean) > settings.worse:
                worse.append(name)
    worse.sort(key=lambda name: -found[name])
    worst = max(found, key=lambda name: found[name], default="none")
    numbers = {
        "slices": float(len(found)),
        "limit": needed,
        "value": found.get(worst, 0.0),
        "worse": float(len(worse)),
    }
    text = f"{len(found)} slices: most evidence {found.get(worst, 0.0):.1f} ({worst}), needed {needed:.1f}"
    if worse:
        text = f"{len(worse)} of {len(found)} slices got worse: {', '.join(_told(errors, accuracy, worse[:SOME]))}"
    outcome = Outcome.FAIL if worse else Outcome.PASS if known else Outcome.INCONCLUSIVE
    return Check(name="slices", outcome=outcome, text=text, numbers=numbers)


def _told(errors: Errors, accuracy: Accuracy, names: Sequence[str]) -> list[str]:
    """Slices with their MAE now and in the backtest."""
    found = dict(errors.slices())
    return [
        f"{name} (MAE {found[name].absolute.sum() / found[name].rows.sum():.3g}, {accuracy.mae[name]:.3g} in the backtest)"
        for name in names
    ]


def _lasting(whole: Sums, late: NDArray[np.bool_], accuracy: Accuracy, settings: Quality) -> list[Check]:
    """Error and bias over the whole window."""
    kept = ~late & (whole.rows > 0)
    count = whole.rows[kept]
    mae, bias = float(whole.absolute[kept].sum() / count.sum()), float(whole.bias[kept].sum() / count.sum())
    edges = _interval(whole.bias[kept] / count)
    nearest = 0.0 if edges[0] <= 0 <= edges[1] else min(map(abs, edges))
    signed = {"value": bias, "low": edges[0], "high": edges[1], "limit": settings.bias}
    told = f"bias {bias:+.3g} expected errors ({edges[0]:+.3g} to {edges[1]:+.3g}), limit {settings.bias:g}"
    return [
        _error(whole.error[kept] / count, mae, accuracy, settings),
        Check(name="bias", outcome=_outcome(nearest > settings.bias, kept), text=told, numbers=signed),
    ]


def _error(days: Floats, mae: float, accuracy: Accuracy, settings: Quality) -> Check:
    """Errors of days, in expected ones; a day without any (all is closed, and nothing was forecast) has no logarithm."""
    wrong = days > 0
    if not wrong.any():
        text = f"error: no error at all on {days.size} days: is what comes in what was forecast?"
        return Check(name="error", outcome=Outcome.INCONCLUSIVE, text=text)
    ratios = np.log(days[wrong]) - accuracy.error.mean
    low, high = (math.exp(edge) for edge in _interval(ratios))
    error = math.exp(float(ratios.mean()))
    found = {
        "mae": mae,
        "value": error,
        "low": low,
        "high": high,
        "limit": settings.worse,
        "days": float(wrong.sum()),
    }
    text = (
        f"error {error:.3g} times what was expected ({low:.3g} to {high:.3g}), limit {settings.worse:g}; MAE {mae:.4g}"
    )
    return Check(name="error", outcome=_outcome(low > settings.worse, wrong), text=text, numbers=found)


def _quantiles(found: Found, late: NDArray[np.bool_], settings: Quality) -> list[Check]:
    """For each level that was asked for: no more actual values above, or below, than there should be.

    Two one-sided questions, since many actual values may equal a quantile (a count of 0).
    """
    made = []
    for level, asked in sorted(found.asked.items()):
        kept = ~late & (asked > 0)
        if not kept.any():
            continue
        above, below = (part[level][kept] / asked[kept] for part in (found.above, found.below))
        beyond = max(_interval(above)[0] - (1 - level), _interval(below)[0] - level)
        limit = settings.coverage * 2 * math.sqrt(level * (1 - level))
        shares = {"above": float(above.mean()), "below": float(below.mean()), "limit": limit, "value": beyond}
        text = (
            f"quantile {level:g}: {shares['below']:.1%} of actual values below and {shares['above']:.1%} above, wanted at "
            f"most {level:.1%} and {1 - level:.1%}, give or take {limit:.1%}"
        )
        outcome = _outcome(beyond > limit, kept)
        made.append(Check(name=f"quantile {level:g}", outcome=outcome, text=text, numbers=shares))
    return made


def _interval(values: Floats) -> tuple[float, float]:
    """Of the mean of days that resemble the day before: Student's t with the variance of a first-order autoregression."""
    mean = float(values.mean())
    if values.size < INTERVAL_DAYS:
        return -math.inf, math.inf
    centred = values - mean
    variance = float((centred**2).sum()) / (values.size - 1)
    if not variance:
        return mean, mean
    memory = min(0.9, max(0.0, float((centred[1:] * centred[:-1]).sum() / (centred**2).sum())))
    error = math.sqrt(variance / values.size * (1 + memory) / (1 - memory))
    reach = float(stats.t.ppf(CONFIDENCE, values.size - 1)) * error
    return mean - reach, mean + reach


def _outcome(failed: bool, kept: NDArray[np.bool_]) -> Outcome:  # noqa: FBT001 - of the line that calls it
    if not failed:
        return Outcome.PASS if kept.sum() >= INTERVAL_DAYS else Outcome.INCONCLUSIVE
    return Outcome.FAIL if kept.sum() >= DAYS else Outcome.INCONCLUSIVE


def _unknown(text: str, numbers: dict[str, float] | None = None) -> Verdict:
    return Verdict.of([Check(name="quality", outcome=Outcome.INCONCLUSIVE, text=text, numbers=numbers or {})])
