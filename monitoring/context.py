"""What a monitoring test looks at, and the moment at which it does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from data.errors import RegistryError
from data.params import Params
from deploy import versions
from monitoring.metrics import Metrics, Sample


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

    @property
    def wall(self) -> float:
        """The moment by the clock that the data's times are of, as seconds since 1970."""
        return self.now + 3_600 * self.params.monitoring.utc_offset

    def served(self) -> Served | None:
        """What serves; None if nothing does.

        Of several versions the one that most users' requests go to (a candidate that is tried has as many instances as
        what serves, and copies of requests); where no deployment says so, the one with most instances, the newest of
        those.
        """
        found = Counter(_served(sample) for sample in self.metrics.last("model_info"))
        if len(found) < 2:
            return next(iter(found), None)
        weights = {one.labels.get("service_version"): one.value for one in self.metrics.last("rollout_weight_ratio")}
        return max(found, key=lambda one: (weights.get(_name(one.bento), 0.0), found[one], one.version.zfill(12)))

    def trained_until(self) -> float | None:
        """When the data that what serves was trained on ended, seconds since 1970; None if no service says so."""
        served = self.served()
        own = {one.labels.get("instance") for one in self.metrics.last("model_info") if _served(one) == served}
        told = self.metrics.last("model_trained_until_timestamp_seconds")
        return max((one.value for one in told if one.labels.get("instance") in own), default=None)


def _served(sample: Sample) -> Served:
    return Served(*(sample.labels.get(name, "") for name in Served._fields))


def _name(bento: str) -> str | None:
    """By which the deployment knows a Bento; None for what it cannot have brought up."""
    try:
        return versions.name(bento)
    except RegistryError:
        return None
