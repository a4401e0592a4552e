"""The rows of many series as histories: what is known up to each one's last value, and what is known ahead of it.

All series are looked at together; only those with gaps are gone through one by one, since the rule that fills a gap may
look at all that came before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data import durations
from data.features import Design
from service.batch.table import Rows
from service.histories import MAX_MAGNITUDE, History

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """What the rows of a chunk tell.

    Attributes:
        clean: histories of one length without gaps.
        holed: histories with gaps.
        faults: by place of the series in the chunk, why it cannot be forecast.
    """

    clean: list[History] = field(default_factory=list)
    holed: list[History] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)


def tell(design: Design, names: Sequence[str], rows: Rows, steps: int) -> Told:
    """Make a history of each series that can be forecast.

    Args:
        design: what the model looks at.
        names: of the series, each with one row or more.
        rows: sorted by series and time.
        steps: how many are forecast.
    """
    grid = _Grid(design, names, rows, steps)
    told = Told(faults=grid.faults)
    past = {name: grid.window(name) for name in ("target", *design.past)}
    future = {name: grid.ahead(name) for name in design.future}
    grid.refuse_missing(future)
    whole = ~np.logical_or.reduce([np.isnan(values).any(axis=1) for values in past.values()])
    for place in range(len(names)):
        ahead = {name: values[place] for name, values in future.items()}
        if place in grid.faults:
            continue
        if whole[place]:
            told.clean.append(grid.history(place, {name: values[place] for name, values in past.items()}, ahead))
        elif (own := grid.holed(place)) is not None:
            told.holed.append(grid.history(place, own, ahead))
    return told


class _Grid:
    """Where each row stands, in steps from its series' last value.

    Args:
        design: what the model looks at.
        names: of the series.
        rows: sorted by series and time.
        steps: how many are forecast.
    """

    def __init__(self, design: Design, names: Sequence[str], rows: Rows, steps: int) -> None:
        self._design, self._names, self._rows, self._steps = design, names, rows, steps
        self._series = design.declaration.series
        self.faults: dict[int, str] = {}
        begins = rows.series.searchsorted(np.arange(len(names)))
        known, place = ~np.isnan(rows.columns["target"]), np.arange(rows.series.size)
        last = np.maximum.reduceat(np.where(known, place, -1), begins)
        self._refuse(np.flatnonzero(last < 0), lambda _: "has no value of the target, wanted a history of it")
        self._last = np.where(last < 0, begins, last)
        self._first = np.minimum.reduceat(np.where(known, place, self._last[rows.series]), begins)
        self._origins = rows.seconds[self._last]
        self._seconds = rows.seconds - self._origins[rows.series]
        self._place = self._seconds // self._series.step_seconds
        self._check_times()
        self._check_values()

    def window(self, name: str) -> Floats:
        """Shape (series, context): the newest values of a column, NaN where there is no row or no value."""
        context = self._design.context
        made = np.full((len(self._names), context), np.nan)
        inside = np.flatnonzero((self._place > -context) & (self._place <= 0))
        made[self._rows.series[inside], self._place[inside] + (context - 1)] = self._rows.columns[name][inside]
        return made

    def ahead(self, name: str) -> Floats:
        """Shape (series, steps): the values of a column that follow, NaN where there is none."""
        made = np.full((len(self._names), self._steps), np.nan)
        inside = np.flatnonzero((self._place > 0) & (self._place <= self._steps))
        made[self._rows.series[inside], self._place[inside] - 1] = self._rows.columns[name][inside]
        return made

    def history(self, place: int, past: dict[str, Floats], future: dict[str, Floats]) -> History:
        """A history that ends with the series' last value."""
        values = past.pop("target")
        back = (values.size - 1) * self._series.step_seconds
        return History(
            name=self._names[place],
            values=values,
            start=np.datetime64(int(self._origins[place]) - back, "s"),
            past_covariates=past,
            future_covariates=future,
            where=f"series {self._names[place]!r}",
        )

    def holed(self, place: int) -> dict[str, Floats] | None:
        """All values of a series from its first one on, NaN where there is none; None if a covariate has none at all."""
        own = slice(self._first[place], self._last[place] + 1)
        at = self._place[own] - self._place[own.start]
        made = {}
        for name in ("target", *self._design.past):
            made[name] = np.full(at[-1] + 1, np.nan)
            made[name][at] = self._rows.columns[name][own]
            if np.isnan(made[name][0]) and not self._begun(place, name, made[name]):
                return None
        return made

    def refuse_missing(self, future: dict[str, Floats]) -> None:
        """Refuse series that lack a covariate of a step ahead."""
        for name, values in future.items():
            missing = np.isnan(values)
            first = missing.argmax(axis=1)

            def why(series: int, name: str = name, first: Integers = first) -> str:
                return (
                    f"has no {name!r} at {self._time(series, int(first[series]) + 1)}, wanted rows after its last target value "
                    f"at {self._time(series, 0)} with {', '.join(map(repr, future))} for {self._steps} steps of "
                    f"{self._series.frequency}"
                )

            self._refuse(np.flatnonzero(missing.any(axis=1)), why)

    def _begun(self, place: int, name: str, values: Floats) -> bool:
        """Give a covariate a first value, as training does; whether there is one."""
        if self._series.gaps.covariates == "zero":
            values[0] = 0.0
            return True
        known = np.flatnonzero(~np.isnan(values))
        if known.size:
            values[0] = values[known[0]]
        else:
            self._refuse(np.array([place]), lambda _: f"has no value of {name!r} up to its last target value")
        return bool(known.size)

    def _check_times(self) -> None:
        step, design = self._series.step_seconds, self._design
        off = np.flatnonzero(self._seconds % step)
        self._refuse_rows(
            off,
            lambda row: (
                f"has a row at {self._at(row)}, which does not fit the frequency {self._series.frequency} counted from its "
                f"last target value at {self._at(int(self._last[self._rows.series[row]]))}: resample it"
            ),
        )
        same = (np.diff(self._seconds) == 0) & (np.diff(self._rows.series) == 0)
        self._refuse_rows(np.flatnonzero(same), lambda row: f"has more than one row at {self._at(row)}, wanted one")
        lengths = 1 - self._place[self._first]
        self._refuse(
            np.flatnonzero(lengths < design.context),
            lambda series: (
                f"has {lengths[series]} steps from its first target value to its last, wanted {design.context} or more "
                f"({durations.name(design.context * step)}), which the model's longest window needs"
            ),
        )

    def _check_values(self) -> None:
        wanted = f"wanted numbers between -{MAX_MAGNITUDE:g} and {MAX_MAGNITUDE:g}, or nothing where a value is missing"
        for name, values in self._rows.columns.items():
            wrong = np.abs(values) > MAX_MAGNITUDE  # NaN is no wrong value
            self._refuse_rows(np.flatnonzero(wrong), self._has(name, wanted))
        if self._series.nonnegative:
            negative = np.flatnonzero(self._rows.columns["target"] < 0)
            self._refuse_rows(negative, self._has("target", "wanted 0 or more: this model's target is never negative"))

    def _has(self, name: str, wanted: str) -> Callable[[int], str]:
        values = self._rows.columns[name]
        return lambda row: f"has {name!r} {values[row]:g} at {self._at(row)}, {wanted}"

    def _refuse_rows(self, rows: Integers, why: Callable[[int], str]) -> None:
        """Refuse the series of some rows, each for its first one."""
        series, first = np.unique(self._rows.series[rows], return_index=True)
        at = dict(zip(series.tolist(), rows[first].tolist(), strict=True))
        self._refuse(series, lambda place: why(at[place]))

    def _refuse(self, series: Integers, why: Callable[[int], str]) -> None:
        """Refuse some series that nothing else was said of."""
        for place in series.tolist():
            if place not in self.faults:
                self.faults[place] = why(place)

    def _at(self, row: int) -> np.datetime64:
        return np.datetime64(int(self._rows.seconds[row]), "s")

    def _time(self, series: int, step: int) -> np.datetime64:
        return np.datetime64(int(self._origins[series]) + step * self._series.step_seconds, "s")
