"""The features: declared in params.yaml, computed here once for training and serving.

The model forecasts every step directly, so its input row is an (origin, step). A feature is known
either at the origin (`lags`, `moving_averages`, `rolling_spread`, past covariates: functions of the
history up to and including the origin) or ahead (`calendar`, covariates declared `future`, and
seasonal lags no shorter than the horizon, so that the value they look back to is never after the
origin). A declaration that would need a later value is refused.

Features in the target's unit are divided by the scale, the moving average of the target's size at
the origin: one model fits small series, large series, and a series that grows.

Training and serving both come through `Design.rows`. What it takes of the origin comes from
`origin_table` (every row of a panel, for training) or, without one, from `origin_rows` (the end of
each history, for serving), which agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data import calendar, windows
from data.declaration import Declaration
from data.endings import Endings
from data.errors import DataError
from data.panel import Panel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: The scale's floor, as a share of the panel's average size of the target.
FLOOR_SHARE = 1e-3
#: Origins worked on at a time: what is looked up for them stays in the processor's cache.
BLOCK_ORIGINS = 64


class Column(NamedTuple):
    """One feature: its name, when it is known, and why it is known then."""

    name: str
    known: Literal["origin", "ahead"]
    reason: str


class Rows(NamedTuple):
    """The model's input.

    Attributes:
        inputs: shape (origins * horizon, columns), float32; the steps of an origin stand together.
        scale: shape (origins,), in the target's unit; the model's output is multiplied by it.
    """

    inputs: NDArray[np.float32]
    scale: Floats


def scale_floor(panel: Panel) -> float:
    """Smallest scale that a model of this panel divides by, in the target's unit."""
    return max(float(np.abs(panel.target).mean()) * FLOOR_SHARE, 1e-9)


