"""Histories as clients send them, and the check that turns them into a question the model can be asked.

The usual request (nothing missing, all series of one length) is checked by a few operations over all of
its series; anything else is gone through series by series, which fills gaps or names what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data import durations, gaps
from data.errors import RequestError
from data.forecaster import Forecaster
from data.params import Gap
from service.faults import MAX_SHOWN, short

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]

MAX_QUANTILES = 99
MAX_NAME = 256
MAX_FREQUENCY = 32
#: A level may lie so far beyond what is calibrated, and is taken for its end: with 32 bits, 0.005 is a little less.
ROUNDING = 1e-6
#: Values beyond this cannot be squared and summed without overflow.
MAX_MAGNITUDE = 1e100
EARLIEST, LATEST = np.datetime64("1900-01-01", "s"), np.datetime64("2200-01-01", "s")


@dataclass(frozen=True, slots=True)
class History:
    """One series as a client sent it.

    Attributes:
        name: echoed in the answer.
        values: the target, oldest first; NaN where there is no value.
        start: time of the first value.
        frequency: time between values, or None for the model's.
        past_covariates: by name, one value for each of `values`.
        future_covariates: by name, one value for each step ahead.
        where: its place in the request, for error messages.
    """

    name: str
    values: Floats
    start: np.datetime64
    frequency: str | None = None
    past_covariates: Mapping[str, Floats] = field(default_factory=dict)
    future_covariates: Mapping[str, Floats] = field(default_factory=dict)
    where: str = "series"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    series: int = 1_024
    values: int = 4_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """Checked histories, gaps filled, cut to what the model looks at.

    Attributes:
        names: of the series.
        starts: shape (series,), time of the first value of each row.
        target: shape (series, context).
        past: by name, shape (series, context).
        future: by name, shape (series, steps).
        steps: how many are asked for.
        levels: quantiles asked for.
        horizon: steps that the model computes.
        sent: the histories as they came.
    """

    names: tuple[str, ...]
    starts: Times
    target: Floats
    past: Mapping[str, Floats]
    future: Mapping[str, Floats]
    steps: int
    levels: tuple[float, ...]
    horizon: int
    sent: Sequence[History] = ()

    @property
    def rows(self) -> int:
        """Rows of the model's input."""
        return len(self.names) * self.horizon


def ask(
    forecaster: Forecaster,
    histories: Sequence[History],
    horizon: int | None,
    levels: Sequence[float],
    limits: Limits = Limits(),
) -> Question:
    """Check a request whole.

    Args:
        forecaster: the model.
        histories: the series, each at least `forecaster.design.context` values long.
        horizon: steps ahead, or None for the model's.
        levels: quantiles wanted, each in (0, 1).
        limits: what may be asked for at once.

    Raises:
        RequestError: names the value at fault, what was got and what is wanted.
    """
    steps = steps_of(forecaster, horizon)
    wanted = levels_of(forecaster, levels)
    if not histories:
        raise RequestError("inputs is empty, wanted one series or more", param="inputs")
    size = sum(history.values.size for history in histories)
    if len(histories) > limits.series or size > limits.values:
        raise RequestError(
            f"got {len(histories)} series with {size} values, wanted at most {limits.series} series and "
            f"{limits.values} values: send several requests",
            param="inputs",
        )
    return _clean(forecaster, histories, steps, wanted) or _mended(forecaster, histories, steps, wanted)


def steps_of(forecaster: Forecaster, horizon: int | None) -> int:
    """Steps asked for: the model's if none are named.

    Raises:
        RequestError: the model does not forecast so many.
    """
    longest = forecaster.design.horizon
    if horizon is None:
        return longest
    if not 1 <= horizon <= longest:
        raise RequestError(
            f"options.horizon: got {short(horizon)}, wanted 1 to {longest}, the steps this model forecasts",
            param="options.horizon",
        )
    return horizon


def levels_of(forecaster: Forecaster, levels: Sequence[float]) -> tuple[float, ...]:
    """Quantiles asked for, as many as there were: the answer of some protocols goes by their places.

    Raises:
        RequestError: one lies outside of what is calibrated, or they are too many.
    """
    if len(levels) > MAX_QUANTILES:
        raise RequestError(
            f"options.quantiles: got {len(levels)}, wanted at most {MAX_QUANTILES}", param="options.quantiles"
        )
    low, high = forecaster.card.calibration.levels[0], forecaster.card.calibration.levels[-1]
    for level in levels:
        if not low - ROUNDING <= level <= high + ROUNDING:
            raise RequestError(
                f"options.quantiles: got {level}, wanted {low} to {high}, which is calibrated",
                param="options.quantiles",
            )
    return tuple(min(max(level, low), high) for level in levels)


