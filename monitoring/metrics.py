"""What the service's metrics say: a protocol, and its two adapters.

`Prometheus` asks a Prometheus server. `Pages` keeps pages that were read at certain times by whoever plays them, for
time that passes faster than a clock. Both give the same numbers for the same pages; one suite of tests says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from data.errors import BentocastError


class MetricsError(BentocastError):
    """Metrics cannot be read: the source is gone, or does not answer as it should."""

    exit_code = 4


Labels = Mapping[str, str]
ANY: Labels = MappingProxyType({})
#: A value that is older is none, as with Prometheus.
STALE_SECONDS = 300.0


class Sample(NamedTuple):
    """One value of one series.

    Attributes:
        labels: without the name.
        value: of it.
    """

    labels: Labels
    value: float


class Metrics(Protocol):
    """A source of metrics, at one moment.

    `where` selects series whose labels have these values. All instances' series are there, each with its `instance`.
    Nothing found is an empty list, never a zero.

    Raises:
        MetricsError: the source cannot be read.
    """

    def last(self, name: str, where: Labels = ANY) -> list[Sample]:
        """The newest value of each series that is on its instance's page still, if it is younger than five minutes."""

    def increase(self, name: str, seconds: float, where: Labels = ANY) -> list[Sample]:
        """How much each counter rose, restarts of its process taken into account; a fraction (see `pages._rise`).

        A series with one value in that time has no rise. One that is new had none before its first value, so whoever
        counts rare things wants them on the page from the start, at 0.

        Args:
            name: of the counters (as on the page, with `_total`).
            seconds: up to this moment.
            where: labels.
        """

    def over(
        self,
        name: str,
        seconds: float,
        step: float,
        where: Labels = ANY,
    ) -> list[tuple[Labels, list[tuple[float, float]]]]:
        """Values of each series over time: its labels, and (seconds since 1970, value) pairs, oldest first.

        Args:
            name: of the series.
            seconds: up to this moment.
            step: seconds between values.
            where: labels.
        """
