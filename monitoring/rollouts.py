"""What the deployment's journal says of rollouts, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from deploy import journals
from deploy.fleet import Traffic, state_of
from deploy.journal import Journal, Rollout
from deploy.place import Place
from deploy.router.messages import Files
from deploy.router.router import has_retreated
from monitoring.watcher import Watcher


class Rollouts(Watcher):
    """The rollout that is under way, and where requests go.

    Args:
        place: the deployment; there may be none yet.
    """

    def __init__(self, place: Place) -> None:
        super().__init__("rollouts")
        self._place = place
        self._journal: Journal | None = None
        self._seen: tuple[Rollout | None, Traffic | None] = (None, None)

    def look(self) -> None:
        """Read the journal, if there is one.

        Raises:
            RolloutError: it cannot be read.
        """
        if self._journal is None:
            if not self._place.journal.exists() and not os.environ.get(journals.URL):
                return
            self._journal = journals.of(self._place)
        state = self._journal.state()
        retreated = has_retreated(Files.within(self._place.router))
        rollout = self._journal.under_way()
        self._seen = (
            replace(rollout, state=state_of(rollout, self._place)) if rollout else None,
            Traffic.of(state, retreated=retreated) if state else None,
        )

    def forget(self) -> None:
        """Nothing is known of either."""
        self._seen = (None, None)

    def collect(self) -> Iterator[Metric]:
        """What was seen, for Prometheus."""
        rollout, traffic = self._seen
        under_way = GaugeMetricFamily(
            "rollout_under_way",
            "1 for the rollout that has not ended",
            labels=("strategy", "stable", "candidate", "state"),
        )
        began = GaugeMetricFamily("rollout_began_timestamp_seconds", "When that began")
        if rollout:
            under_way.add_metric((rollout.strategy, rollout.stable or "", rollout.candidate, rollout.state), 1)
            began.add_metric((), rollout.began)
        weights = GaugeMetricFamily(
            "rollout_weight_ratio", "Share of users' requests that a version should answer", labels=("service_version",)
        )
        for version, share in traffic.shares.items() if traffic else ():
            weights.add_metric((version,), share)
        yield from (under_way, began, weights)