def _clean(
    forecaster: Forecaster, histories: Sequence[History], steps: int, levels: tuple[float, ...]
) -> Question | None:
    """The question if nothing is missing or wrong anywhere, by a few operations over all series; else None."""
    design, series = forecaster.design, forecaster.card.declaration.series
    step, length = series.step_seconds, histories[0].values.size
    if length < design.context or not all(_same_frequency(history.frequency, step) for history in histories):
        return None
    values = _stacked([history.values for history in histories], length)
    past = _columns([history.past_covariates for history in histories], design.past, length)
    future = _columns([history.future_covariates for history in histories], design.future, steps)
    if values is None or past is None or future is None:
        return None
    starts = np.array([history.start for history in histories], dtype="datetime64[s]")
    cut = length - design.context
    everything = np.concatenate([part.ravel() for part in (values, *past.values(), *future.values())])
    # A NaN fails each of these comparisons.
    if not (
        np.minimum.reduce(everything) >= -MAX_MAGNITUDE
        and np.maximum.reduce(everything) <= MAX_MAGNITUDE
        and (not series.nonnegative or values.min() >= 0)
        and np.minimum.reduce(starts) >= EARLIEST
        and np.maximum.reduce(starts) <= LATEST - np.timedelta64(length * step, "s")
    ):
        return None
    return Question(
        names=tuple(history.name for history in histories),
        starts=np.asarray(starts + np.timedelta64(cut * step, "s")),
        target=values[:, cut:],
        past={name: given[:, cut:] for name, given in past.items()},
        future=future,
        steps=steps,
        levels=levels,
        horizon=design.horizon,
        sent=histories,
    )


def _columns(given: Sequence[Mapping[str, Floats]], names: Sequence[str], size: int) -> dict[str, Floats] | None:
    """By name, shape (series, size); None unless each series has just these covariates, of that size."""
    made = {}
    for name in names:
        column = _stacked([covariates.get(name) for covariates in given], size)
        if column is None:
            return None
        made[name] = column
    return made if all(len(covariates) == len(names) for covariates in given) else None


def _stacked(rows: Sequence[Floats | None], size: int) -> Floats | None:
    """Shape (rows, size); None if a row is missing or has another length."""
    whole = [row for row in rows if row is not None and row.size == size]
    if len(whole) != len(rows):
        return None
    return whole[0][None] if len(whole) == 1 else np.stack(whole)


def _mended(forecaster: Forecaster, histories: Sequence[History], steps: int, levels: tuple[float, ...]) -> Question:
    """The question, series by series: gaps filled, histories cut, or an error that names what is wrong."""
    design = forecaster.design
    checked = [_checked(forecaster, history, steps) for history in histories]
    return Question(
        names=tuple(history.name for history in checked),
        starts=np.array([history.start for history in checked], dtype="datetime64[s]"),
        target=np.stack([history.values for history in checked]),
        past={name: np.stack([history.past_covariates[name] for history in checked]) for name in design.past},
        future={
            name: np.stack([history.future_covariates[name][:steps] for history in checked]) for name in design.future
        },
        steps=steps,
        levels=levels,
        horizon=design.horizon,
        sent=histories,
    )


def _checked(forecaster: Forecaster, history: History, steps: int) -> History:
    """The last `context` values of a history, gaps filled by the model's rule, and its covariates."""
    _check_clock(forecaster, history)
    _check_values(forecaster, history)
    _check_covariates(forecaster, history, steps)
    series = forecaster.card.declaration.series
    known = np.flatnonzero(~np.isnan(history.values))
    first = int(known[0]) if known.size else history.values.size
    context = forecaster.design.context
    if history.values.size - first < context:
        raise RequestError(
            f"{history.where}.series: series {short(history.name)} has {history.values.size - first} values from its first "
            f"value on, wanted {context} or more, which the model's longest window needs",
            param=f"{history.where}.series",
        )
    cut = history.values.size - context
    return History(
        name=history.name,
        values=gaps.fill(history.values[first:], series.gaps.target)[-context:],
        start=history.start + np.timedelta64(cut * series.step_seconds, "s"),
        past_covariates={
            name: _filled(values, series.gaps.covariates)[cut:] for name, values in history.past_covariates.items()
        },
        future_covariates=history.future_covariates,
        where=history.where,
    )


