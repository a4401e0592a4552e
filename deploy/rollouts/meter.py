"""The meter: what came to each version while the weights stayed the same, from the router's counters.

A counter starts again at zero with its Envoy; so what is added up are differences between readings of one Envoy, and
the last reading is kept with the sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.router.counters import Counters

Reading = Mapping[int, Mapping[str, Counters]]


@dataclass
class Meter:
    """Sums since it began.

    Attributes:
        sums: by version.
        last: reading, by admin port of the Envoy and version.
    """

    sums: dict[str, Counters] = field(default_factory=dict)
    last: dict[int, dict[str, Counters]] = field(default_factory=dict)

    @classmethod
    def from_zero(cls, reading: Reading) -> Meter:
        """Count from here."""
        return cls({}, {port: dict(versions) for port, versions in reading.items()})

    def add(self, reading: Reading) -> None:
        """Add what came since the last reading."""
        for port, versions in reading.items():
            last = self.last.get(port, {})
            anew = any(counted.is_anew(last.get(version, Counters())) for version, counted in versions.items())
            for version, counted in versions.items():
                since = counted if anew else counted.since(last.get(version, Counters()))
                self.sums[version] = self.sums.get(version, Counters()) + since
            self.last[port] = dict(versions)

    def written(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "sums": {version: _written(counted) for version, counted in self.sums.items()},
            "last": {
                str(port): {version: _written(counted) for version, counted in versions.items()}
                for port, versions in self.last.items()
            },
        }

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Meter:
        """From the journal."""
        return cls(
            {version: _read(counted) for version, counted in written["sums"].items()},
            {
                int(port): {version: _read(counted) for version, counted in versions.items()}
                for port, versions in written["last"].items()
            },
        )


def _written(counted: Counters) -> dict[str, Any]:
    return {
        "requests": counted.requests,
        "errors": counted.errors,
        "refused": counted.refused,
        "within": {str(edge): count for edge, count in counted.within.items()},
    }


def _read(written: Mapping[str, Any]) -> Counters:
    """What an earlier program did not count is none."""
    within = {float(edge): int(count) for edge, count in written["within"].items()}
    return Counters(written["requests"], written["errors"], within, written.get("refused", 0))
