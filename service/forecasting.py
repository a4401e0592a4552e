"""The core of the service, free of any protocol: checked histories in, forecasts out, one batch a request."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data import durations, gaps
from data.errors import RequestError
from data.forecaster import Forecaster
from data.panel import Panel

Floats = NDArray[np.float64]

#: What one request may ask for.
MAX_SERIES = 1_024
MAX_VALUES = 4_000_000
MAX_QUANTILES = 99
#: Values beyond this cannot be squared and summed without overflow.
MAX_MAGNITUDE = 1e100
EARLIEST, LATEST = np.datetime64("1900-01-01", "s"), np.datetime64("2200-01-01", "s")


@dataclass(frozen=True)
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
    past_covariates: dict[str, Floats] = field(default_factory=dict)
    future_covariates: dict[str, Floats] = field(default_factory=dict)
    where: str = "series"


@dataclass(frozen=True)
class SeriesForecast:
    """The answer for one series.

    Attributes:
        name: as asked.
        start: time of the first step.
        mean: shape (horizon,).
        quantiles: by level as asked, each of shape (horizon,).
    """

    name: str
    start: np.datetime64
    mean: Floats
    quantiles: dict[float, Floats]


def forecast(
    forecaster: Forecaster, histories: Sequence[History], horizon: int | None, levels: Sequence[float]
) -> list[SeriesForecast]:
    """Forecast many series in one pass of the model.

    Args:
        forecaster: the model.
        histories: the series, each at least `forecaster.design.context` values long.
        horizon: steps ahead, or None for the model's.
        levels: quantiles wanted, each in (0, 1).

    Raises:
        RequestError: names the value at fault, what was got and what is wanted.
    """
    steps = _horizon(forecaster, horizon)
    levels = _levels(forecaster, levels)
    if not histories:
        raise RequestError("inputs is empty, wanted one series or more", param="inputs")
    if len(histories) > MAX_SERIES or sum(history.values.size for history in histories) > MAX_VALUES:
        raise RequestError(
            f"got {len(histories)} series with {sum(history.values.size for history in histories)} values, wanted at "
            f"most {MAX_SERIES} series and {MAX_VALUES} values: send several requests",
            param="inputs",
        )
    panel, origins = _panel(forecaster, [_checked(forecaster, history, steps) for history in histories])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # A value far from all others may become infinite in float32: the trees take it for a large one.
        made = forecaster.forecast(panel, origins)
    quantiles = {level: forecaster.quantile(made, level) for level in levels}
    starts = panel.times[origins] + np.timedelta64(panel.step_seconds, "s")
    return [
        SeriesForecast(
            name=history.name,
            start=starts[row],
            mean=made.point[row, :steps],
            quantiles={level: values[row, :steps] for level, values in quantiles.items()},
        )
        for row, history in enumerate(histories)
    ]


def _horizon(forecaster: Forecaster, horizon: int | None) -> int:
    longest = forecaster.design.horizon
    if horizon is None:
        return longest
    if not 1 <= horizon <= longest:
        raise RequestError(
            f"options.horizon: got {horizon}, wanted 1 to {longest}, the steps this model forecasts",
            param="options.horizon",
        )
    return horizon


def _levels(forecaster: Forecaster, levels: Sequence[float]) -> list[float]:
    if len(levels) > MAX_QUANTILES:
        raise RequestError(
            f"options.quantiles: got {len(levels)}, wanted at most {MAX_QUANTILES}", param="options.quantiles"
        )
    for level in levels:
        forecaster.card.calibration.at(level)
    return list(dict.fromkeys(levels))


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
            f"{history.where}.series: series {history.name!r} has {history.values.size - first} values from its first "
            f"value on, wanted {context} or more, which the model's longest window needs",
            param=f"{history.where}.series",
        )
    cut = history.values.size - context
    return History(
        name=history.name,
        values=gaps.fill(history.values[first:], series.gaps.target)[-context:],
        start=history.start + np.timedelta64(cut * series.step_seconds, "s"),
        past_covariates={
            name: gaps.fill(values, series.gaps.covariates)[cut:] for name, values in history.past_covariates.items()
        },
        future_covariates=history.future_covariates,
        where=history.where,
    )


def _check_clock(forecaster: Forecaster, history: History) -> None:
    series = forecaster.card.declaration.series
    if history.frequency is not None:
        try:
            same = durations.seconds(history.frequency) == series.step_seconds
        except ValueError as err:
            raise RequestError(f"{history.where}.frequency: {err}", param=f"{history.where}.frequency") from err
        if not same:
            raise RequestError(
                f"{history.where}.frequency: got {history.frequency!r}, wanted {series.frequency!r}, "
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
    known = forecaster.card.declaration.series.covariates
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
                    f"{where}: the model knows no covariate {name!r}, wanted {', '.join(wanted) or 'none'}",
                    param=f"{where}.{name}",
                )
            short = values.size < size if key == "future_covariates" else values.size != size
            if short:
                raise RequestError(
                    f"{where}.{name}: got {values.size} numbers, wanted {size} (one for each of the {of_what})",
                    param=f"{where}.{name}",
                )
            wrong = np.isnan(values[:size]) if key == "future_covariates" else np.isnan(values[:1])
            if wrong.any() or (np.abs(values) > MAX_MAGNITUDE).any():
                raise RequestError(
                    f"{where}.{name}: a value is missing or out of range, wanted numbers", param=f"{where}.{name}"
                )


def _panel(forecaster: Forecaster, histories: Sequence[History]) -> tuple[Panel, NDArray[np.int64]]:
    """All histories in one panel, each followed by room for its horizon, and the row of each one's origin."""
    design = forecaster.design
    lengths = np.array([history.values.size for history in histories])
    ahead = design.horizon
    offsets = np.concatenate([[0], np.cumsum(lengths + ahead)])
    unknown = np.full(ahead, np.nan)

    def flat(parts: Iterator[tuple[Floats, Floats]]) -> Floats:
        return np.concatenate(list(itertools.chain.from_iterable(parts)))

    def whole(name: str) -> Floats:
        """One covariate: its past where that is looked at, its future where it is known; a name may be both."""
        return flat(
            (
                history.past_covariates[name] if name in design.past else np.full(history.values.size, np.nan),
                _reaching(history.future_covariates[name], ahead) if name in design.future else unknown,
            )
            for history in histories
        )

    panel = Panel(
        ids=tuple(history.name for history in histories),
        offsets=offsets,
        starts=np.array([history.start for history in histories], dtype="datetime64[s]"),
        step_seconds=forecaster.card.declaration.series.step_seconds,
        target=flat((history.values, unknown) for history in histories),
        observed=np.ones(int(offsets[-1]), dtype=np.bool_),
        covariates={name: whole(name) for name in dict.fromkeys(design.past + design.future)},
    )
    return panel, offsets[:-1] + lengths - 1


def _reaching(values: Floats, size: int) -> Floats:
    """Cut or extend (with NaN, for steps that were not asked for) to `size`."""
    return np.concatenate([values[:size], np.full(max(0, size - values.size), np.nan)])