def _filled(values: Floats, rule: Gap) -> Floats:
    """A covariate without gaps; where its first value is missing it begins with the first that is known, as in training."""
    if rule != "zero" and np.isnan(values[0]):
        values = np.concatenate([values[~np.isnan(values)][:1], values[1:]])
    return gaps.fill(values, rule)


def _same_frequency(frequency: str | None, step_seconds: int) -> bool:
    return frequency is None or (len(frequency) <= MAX_FREQUENCY and _lasts(frequency, step_seconds))


@lru_cache(maxsize=256)
def _lasts(frequency: str, step_seconds: int) -> bool:
    try:
        return durations.seconds(frequency) == step_seconds
    except ValueError:
        return False


def _check_clock(forecaster: Forecaster, history: History) -> None:
    series = forecaster.card.declaration.series
    if not _same_frequency(history.frequency, series.step_seconds):
        try:
            durations.seconds((history.frequency or "")[:MAX_FREQUENCY])
        except ValueError as err:
            raise RequestError(f"{history.where}.frequency: {err}", param=f"{history.where}.frequency") from err
        raise RequestError(
            f"{history.where}.frequency: got {short(history.frequency)}, wanted {series.frequency!r}, "
            "at which the model was trained: resample the series",
            param=f"{history.where}.frequency",
        )
    end = history.start + np.timedelta64(history.values.size * series.step_seconds, "s")
    if not (history.start >= EARLIEST and end <= LATEST):
        raise RequestError(
            f"{history.where}.start_timestamp: the series runs from {history.start} to {end}, "
            f"wanted between {EARLIEST} and {LATEST}",
            param=f"{history.where}.start_timestamp",
        )


def _check_values(forecaster: Forecaster, history: History) -> None:
    values = history.values
    with np.errstate(invalid="ignore"):
        wrong = np.abs(values) > MAX_MAGNITUDE
        wanted = f"numbers between -{MAX_MAGNITUDE:g} and {MAX_MAGNITUDE:g}, or null where a value is missing"
        if forecaster.card.declaration.series.nonnegative and not wrong.any():
            wrong, wanted = values < 0, "0 or more: this model's target is never negative"
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise RequestError(
            f"{history.where}.series[{place}]: got {values[place]:g}, wanted {wanted}",
            param=f"{history.where}.series[{place}]",
        )


def _check_covariates(forecaster: Forecaster, history: History, steps: int) -> None:
    design = forecaster.design
    series = forecaster.card.declaration.series
    known = series.covariates
    rules: dict[str, Gap | None] = {"past_covariates": series.gaps.covariates, "future_covariates": None}
    kinds = (
        ("past_covariates", design.past, history.past_covariates, history.values.size, "values of series"),
        ("future_covariates", design.future, history.future_covariates, steps, "steps ahead"),
    )
    for key, wanted, given, size, of_what in kinds:
        where = f"{history.where}.{key}"
        missing = [name for name in wanted if name not in given]
        if missing:
            raise RequestError(
                f"{where}: {missing[0]!r} is missing, wanted {', '.join(wanted)}, each with {size} numbers "
                f"(one for each of the {of_what})",
                param=f"{where}.{missing[0]}",
            )
        for name, values in given.items():
            if name not in known.names:
                raise RequestError(
                    f"{where}: the model knows no covariate {short(name)}, wanted {', '.join(wanted) or 'none'}",
                    param=f"{where}.{name[:MAX_SHOWN]}",
                )
            lacking = values.size < size if key == "future_covariates" else values.size != size
            if lacking:
                raise RequestError(
                    f"{where}.{name}: got {values.size} numbers, wanted {size} (one for each of the {of_what})",
                    param=f"{where}.{name}",
                )
            _check_numbers(values, np.isnan(values[:size]), rules[key], f"{where}.{name}")


def _check_numbers(values: Floats, missing: NDArray[np.bool_], rule: Gap | None, where: str) -> None:
    """See that a covariate holds numbers, and gaps only where there is a rule to fill them and something to do it with."""
    if rule in ("forward", "interpolate") and values.size and missing.all():
        raise RequestError(
            f"{where}: all {values.size} values are missing, wanted one or more to fill the others from", param=where
        )
    if (rule is None and missing.any()) or (np.abs(values) > MAX_MAGNITUDE).any():
        raise RequestError(f"{where}: a value is missing or out of range, wanted numbers", param=where)
