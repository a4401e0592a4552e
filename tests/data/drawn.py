"""Declarations and panels that hypothesis draws, and what a client would send of a panel."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from data import durations
from data.declaration import Declaration
from data.features import Design
from data.panel import Panel
from data.params import CalendarName

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Smallest scale of the drawn designs: far below some of the panels' values and far above others.
FLOOR = 1e-6
CALENDAR: tuple[CalendarName, ...] = get_args(CalendarName)
#: Numbers for which neither a sum nor a square overflows.
NUMBERS = st.floats(-1e100, 1e100)


@st.composite
def many_series(draw: st.DrawFn, numbers: st.SearchStrategy[float] = NUMBERS) -> tuple[Floats, Integers]:
    """Values of some series one after another, and where each begins."""
    series = draw(st.lists(st.lists(numbers, min_size=1, max_size=30), min_size=1, max_size=4))
    values = np.array([value for part in series for value in part])
    return values, np.cumsum([0, *map(len, series)])


def age(offsets: Integers) -> Integers:
    """Rows of the same series before each row."""
    return np.concatenate([np.arange(size) for size in np.diff(offsets)])


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """Any declaration that can be computed, with windows of up to some seventy steps."""
    frequency = draw(st.sampled_from(["15min", "1h", "1d"]))
    horizon = draw(st.integers(1, 5))
    future = draw(st.sampled_from([(), ("rain",), ("rain", "holiday")]))
    covariates = draw(st.sampled_from(["use", "ignore"]))
    step = durations.seconds(frequency)

    def some(low: int, high: int) -> list[str]:
        drawn = draw(st.lists(st.integers(low, high), max_size=3, unique=True))
        return [durations.name(steps * step) for steps in drawn]

    def matched() -> dict[str, Any]:
        season = draw(st.integers(horizon, 9))
        return {
            "match": draw(st.sampled_from([*(future if covariates == "use" else ()), *CALENDAR])),
            "season": durations.name(season * step),
            "lookback": durations.name(season * draw(st.integers(1, 5)) * step),
            "counts": draw(st.lists(st.integers(1, 6), min_size=1, max_size=2, unique=True)),
            "ratios": some(1, 9),
            "ratio_count": draw(st.integers(1, 4)),
        }

    return design(
        frequency=frequency,
        covariates={"future": future, "past": draw(st.sampled_from([(), ("price",), ("price", "stock")]))},
        features={
            "horizon": horizon,
            "scale": durations.name(draw(st.integers(1, 40)) * step),
            "lags": draw(st.lists(st.integers(1, 12), max_size=3, unique=True)),
            "moving_averages": some(1, 70),
            "rolling_spread": some(2, 70),
            "seasonal_lags": some(horizon, 30),
            "seasonal_means": {season: draw(st.integers(2, 4)) for season in some(horizon, 12)},
            "matched_means": matched() if draw(st.booleans()) else None,
            "calendar": draw(st.lists(st.sampled_from(CALENDAR), max_size=3, unique=True)),
            "covariates": covariates,
        },
    )


def design(frequency: str, covariates: dict[str, Any], features: dict[str, Any]) -> Design:
    """One declaration, compiled."""
    series = {"timestamp": "time", "target": "sales", "frequency": frequency, "covariates": covariates}
    return Design(Declaration.model_validate({"series": series, "features": features}), FLOOR)


@st.composite
def panels(draw: st.DrawFn, design: Design, *, wild: bool = True) -> Panel:
    """Some series, at least one of them long enough to forecast from.

    Args:
        draw: hypothesis's.
        design: what the panel is for.
        wild: values of one series may differ by 24 orders of magnitude.
    """
    enough = design.context + design.horizon
    longest = draw(st.integers(enough, enough + 30))
    lengths = [longest, *draw(st.lists(st.integers(1, enough + 30), max_size=3))]
    lengths = draw(st.permutations(lengths))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = ["small", "large", "counts", "quiet", *(["wild"] if wild else [])]
    values = [_values(generator, draw(st.sampled_from(kinds)), length) for length in lengths]
    return panel(design, values, generator)


def panel(design: Design, values: list[Floats], generator: np.random.Generator) -> Panel:
    """The given series, with every covariate that a design declares; each series begins at another time."""
    lengths = [part.size for part in values]
    rows, step = sum(lengths), design.declaration.series.step_seconds
    kinds = {
        "rain": generator.exponential(size=rows),
        "holiday": generator.integers(0, 2, rows).astype(np.float64),
        "price": generator.normal(size=rows) * 1e9,
        "stock": generator.normal(size=rows) * 1e-9,
    }
    begin = np.datetime64("2023-12-30T00:00:00", "s")
    return Panel(
        ids=tuple(f"shop {place}" for place in range(len(lengths))),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        starts=begin + (generator.integers(0, 500, len(lengths)) * step).astype("timedelta64[s]"),
        step_seconds=step,
        target=np.concatenate(values),
        observed=np.ones(rows, dtype=np.bool_),
        covariates={name: kinds[name] for name in design.declaration.series.covariates.names},
    )


def _values(generator: np.random.Generator, kind: str, length: int) -> Floats:
    normal = generator.normal(size=length)
    made = {
        "small": normal * 1e-12,
        "large": normal * 1e12,
        "counts": generator.poisson(3.0, length).astype(np.float64),
        "quiet": np.where(generator.random(length) < 0.9, 0.0, normal),
        "wild": normal * 10.0 ** generator.uniform(-12, 12, length),
    }
    return np.asarray(made[kind])


def asked(design: Design, panel: Panel, origins: Integers, *, extra: int = 0) -> tuple[Panel, Integers]:
    """What clients send to be forecast from each origin, as one batch: nothing else is known in serving.

    Args:
        design: says which covariates are sent, up to now (`past`) and ahead (`future`).
        panel: the whole series.
        origins: rows of the panel.
        extra: values sent beyond the ones that the features need, where the series has them.

    Returns:
        A panel with a series for each origin, each followed by the horizon without a target, and the
        rows of the origins in it.
    """
    sizes = design.context + np.minimum(extra, panel.age[origins] + 1 - design.context)
    assert (sizes >= design.context).all()

    def sent(values: Floats, *, history: bool, ahead: bool) -> Floats:
        parts = []
        for origin, size in zip(origins, sizes, strict=True):
            before = values[origin + 1 - size : origin + 1]
            after = values[origin + 1 : origin + 1 + design.horizon]
            parts += [before if history else before * np.nan, after if ahead else np.full(design.horizon, np.nan)]
        return np.concatenate(parts)

    covariates = {
        name: sent(panel.covariates[name], history=name in design.past, ahead=name in design.future)
        for name in {*design.past, *design.future}
    }
    offsets = np.concatenate([[0], np.cumsum(sizes + design.horizon)])
    made = Panel(
        ids=tuple(f"client {place}" for place in range(origins.size)),
        offsets=offsets,
        starts=panel.times[origins - sizes + 1],
        step_seconds=panel.step_seconds,
        target=sent(panel.target, history=True, ahead=False),
        observed=np.ones(int(offsets[-1]), dtype=np.bool_),
        covariates=covariates,
    )
    return made, offsets[:-1] + sizes - 1


def same_bits(got: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Whether two arrays hold the same bits (0.0 is not -0.0), where every NaN is the same."""
    empty = np.isnan(wanted)
    if got.shape != wanted.shape or got.dtype != wanted.dtype or not np.array_equal(np.isnan(got), empty):
        return False
    return bool(got[~empty].tobytes() == wanted[~empty].tobytes())


def series_of(panel: Panel, values: Floats) -> list[Floats]:
    """Split an array of the panel's rows into one array a series."""
    return [values[start:stop] for start, stop in itertools.pairwise(panel.offsets)]
