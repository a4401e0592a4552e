"""The features: declared in params.yaml, computed here once for training and serving.

The model forecasts every step directly, so its input row is an (origin, step). A feature is known
either at the origin (`lags`, `moving_averages`, `rolling_spread`, past covariates: functions of the
history up to and including the origin) or ahead (`calendar`, covariates declared `future`, and
seasonal lags no shorter than the horizon, so that the value they look back to is never after the
origin). A declaration that would need a later value is refused.

Features in the target's unit are divided by the scale, the moving average of the target's size at
the origin: one model fits small series, large series, and a series that grows.

Training and serving both come through `Design.rows`. What it takes of the origin comes from
`origin_table` (every row of a panel, for training) or `origin_rows` (the end of each history, for
serving), which agree to the last bit.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data import calendar, windows
from data.declaration import Declaration
from data.errors import DataError
from data.panel import Panel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: The scale's floor, as a share of the panel's average size of the target.
FLOOR_SHARE = 1e-3


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
    def names(self) -> list[str]:
        """Names of the model's input columns, in order."""
        return [column.name for column in self.columns]

    def origin_table(self, panel: Panel) -> Floats:
        """Everything known at the origin, for every row of a panel as the origin.

        Returns:
            Shape (origin columns, rows); NaN where a window or lag reaches before the series' start.
        """
        out = np.empty((len(self.origin_columns), panel.target.size))
        rolling = 1 + len(self.means) + len(self.spreads)
        windows.over_panel(
            panel.target, panel.offsets, [self.scale_steps, *self.means], self.spreads, out=out[:rolling]
        )
        if not np.all(panel.target >= 0):
            windows.over_panel(np.abs(panel.target), panel.offsets, [self.scale_steps], out=out[:1])
        np.maximum(out[0], self.floor, out=out[0])
        lags = self.declaration.features.lags
        for row, lag in zip(out[rolling:], lags, strict=False):
            row[lag - 1 :] = panel.target[: max(0, panel.target.size - lag + 1)]
            row[windows.heads(panel.offsets, lag - 1)] = np.nan
        if self.matcher:
            out[rolling + len(lags) :] = self.matcher.ratio_table(panel, out[0])
        return out

    def origin_rows(self, panel: Panel, origins: Integers) -> Floats:
        """The same numbers as `origin_table`, bit for bit, for chosen origins only.

        Args:
            panel: the histories.
            origins: shape (origins,), rows of the panel with `context - 1` rows of their series before them.

        Returns:
            Shape (origin columns, origins).
        """
        scale = windows.at(np.abs(panel.target), origins, [self.scale_steps])
        rolling = windows.at(panel.target, origins, self.means, self.spreads)
        back = np.array(self.declaration.features.lags, dtype=np.int64)[:, None] - 1
        scale = np.maximum(scale, self.floor)
        ratios = [self.matcher.ratio_rows(panel, origins, scale[0])] if self.matcher else []
        return np.concatenate([scale, rolling, panel.target[origins - back], *ratios])

    def rows(self, panel: Panel, origins: Integers, known: Floats) -> Rows:
        """Input rows of all steps from chosen origins.

        Args:
            panel: the series; covariates that are known ahead must reach `horizon` rows past each
                origin, the target is not looked at past it.
            origins: shape (origins,), rows of the panel with `context - 1` rows of their series before them.
            known: shape (origin columns, origins), from `origin_table` or `origin_rows`.
        """
        scale = known[0]
        ahead = np.arange(1, self.horizon + 1)
        inputs = np.empty((len(self.columns), origins.size, self.horizon), dtype=np.float32)
        out = iter(inputs)
        next(out)[:] = ahead
        levels = known.shape[0] - (len(self.matcher.ratios) if self.matcher else 0)
        for values in known[1:levels]:
            next(out)[:] = (values / scale)[:, None]
        for values in known[levels:]:
            next(out)[:] = values[:, None]
        for name in self.declaration.used.past:
            next(out)[:] = panel.covariates[name][origins][:, None]
        target = origins[:, None] + ahead
        for lag in self.seasonal_lags:
            next(out)[:] = panel.target[target - lag] / scale[:, None]
        for lag, count in self.seasonal_means:
            total = panel.target[target - lag]
            for turn in range(2, count + 1):
                total = total + panel.target[target - turn * lag]
            next(out)[:] = total / count / scale[:, None]
        if self.matcher:
            for values in self.matcher.at(panel, target):
                next(out)[:] = values / scale[:, None]
        times = panel.times[origins][:, None] + (ahead * panel.step_seconds).astype("timedelta64[s]")
        for name in self.declaration.features.calendar:
            next(out)[:] = calendar.compute(name, times)
        for name in self.future:
            next(out)[:] = panel.covariates[name][target]
        return Rows(np.ascontiguousarray(inputs.reshape(len(self.columns), -1).T), scale)

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
