"""Which requests go to which version: the one value that all of the router's configuration is made from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from data import deployment
from data.deployment import Sticky

#: Weights are parts of this many.
WHOLE = deployment.WHOLE

#: What an instance speaks; each has clusters, counters and health checks of its own.
Protocol = Literal["http", "grpc"]
PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc")


@dataclass(frozen=True)
class Endpoint:
    """Where one instance listens on this machine.

    Attributes:
        http: port.
        grpc: port.
    """

    http: int
    grpc: int

    def port(self, protocol: Protocol) -> int:
        """Port of a protocol."""
        return self.http if protocol == "http" else self.grpc


@dataclass(frozen=True)
class Mirror:
    """Requests that a version gets a copy of, which nobody sees its answers to.

    Attributes:
        version: which.
        share: of all requests, above 0, at most 1.
    """

    version: str
    share: float


@dataclass(frozen=True)
class Choice:
    """Requests that go to one version because of a header, whatever the weights.

    Attributes:
        header: name, in small letters.
        value: of it.
        version: which.
    """

    header: str
    value: str
    version: str

    def curl(self, address: str) -> str:
        """How somebody asks that version."""
        return f"curl -i -H {shlex.quote(f'{self.header}: {self.value}')} {address}/v1/timeseries/models"


@dataclass(frozen=True)
class Routing:
    """Where requests go.

    Attributes:
        endpoints: instances of each version that is up, by version.
        weights: parts of `WHOLE` by version, the one that takes over last: as its weight rises, users who stay with a version
            are moved to it, and none away from it. A version without a weight gets no request but mirrored and chosen
            ones.
        mirror: a version that gets copies.
        choices: by header, first match first.
        sticky: by what users are known who stay with a version, or None.
        timeout_seconds: after which a request is given up.
    """

    endpoints: Mapping[str, tuple[Endpoint, ...]]
    weights: Mapping[str, int]
    mirror: Mirror | None = None
    choices: tuple[Choice, ...] = ()
    sticky: Sticky | None = None
    timeout_seconds: float = 35.0

    def __post_init__(self) -> None:
        """Refuse what Envoy would answer with 503.

        Raises:
            ValueError: weights that do not add up, or a version that is not up.
        """
        if sum(self.weights.values()) != WHOLE or min(self.weights.values(), default=-1) < 0:
            raise ValueError(f"got weights {dict(self.weights)}, wanted parts of {WHOLE} that add up to it")
        if self.mirror and not 0 < self.mirror.share <= 1:
            raise ValueError(f"got a mirrored share of {self.mirror.share:g}, wanted one above 0, at most 1")
        down = sorted(version for version in self.asked if not self.endpoints.get(version))
        if down:
            raise ValueError(f"{', '.join(down)} would get requests, but has no instance")

    @property
    def asked(self) -> set[str]:
        """Versions that get requests, of whatever kind."""
        found = {version for version, weight in self.weights.items() if weight}
        found |= {choice.version for choice in self.choices}
        return found | ({self.mirror.version} if self.mirror else set())


def cluster(version: str, protocol: Protocol, *, mirrored: bool = False) -> str:
    """Name of a version's cluster in Envoy: by it traffic is counted, mirrored requests apart from the others."""
    return f"{version}-{protocol}" + ("-mirrored" if mirrored else "")
