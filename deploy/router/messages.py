"""What Envoy's messages (API v3) are made of, and what they are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

Message = dict[str, Any]

API = "type.googleapis.com/envoy"
#: Where Envoy's own pages are.
LOCAL = "127.0.0.1"
#: Name of the routes, and prefix of what the listener counts.
PUBLIC = "public"
#: Histogram of what requests took; Envoy's own, `upstream_rq_time`, counts whole milliseconds.
TIMES = "upstream_rq_microseconds"


@dataclass(frozen=True)
class Limits:
    """What a stranger can take at most.

    Attributes:
        connections: of clients at once.
        requests: under way to one version at once.
        pending: waiting for a connection to one version.
        retries: under way to one version at once.
        streams: of one HTTP/2 connection at once.
        header_kib: of a request, KiB.
        idle_seconds: after which a connection without requests is closed.
        heap_bytes: of Envoy, beyond which it takes no new requests.
    """

    connections: int = 10_000
    requests: int = 4_096
    pending: int = 4_096
    retries: int = 16
    streams: int = 256
    header_kib: int = 60
    idle_seconds: float = 300.0
    heap_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True)
class Files:
    """Where the parts that change are.

    Attributes:
        routes: file of the routes.
        clusters: file of the clusters.
        endpoints: folder with a file of endpoints for each cluster.
    """

    routes: Path
    clusters: Path
    endpoints: Path

    @property
    def back(self) -> Path:
        """File of the routes that bring all users back to the version before; it is there as long as some are away."""
        return self.routes.with_name("back.yaml")

    @classmethod
    def within(cls, folder: Path) -> Files:
        """The usual names."""
        return cls(folder / "routes" / "routes.yaml", folder / "clusters" / "clusters.yaml", folder / "endpoints")


def file(path: Path) -> Message:
    """A file that is read anew whenever another one takes its place."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
    }


def address(host: str, port: int) -> Message:
    """Host and port."""
    return {"socket_address": {"address": host, "port_value": port}}


def typed(name: str, values: Message) -> Message:
    """A message that says of which type it is."""
    return {"@type": f"{API}.{name}", **values}


def seconds(value: float) -> str:
    """A duration."""
    return f"{value:g}s"
