"""Metrics from pages that were read at certain times: what `Prometheus` does, for time that is played."""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from dataclasses import dataclass, field
from operator import itemgetter

from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics import ANY, STALE_SECONDS, Labels, Sample

Key = tuple[tuple[str, str], ...]
Points = list[tuple[float, float]]
#: With None where the series had gone from its page.
Marked = list[tuple[float, float | None]]
_TIME = itemgetter(0)


@dataclass
class Pages:
    """Pages of metrics, with the times at which they were read.

    Attributes:
        keep: seconds that values are kept for.
        stale: seconds after which a value is none; pages that are read seldom want more than Prometheus has.
    """

    keep: float = math.inf
    stale: float = STALE_SECONDS
    now: float = 0.0
    _series: defaultdict[str, dict[Key, Marked]] = field(default_factory=lambda: defaultdict(dict), init=False)
    _seen: defaultdict[str, set[tuple[str, Key]]] = field(default_factory=lambda: defaultdict(set), init=False)

    def read(self, page: str, instance: str, now: float) -> None:
        """Take in a page.

        Args:
            page: in Prometheus' text format; nothing, if the instance does not answer.
            instance: whose it is.
            now: seconds since 1970, no earlier than the last page's.
        """
        self.now = now
        before, seen = self._seen[instance], set()
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                key = tuple(sorted({**sample.labels, "instance": instance}.items()))
                seen.add((sample.name, key))
                self._add(sample.name, key, now, sample.value)
        for name, key in before - seen:
            self._add(name, key, now, None)
        self._seen[instance] = seen

    def last(self, name: str, where: Labels = ANY) -> list[Sample]:
        """See `monitoring.metrics.Metrics`."""
        found = [(key, self._at(points, self.now)) for key, points in self._found(name, where)]
        return [Sample(dict(key), value) for key, value in found if value is not None]

    def increase(self, name: str, seconds: float, where: Labels = ANY) -> list[Sample]:
        """See `monitoring.metrics.Metrics`."""
        found = [(key, _rise(points, self.now - seconds, self.now)) for key, points in self._found(name, where)]
        return [Sample(dict(key), value) for key, value in found if value is not None]

    def over(self, name: str, seconds: float, step: float, where: Labels = ANY) -> list[tuple[Labels, Points]]:
        """See `monitoring.metrics.Metrics`."""
        times = [self.now - seconds + number * step for number in range(int(seconds / step) + 1)]
        found: list[tuple[Labels, Points]] = []
        for key, points in self._found(name, where):
            values = [(at, self._at(points, at)) for at in times]
            made = [(at, value) for at, value in values if value is not None]
            if made:
                found.append((dict(key), made))
        return found

    def _add(self, name: str, key: Key, now: float, value: float | None) -> None:
        points = self._series[name].setdefault(key, [])
        points.append((now, value))
        if points[0][0] < now - self.keep:
            del points[: bisect.bisect_left(points, now - self.keep, key=_TIME)]

    def _at(self, points: Marked, at: float) -> float | None:
        """The newest value at a moment, if there is one that is not stale."""
        place = bisect.bisect_right(points, at, key=_TIME)
        if not place or points[place - 1][0] < at - self.stale:
            return None
        return points[place - 1][1]

    def _found(self, name: str, where: Labels) -> list[tuple[Key, Marked]]:
        wanted = set(where.items())
        return [(key, points) for key, points in self._series.get(name, {}).items() if wanted <= set(key)]


def _rise(points: Marked, begin: float, end: float) -> float | None:
    """Rise of a counter in a window; a value below the one before it is a restart from zero.

    As Prometheus' `increase`: what rose between the first and the last value in the window, stretched to the window's
    ends where these are no further than a value usually is from the next, and to half of that otherwise; never to
    before the counter was zero.
    """
    first = bisect.bisect_left(points, begin, key=_TIME)
    known = [(at, value) for at, value in points[first:] if value is not None]
    if len(known) < 2:
        return None
    values = [value for _, value in known]
    restarts = sum(before for before, after in itertools.pairwise(values) if after < before)
    rise = values[-1] - values[0] + restarts
    length = known[-1][0] - known[0][0]
    usual = length / (len(known) - 1)
    ahead, behind = known[0][0] - begin, end - known[-1][0]
    if rise > 0 and values[0] >= 0:
        ahead = min(ahead, length * values[0] / rise)
    stretched = length + sum(gap if gap < 1.1 * usual else usual / 2 for gap in (ahead, behind))
    return rise * stretched / length
