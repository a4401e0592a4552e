"""What the loop does, for Prometheus: whether it is there, when it took a turn last, and the newest retraining.

The loop touches a file at each turn. Where that is not, no loop has run that somebody would miss.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from deploy import journals
from deploy.place import Place
from monitoring.ledger import LOCK, Ledger, Retraining
from monitoring.watcher import Watcher


class Retrainings(Watcher):
    """The loop of a deployment.

    Args:
        place: the deployment; there may be none yet, and no loop.
    """

    def __init__(self, place: Place) -> None:
        super().__init__("retrainings")
        self._place = place
        self._ledger: Ledger | None = None
        self._turned: float | None = None
        self._runs = False
        self._newest: Retraining | None = None

    def look(self) -> None:
        """See whether a loop runs, and read the ledger if one ever did.

        Raises:
            LoopError: the ledger cannot be read.
        """
        self._turned = self._place.turned.stat().st_mtime if self._place.turned.exists() else None
        if self._turned is None:
            self._newest = None
            return
        self._runs = self._place.is_held(LOCK)
        if self._ledger is None:
            self._ledger = Ledger(journals.url(self._place))
        self._newest = next(iter(self._ledger.all()), None)

    def forget(self) -> None:
        """Nothing is known of the ledger; the loop itself has its file."""
        self._newest = None

    def collect(self) -> Iterator[Metric]:
        """What was seen, for Prometheus."""
        turned = _gauge("loop_turn_timestamp_seconds", "When the loop took a turn last")
        runs = _gauge("loop_running", "1 if a loop is there")
        newest = _gauge("newest", "1 for the newest retraining", "state", "step")
        began = _gauge("began_timestamp_seconds", "When that began")
        ended = _gauge("ended_timestamp_seconds", "When that ended, if it has")
        if self._turned is not None:
            turned.add_metric((), self._turned)
            runs.add_metric((), float(self._runs))
        if one := self._newest:
            newest.add_metric((one.state, one.step), 1)
            began.add_metric((), one.began)
            if one.ended is not None:
                ended.add_metric((), one.ended)
        yield from (turned, runs, newest, began, ended)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"retraining_{name}", text, labels=labels)
