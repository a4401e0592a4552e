"""What a router has counted so far, read from its statistics (Prometheus' text format), by version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from deploy.router.messages import TIMES
from deploy.router.routing import PROTOCOLS, cluster

#: gRPC's statuses that are the service's fault, as HTTP's 5xx are.
FAULTS = {"2", "4", "8", "13", "14", "15"}
#: Those that say that the client is at fault, as HTTP's 4xx do; all others are answers, or the client's own end.
REFUSALS = {"3", "5", "6", "7", "9", "11", "12", "16"}
#: Said by a service with too much to do, whatever is asked.
TOO_MANY = "429"
_REQUESTS = "envoy_cluster_upstream_rq_completed"
_BY_CLASS = "envoy_cluster_upstream_rq_xx"
_BY_CODE = "envoy_cluster_upstream_rq"
_TIMES = f"envoy_cluster_{TIMES}"
_GRPC = "envoy_cluster_grpc_"
#: What is read, as Envoy names it: of all that it counts of clusters, a small part.
NAMES = rf"^cluster\.({TIMES}\.|.*\.(upstream_rq_completed|upstream_rq_.xx|upstream_rq_4..|grpc\.[0-9]+)$)"


@dataclass(frozen=True)
class Counters:
    """Of one version, since its router started.

    Attributes:
        requests: that were answered.
        errors: of these, answered by a fault of the service: 5xx, or a gRPC status in `FAULTS`.
        within: requests by bucket edge in seconds that took no longer.
        refused: of them, answered as if the client were at fault: 4xx but for `TOO_MANY`, or a gRPC status in `REFUSALS`.
    """

    requests: int = 0
    errors: int = 0
    within: Mapping[float, int] = field(default_factory=dict)
    refused: int = 0

    @property
    def seen(self) -> int:
        """Requests, by whichever was counted last: Envoy counts times up to a second after answers."""
        return max(self.requests, self.within.get(float("inf"), 0))

    def over(self) -> dict[float, int]:
        """Requests that took longer than each edge, of those whose time was counted."""
        timed = self.within.get(float("inf"), 0)
        return {edge: timed - count for edge, count in self.within.items() if edge != float("inf")}

    def __add__(self, other: Counters) -> Counters:
        """Of two routers, or two clusters, together."""
        edges = self.within.keys() | other.within.keys()
        within = {edge: self.within.get(edge, 0) + other.within.get(edge, 0) for edge in sorted(edges)}
        bad = self.errors + other.errors, self.refused + other.refused
        return Counters(self.requests + other.requests, bad[0], within, bad[1])

    def since(self, earlier: Counters) -> Counters:
        """What came after an earlier reading; all of it, if the router was started anew in between."""
        if self.is_anew(earlier):
            return self
        within, most = {}, 0
        for edge in sorted(self.within):  # if it began anew and has counted more by now, they may disagree
            most = max(most, self.within[edge] - earlier.within.get(edge, 0))
            within[edge] = most
        more = self.requests - earlier.requests
        bad = self.errors - earlier.errors, self.refused - earlier.refused
        errors, refused = (min(count, max(more, most)) for count in bad)
        return Counters(more, errors, within, refused)

    def is_anew(self, earlier: Counters) -> bool:
        """Whether the router was started anew after an earlier reading, as far as can be told: something fell."""
        fell = any(self.within.get(edge, 0) < count for edge, count in earlier.within.items())
        kinds = ("requests", "errors", "refused")
        return fell or any(getattr(self, kind) < getattr(earlier, kind) for kind in kinds)


def is_refusal(code: str) -> bool:
    """Whether HTTP's status says that the client is at fault, and not that there is too much to do."""
    return code.startswith("4") and code != TOO_MANY


def read(text: str, versions: Iterable[str], *, mirrored: bool = False) -> dict[str, Counters]:
    """Counters of some versions; zeros for one that the router has not counted yet.

    Of copies, Envoy counts no gRPC statuses: nobody reads their answers.

    Args:
        text: of `/stats/prometheus`.
        versions: which.
        mirrored: of copies of requests, instead of requests.
    """
    owners = {cluster(version, protocol, mirrored=mirrored): version for version in versions for protocol in PROTOCOLS}
    requests = dict.fromkeys(owners, 0)
    answered_4xx, answered_5xx = dict.fromkeys(owners, 0), dict.fromkeys(owners, 0)
    refusals, faults = dict.fromkeys(owners, 0), dict.fromkeys(owners, 0)
    within: dict[str, dict[float, int]] = {name: {} for name in owners}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.labels.get("envoy_cluster_name", "")
            if name not in owners:
                continue
            value, counted = int(sample.value), sample.name.removesuffix("_total")  # which the parser adds to counters
            if counted == _REQUESTS:
                requests[name] += value
            elif counted == _BY_CLASS and sample.labels["envoy_response_code_class"] == "5":
                answered_5xx[name] += value
            elif counted == _BY_CODE and is_refusal(sample.labels["envoy_response_code"]):
                answered_4xx[name] += value
            elif sample.name == f"{_TIMES}_bucket":
                within[name][float(sample.labels["le"]) / 1e6] = value
            elif counted.removeprefix(_GRPC) in FAULTS:
                faults[name] += value
            elif counted.removeprefix(_GRPC) in REFUSALS:
                refusals[name] += value
    found = {version: Counters() for version in owners.values()}
    for name, version in owners.items():
        # gRPC that got no answer is counted as 503, and by the status that the router answers with: it is one error.
        errors, refused = max(answered_5xx[name], faults[name]), max(answered_4xx[name], refusals[name])
        found[version] += Counters(requests[name], errors, within[name], refused)
    return found