class Design:
    """A declaration, compiled: which columns there are, and how a panel becomes rows.

    Args:
        declaration: series and features of params.yaml.
        floor: smallest scale, in the target's unit, so that an idle series does not divide by zero
            (see `scale_floor`).

    Raises:
        ConfigError: a window is no multiple of the frequency, or a feature is not known at the origin.
    """

    def __init__(self, declaration: Declaration, floor: float) -> None:
        self.declaration = declaration
        self.floor = floor
        features = declaration.features
        self.horizon = features.horizon
        self.scale_steps = declaration.steps("scale", features.scale)
        self.means = [declaration.steps("moving_averages", window) for window in features.moving_averages]
        self.spreads = [declaration.spread_steps(window) for window in features.rolling_spread]
        self.seasonal_lags = [declaration.known_lag("seasonal_lags", season) for season in features.seasonal_lags]
        self.seasonal_means = [
            (declaration.known_lag("seasonal_means", season), count)
            for season, count in features.seasonal_means.items()
        ]
        self.matcher = declaration.matcher()
        self._ratios = self.matcher.ratios if self.matcher else ()
        self._windows = (self.scale_steps, *self.means, *self._ratios), self.spreads, features.lags
        self._endings = Endings(*self._windows)
        self._scale = Endings([self.scale_steps])
        means, columns = 1 + len(self.means), len(self.origin_columns)
        levels = columns - len(self._ratios)
        # Which of `origin_columns` each window belongs to: a ratio is made of a moving average.
        self._order = np.array([*range(means), *range(levels, columns), *range(means, levels)], dtype=np.int64)
        self._seasonal_lags = np.array(self.seasonal_lags, dtype=np.int64)
        self._ahead = np.arange(1, self.horizon + 1)
        self._ahead_seconds = (self._ahead * declaration.series.step_seconds).astype("timedelta64[s]")

    @cached_property
    def context(self) -> int:
        """Values of the history that the features need, counted back from the origin."""
        seasonal = [*self.seasonal_lags, *(season * count for season, count in self.seasonal_means)]
        matched = [self.matcher.context] if self.matcher else []
        lags = self.declaration.features.lags
        return max(1, self.scale_steps, *lags, *self.means, *self.spreads, *seasonal, *matched)

    @cached_property
    def future(self) -> tuple[str, ...]:
        """Covariates that must be known over the horizon."""
        return self.declaration.used.future

    @cached_property
    def past(self) -> tuple[str, ...]:
        """Covariates whose history is looked at: all declared `past`, and the one that values are matched on."""
        matched = (self.matcher.match,) if self.matcher and self.matcher.match in self.future else ()
        return self.declaration.used.past + matched

    @cached_property
    def origin_columns(self) -> tuple[str, ...]:
        """What `origin_table` and `origin_rows` compute, in order; the scale comes first."""
        features = self.declaration.features
        return (
            "scale",
            *(f"mean_{window}" for window in features.moving_averages),
            *(f"spread_{window}" for window in features.rolling_spread),
            *(f"lag_{lag}" for lag in features.lags),
            *(f"ratio_{window}" for window in (features.matched_means.ratios if features.matched_means else ())),
        )

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The model's input columns, in order."""
        features = self.declaration.features
        season = "its lag is no shorter than the horizon"
        return (
            Column("step", "ahead", "counted from the origin"),
            *(Column(name, "origin", "history up to the origin") for name in self.origin_columns[1:]),
            *(Column(f"past_{name}", "origin", "its value at the origin") for name in self.declaration.used.past),
            *(Column(f"seasonal_lag_{lag}", "ahead", season) for lag in features.seasonal_lags),
            *(Column(f"seasonal_mean_{lag}_x{n}", "ahead", season) for lag, n in features.seasonal_means.items()),
            *(Column(f"matched_mean_{n}", "ahead", season) for n in (self.matcher.counts if self.matcher else ())),
            *(Column(name, "ahead", "calendar") for name in features.calendar),
            *(Column(f"future_{name}", "ahead", "declared known ahead") for name in self.future),
        )

    @cached_property
    def asked(self) -> frozenset[str]:
        """Columns that say what is asked for, how far ahead and for when, and nothing of the world."""
        return frozenset({"step", *self.declaration.features.calendar})

    @cached_property
    def names(self) -> list[str]:
        """Names of the model's input columns, in order."""
        return [column.name for column in self.columns]

    def origin_table(self, panel: Panel) -> Floats:
        """Everything known at the origin, for every row of a panel as the origin.

        Returns:
            Shape (origin columns, rows); NaN where a window or lag reaches before the series' start.
        """
        out = np.empty((len(self.origin_columns), panel.target.size))
        windows.fill([out[row] for row in self._order], panel.target, panel.offsets, *self._windows)
        if panel.size is not panel.target:
            windows.fill(list(out[:1]), panel.size, panel.offsets, [self.scale_steps])
        np.maximum(out[0], self.floor, out=out[0])
        if self.matcher and self._ratios:
            ratios = out[-len(self._ratios) :]
            ratios[:] = self.matcher.ratio_table(panel, ratios, out[0])
        return out

    def origin_rows(self, panel: Panel, origins: Integers, expected: Floats | None = None) -> Floats:
        """The same numbers as `origin_table`, bit for bit, for chosen origins only.

        Args:
            panel: the histories.
            origins: shape (origins,), rows of the panel with `context - 1` rows of their series before them.
            expected: `Matcher.expected`, if it was looked up already.

        Returns:
            Shape (origin columns, origins).
        """
        known = np.empty((len(self._order), origins.size))
        known[self._order] = self._endings.at(panel.target, origins)
        if panel.size is not panel.target:
            known[:1] = self._scale.at(panel.size, origins)
        np.maximum(known[0], self.floor, out=known[0])
        if self.matcher and self._ratios:
            ratios = known[-len(self._ratios) :]
            if expected is None:
                expected = self.matcher.expected(panel, self.matcher.condition(panel), origins)
            ratios[:] = self.matcher.ratio_rows(expected, ratios, known[0])
        return known

    def rows(self, panel: Panel, origins: Integers, known: Floats | None = None) -> Rows:
        """Input rows of all steps from chosen origins.

        Args:
            panel: the series; covariates that are known ahead must reach `horizon` rows past each
                origin, the target is not looked at past it.
            origins: shape (origins,), rows of the panel with `context - 1` rows of their series before them.
            known: shape (origin columns, origins), from `origin_table`; looked up where there is no table.
        """
        inputs = np.empty((origins.size, self.horizon, len(self.columns)), dtype=np.float32)
        scale = np.empty(origins.size)
        condition = self.matcher.condition(panel) if self.matcher else None
        for start in range(0, origins.size, BLOCK_ORIGINS):
            block = slice(start, start + BLOCK_ORIGINS)
            at, matched = self._looked_up(panel, condition, origins[block], None if known is None else known[:, block])
            scale[block] = at[0]
            column = 0
            for group in self._groups(panel, origins[block], at, matched):
                inputs[block, :, column : column + group.shape[-1]] = group
                column += group.shape[-1]
        return Rows(inputs.reshape(-1, len(self.columns)), scale)

    def _looked_up(
        self, panel: Panel, condition: Floats | None, origins: Integers, known: Floats | None
    ) -> tuple[Floats, Floats]:
        """What is known at some origins, and the matched means of the steps ahead."""
        if self.matcher is None or condition is None:
            known = self.origin_rows(panel, origins) if known is None else known
            return known, np.empty((0, origins.size, self.horizon))
        if known is not None:
            return known, self.matcher.ahead(panel, condition, origins)
        matched, expected = self.matcher.around(panel, condition, origins)
        return self.origin_rows(panel, origins, expected), matched

    def _groups(self, panel: Panel, origins: Integers, known: Floats, matched: Floats) -> Iterator[Floats | Integers]:
        """The model's input columns in order, some at a time, each of a shape that fits (origins, horizon, some)."""
        scale, ratios = known[0], len(known) - len(self._ratios)
        yield self._ahead[:, None]
        yield (known[1:ratios] / scale).T[:, None]
        yield known[ratios:].T[:, None]
        for name in self.declaration.used.past:
            yield panel.covariates[name].take(origins)[:, None, None]
        scale = scale[:, None, None]
        target = origins[:, None] + self._ahead
        yield panel.target.take(target[..., None] - self._seasonal_lags) / scale
        for lag, count in self.seasonal_means:
            total = panel.target.take(target - lag)
            for turn in range(2, count + 1):
                total += panel.target.take(target - turn * lag)
            yield (total / count)[..., None] / scale
        yield matched.transpose(1, 2, 0) / scale
        times = panel.times_at(origins)[:, None] + self._ahead_seconds
        for feature in self.declaration.features.calendar:
            yield calendar.compute(feature, times)[..., None]
        for name in self.future:
            yield panel.covariates[name].take(target)[..., None]

    def check_lengths(self, panel: Panel) -> None:
        """See that every series has room for the features and the horizon.

        Raises:
            DataError: names the first series that is too short.
        """
        wanted = self.context + self.horizon
        short = np.flatnonzero(panel.lengths < wanted)
        if short.size:
            raise DataError(
                f"series {panel.ids[short[0]]!r} has {panel.lengths[short[0]]} rows ({short.size} such series), wanted "
                f"{wanted} or more: {self.context} for the longest window and {self.horizon} for the horizon; shorten the "
                "windows under features in params.yaml, or remove the series from the table",
                param="features",
            )

    def check_inputs(self, inputs: NDArray[np.float32]) -> None:
        """See that every column has a value somewhere.

        Raises:
            DataError: names the first column that has none.
        """
        empty = np.flatnonzero(np.isnan(inputs).all(axis=0))
        if empty.size:
            raise DataError(
                f"feature {self.names[empty[0]]!r} has no value in any row: nothing in the lookback matches; match on a "
                "covariate that repeats (a kind of day, not a measurement), or lengthen features.matched_means.lookback",
                param="features",
            )

    def origins(self, panel: Panel) -> Integers:
        """Rows of a panel to forecast from: observed, enough history before, the whole horizon after."""
        left = np.repeat(panel.lengths, panel.lengths) - 1 - panel.age
        return np.flatnonzero((panel.age >= self.context - 1) & (left >= self.horizon) & panel.observed)
