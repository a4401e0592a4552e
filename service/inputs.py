"""What clients send, counted against what the model's columns may hold (`series.limits`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter

from data import invariants
from data.features import Design
from service.forecasting import Pass
from service.histories import History

Floats = NDArray[np.float64]

#: Series of the passes since the last count whose values are looked at.
SAMPLE = 32


class Inputs:
    """Counts of values that clients sent, by column; a sample under load, as `model_feature_bin_total` is.

    Args:
        design: which columns the model wants, and their limits.
        registry: where the metrics are kept.
    """

    def __init__(self, design: Design, registry: CollectorRegistry) -> None:
        self._design, self._series = design, design.declaration.series
        values = Counter(
            "model_input_values_total", "Values that clients sent, looked at", ["column"], registry=registry
        )
        broken = Counter(
            "model_input_violation_total",
            "Values that break a limit of their column, or are missing",
            ["column", "kind"],
            registry=registry,
        )
        columns = (self._series.target, *dict.fromkeys((*design.past, *design.future)))
        self._values = {column: values.labels(column) for column in columns}
        # Every child is there from the start, at 0: a rate needs two points.
        self._broken = {(column, kind): broken.labels(column, kind) for column in columns for kind in invariants.KINDS}

    def count(self, passes: Iterable[Pass]) -> None:
        """Look at the series of some passes, up to SAMPLE of them."""
        sent = list(islice(_sent(passes), SAMPLE))
        context, horizon = self._design.context, self._design.horizon
        self._column(self._series.target, [history.values[-context:] for history in sent])
        for name in self._design.past:
            self._column(name, [history.past_covariates[name][-context:] for history in sent])
        for name in self._design.future:
            self._column(name, [history.future_covariates[name][:horizon] for history in sent])

    def _column(self, column: str, parts: Sequence[Floats]) -> None:
        if not parts:
            return
        begins = np.cumsum([0, *(part.size for part in parts[:-1])])
        self._values[column].inc(sum(part.size for part in parts))
        limits = self._series.limits_of(column)
        for kind, number in invariants.count(np.concatenate(parts), begins, limits, self._series.step_seconds).items():
            if number:
                self._broken[column, kind].inc(number)


def _sent(passes: Iterable[Pass]) -> Iterator[History]:
    return (history for one in passes for question in one.questions for history in question.sent)
