"""What a monitoring test looks at, and the moment at which it does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from data.params import Params
from monitoring.metrics import Metrics, MetricsError


class Served(NamedTuple):
    """The model that most requests are answered with, as its service says (`model_info`)."""

    model: str
    version: str
    bento: str
    run_id: str
    git_commit: str


@dataclass(frozen=True)
class Context:
    """What a test looks at.

    Attributes:
        params: the configuration.
        now: seconds since 1970; a simulation has its own time.
        metrics: of the service.
        record: URL of the record of forecasts (SQLAlchemy's), or None if there is none.
    """

    params: Params
    now: float
    metrics: Metrics
    record: str | None

    def served(self) -> Served | None:
        """What serves: of several versions the one with most instances, the newest of those; None if nothing does."""
        found = Counter(
            Served(*(sample.labels.get(name, "") for name in ("model", "version", "bento", "run_id", "git_commit")))
            for sample in self.metrics.last("model_info")
        )
        return max(found, key=lambda one: (found[one], one.version.zfill(12)), default=None)


def trained_until(context: Context) -> float | None:
    """When the data that the model was trained on ended, seconds since 1970; None if no service says so."""
    try:
        return max((one.value for one in context.metrics.last("model_trained_until_timestamp_seconds")), default=None)
    except MetricsError:
        return None
