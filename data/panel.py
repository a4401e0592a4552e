"""The series frame in memory: all series one after another in flat arrays, each without gaps in time.

NumPy alone, so that training (from Parquet) and serving (from a request) hand the same thing to the
same feature code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Times = NDArray[np.datetime64]

_SECONDS = np.dtype("timedelta64[s]")


@dataclass(frozen=True, eq=False)
class Panel:
    """Many series at one frequency; one series is a panel of one.

    Attributes:
        ids: name of each series.
        offsets: shape (series + 1,); rows `offsets[i]` to `offsets[i + 1]` belong to series i.
        starts: shape (series,), datetime64[s], the time of each series' first row.
        step_seconds: seconds between rows.
        target: shape (rows,), gaps filled.
        observed: shape (rows,), False where `target` is an estimate that nothing may be scored on.
        covariates: by name, each of shape (rows,).
    """

    ids: tuple[str, ...]
    offsets: Integers
    starts: Times
    step_seconds: int
    target: Floats
    observed: NDArray[np.bool_]
    covariates: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> Integers:
        """Rows of each series."""
        return np.diff(self.offsets)

    @cached_property
    def series(self) -> Integers:
        """Shape (rows,): which series a row belongs to."""
        return np.repeat(np.arange(len(self.ids)), self.lengths)

    @cached_property
    def age(self) -> Integers:
        """Shape (rows,): rows of the same series before this one."""
        return np.arange(self.target.size) - self.offsets[:-1][self.series]

    @cached_property
    def times(self) -> Times:
        """Shape (rows,): the time of each row."""
        ages = (self.age * self.step_seconds).astype("timedelta64[s]")
        return np.asarray(self.starts[self.series] + ages)

    @cached_property
    def size(self) -> Floats:
        """Shape (rows,): the target without its sign; the target itself where it is never negative."""
        return np.abs(self.target) if np.count_nonzero(self.target < 0) else self.target

    def times_at(self, rows: Integers) -> Times:
        """The times of some rows, of any shape, without looking at the others."""
        series = self.offsets.searchsorted(rows, side="right") - 1
        seconds = (rows - self.offsets.take(series)) * self.step_seconds
        return np.asarray(self.starts.take(series) + seconds.view(_SECONDS))

    def until(self, moment: np.datetime64) -> Panel:
        """The rows at or before a moment; series that begin later are left out."""
        keep = self.times <= moment
        lengths = np.add.reduceat(keep.astype(np.int64), self.offsets[:-1])
        alive = lengths > 0
        return Panel(
            ids=tuple(name for name, is_alive in zip(self.ids, alive, strict=True) if is_alive),
            offsets=np.concatenate([[0], np.cumsum(lengths[alive])]),
            starts=self.starts[alive],
            step_seconds=self.step_seconds,
            target=self.target[keep],
            observed=self.observed[keep],
            covariates={name: values[keep] for name, values in self.covariates.items()},
        )
