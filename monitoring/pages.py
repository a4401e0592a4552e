"""Metrics from pages that were read at certain times: what `Prometheus` does, for time that is played."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics import ANY, STALE_SECONDS, Labels, Sample

Key = tuple[tuple[str, str], ...]
Points = list[tuple[float, float]]


@dataclass
class Pages:
    """Pages of metrics, with the times at which they were read.

    Attributes:
        keep: seconds that values are kept for.
    """

    keep: float = math.inf
    now: float = 0.0
    _series: defaultdict[str, dict[Key, Points]] = field(default_factory=lambda: defaultdict(dict), init=False)

    def read(self, page: str, instance: str, now: float) -> None:
        """Take in a page.

        Args:
            page: in Prometheus' text format.
            instance: whose it is.
            now: seconds since 1970, no earlier than the last page's.
        """
        self.now = now
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                key = tuple(sorted({**sample.labels, "instance": instance}.items()))
                points = self._series[sample.name].setdefault(key, [])
                points.append((now, sample.value))
                if points[0][0] < now - self.keep:
                    del points[: bisect.bisect_left(points, (now - self.keep, -math.inf))]

    def last(self, name: str, where: Labels = ANY) -> list[Sample]:
        """See `monitoring.metrics.Metrics`."""
        return [
            Sample(dict(key), points[-1][1])
            for key, points in self._found(name, where)
            if points[-1][0] > self.now - STALE_SECONDS
        ]

    def increase(self, name: str, seconds: float, where: Labels = ANY) -> list[Sample]:
        """See `monitoring.metrics.Metrics`."""
        return [
            Sample(dict(key), _rise(points, self.now - seconds))
            for key, points in self._found(name, where)
            if points[-1][0] > self.now - seconds
        ]

    def over(self, name: str, seconds: float, step: float, where: Labels = ANY) -> list[tuple[Labels, Points]]:
        """See `monitoring.metrics.Metrics`."""
        begin = self.now - seconds
        found: list[tuple[Labels, Points]] = []
        for key, points in self._found(name, where):
            made: Points = []
            for number in range(int(seconds / step) + 1):
                at = begin + number * step
                place = bisect.bisect_right(points, (at, math.inf))
                if place and points[place - 1][0] > at - max(step, STALE_SECONDS):
                    made.append((at, points[place - 1][1]))
            if made:
                found.append((dict(key), made))
        return found

    def _found(self, name: str, where: Labels) -> list[tuple[Key, Points]]:
        wanted = set(where.items())
        return [(key, points) for key, points in self._series.get(name, {}).items() if wanted <= set(key)]


def _rise(points: Points, begin: float) -> float:
    """Rise of a counter since `begin`; a value below the one before it is a restart from zero."""
    first = max(0, bisect.bisect_right(points, (begin, math.inf)) - 1)
    rise, before = 0.0, points[first][1]
    for _, value in points[first + 1 :]:
        rise += value - before if value >= before else value
        before = value
    return rise
