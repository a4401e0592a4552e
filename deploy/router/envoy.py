"""Envoy's configuration, from typed values to what its files hold (API v3).

Three kinds of files change while it runs, each swapped by a rename, which Envoy notices: routes (RDS), clusters (CDS)
and endpoints (EDS). Traps, each seen on 1.40: RDS accepts a cluster that does not exist, and answers 503, unless
`validate_clusters` is set; health checks of a cluster without traffic run once a minute unless `no_traffic_interval`
says otherwise; an endpoint that is taken out but passes its health checks goes on getting requests unless
`ignore_health_on_host_removal` is set; mirrored requests count as a version's own unless their cluster is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.deployment import Sticky
from data.rollout import STEP
from deploy.router.routing import PROTOCOLS, Protocol, Routing, cluster

Message = dict[str, Any]

#: Name of the routes, and prefix of what the listener counts.
PUBLIC = "public"
#: Order of routes: gRPC is HTTP too.
GRPC_FIRST: tuple[Protocol, ...] = ("grpc", "http")
#: Latencies are counted in buckets, each edge `STEP` times the one before: 10 % slower is one bucket further.
FIRST_MS, LAST_MS = 0.5, 60_000.0

_API = "type.googleapis.com/envoy"
_HCM = f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


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


def edges_ms() -> list[float]:
    """Edges of the buckets of latencies, milliseconds, rising."""
    edges = [FIRST_MS]
    while edges[-1] < LAST_MS:
        edges.append(round(edges[-1] * STEP, 4))
    return edges


def bootstrap(
    *, host: str, port: int, admin_port: int, files: Files, limits: Limits, access_log: Path | None
) -> Message:
    """What Envoy is started with: one port for HTTP and gRPC, everything else from files.

    Args:
        host: address that users reach.
        port: of it.
        admin_port: of Envoy's own pages, on 127.0.0.1.
        files: the parts that change.
        limits: on what a stranger can take.
        access_log: file that a line of JSON is added to for each request, or None.
    """
    return {
        "node": {"id": f"router-{admin_port}", "cluster": "bentocast"},
        "admin": {"address": _address("127.0.0.1", admin_port)},
        "dynamic_resources": {"cds_config": _file(files.clusters)},
        "static_resources": {"listeners": [_listener(host, port, files, limits, access_log)]},
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"suffix": "upstream_rq_time"}, "buckets": edges_ms()}]
        },
        "stats_flush_interval": "1s",
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "overload_manager": _overload(limits),
    }


def routes(routing: Routing, revision: str) -> Message:
    """The file of routes.

    Args:
        routing: where requests go.
        revision: by which the router tells that it took them over.
    """
    return {"version_info": revision, "resources": [_typed("config.route.v3.RouteConfiguration", _routes(routing))]}


def clusters(routing: Routing, files: Files, limits: Limits, revision: str) -> Message:
    """The file of clusters: of each version one a protocol, and the same once more for mirrored requests."""
    made = [
        _cluster(version, protocol, files, limits, mirrored=mirrored)
        for version in sorted(routing.endpoints)
        for protocol in PROTOCOLS
        for mirrored in (False, True)
    ]
    return {"version_info": revision, "resources": [_typed("config.cluster.v3.Cluster", one) for one in made]}


def endpoints(routing: Routing) -> dict[str, Message]:
    """The files of endpoints, by the name of their cluster."""
    made = {}
    for version, instances in routing.endpoints.items():
        for protocol in PROTOCOLS:
            for mirrored in (False, True):
                name = cluster(version, protocol, mirrored=mirrored)
                ports = [_endpoint("127.0.0.1", instance.port(protocol)) for instance in instances]
                assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": ports}]}
                made[name] = {"resources": [_typed("config.endpoint.v3.ClusterLoadAssignment", assignment)]}
    return made


def inlined(routing: Routing, *, host: str, port: int, admin_port: int, files: Files, limits: Limits) -> Message:
    """The whole as one bootstrap without files that change, for `envoy --mode validate`, which reads none of them."""
    whole = bootstrap(host=host, port=port, admin_port=admin_port, files=files, limits=limits, access_log=None)
    manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"], whole["dynamic_resources"]
    manager["route_config"] = _routes(routing)
    parts = endpoints(routing)
    whole["static_resources"]["clusters"] = made = []
    for one in clusters(routing, files, limits, "")["resources"]:
        fixed = {key: value for key, value in one.items() if key not in ("@type", "eds_cluster_config")}
        assignment = {key: value for key, value in parts[one["name"]]["resources"][0].items() if key != "@type"}
        made.append(fixed | {"type": "STATIC", "load_assignment": assignment})
    return whole


def _routes(routing: Routing) -> Message:
    made = [
        _route(protocol, routing, {choice.version: 1}, _Users({"headers": [_is(choice.header, exact=choice.value)]}))
        for choice in routing.choices
        for protocol in GRPC_FIRST
    ]
    made += [
        _route(protocol, routing, routing.weights, users) for users in _users(routing.sticky) for protocol in GRPC_FIRST
    ]
    return {
        "name": PUBLIC,
        "validate_clusters": True,
        "virtual_hosts": [
            {"name": PUBLIC, "domains": ["*"], "routes": made, "include_attempt_count_in_response": True}
        ],
    }


@dataclass(frozen=True)
class _Users:
    """Whom a route is for.

    Attributes:
        match: what tells them from others; all if empty.
        known_by: what is hashed to choose a version, or nothing: then it is chance.
        answer: what is done to answers.
    """

    match: Message = field(default_factory=dict)
    known_by: Message = field(default_factory=dict)
    answer: Message = field(default_factory=dict)


def _users(sticky: Sticky | None) -> list[_Users]:
    """Those who are told apart, to stay with a version; the first that match count.

    Envoy's own cookie (`ttl` of a cookie's hash policy) is made after the version was chosen, by chance, so that the next
    request may go to another. So whoever has no cookie is known by the request's id, which becomes the cookie.
    """
    if sticky is None:
        return [_Users()]
    if sticky.header:
        return [_Users(known_by={"header": {"header_name": sticky.header}})]
    given = {"key": "set-cookie", "value": f"{sticky.cookie}=%REQ(X-REQUEST-ID)%; Path=/; HttpOnly; SameSite=Lax"}
    return [
        _Users(
            match={"cookies": [_is(sticky.cookie, safe_regex={"regex": ".+"})]},
            known_by={"cookie": {"name": sticky.cookie}},
        ),
        _Users(
            known_by={"header": {"header_name": "x-request-id"}},
            answer={"response_headers_to_add": [{"header": given}]},
        ),
    ]


def _is(name: str | None, **value: object) -> Message:
    """Match of a header or cookie."""
    return {"name": name, "string_match": value}


def _route(protocol: Protocol, routing: Routing, weights: Mapping[str, int], users: _Users) -> Message:
    match: Message = {"prefix": "/", **users.match}
    if protocol == "grpc":
        match["grpc"] = {}
    weighted: Message = {
        "clusters": [
            {"name": cluster(version, protocol), "weight": weight} for version, weight in weights.items() if weight
        ]
    }
    action: Message = {
        "weighted_clusters": weighted,
        "timeout": _seconds(routing.timeout_seconds),
        "retry_policy": {
            # What got no answer at all: forecasts change nothing, and actual values that are written twice are the same.
            "retry_on": "connect-failure,refused-stream,reset-before-request,reset",
            "num_retries": 3,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
            "host_selection_retry_max_attempts": 3,
            "retry_host_predicate": [
                {
                    "name": "previous_hosts",
                    "typed_config": _typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", {}),
                }
            ],
        },
    }
    if routing.mirror:
        action["request_mirror_policies"] = [
            {
                "cluster": cluster(routing.mirror.version, protocol, mirrored=True),
                "runtime_fraction": {
                    "default_value": {"numerator": round(routing.mirror.share * 1e6), "denominator": "MILLION"}
                },
            }
        ]
    if users.known_by:
        weighted["use_hash_policy"] = True
        action["hash_policy"] = [users.known_by]
    return {"match": match, "route": action} | users.answer


def _cluster(version: str, protocol: Protocol, files: Files, limits: Limits, *, mirrored: bool) -> Message:
    name = cluster(version, protocol, mirrored=mirrored)
    speaks: Message = {"http2_protocol_options": {}} if protocol == "grpc" else {"http_protocol_options": {}}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _file(files.endpoints / f"{name}.yaml")},
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                {"explicit_http_config": speaks, "common_http_protocol_options": {"idle_timeout": "55s"}},
            )
        },
        "health_checks": [_health(protocol)],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "ignore_health_on_host_removal": True,
        "outlier_detection": {
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": limits.requests,
                    "max_pending_requests": limits.pending,
                    "max_requests": limits.requests,
                    "max_retries": limits.retries,
                }
            ]
        },
    }


def _health(protocol: Protocol) -> Message:
    how: Message = {"grpc_health_check": {}} if protocol == "grpc" else {"http_health_check": {"path": "/readyz"}}
    return how | {
        "timeout": "2s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_interval": "0.25s",
        "no_traffic_healthy_interval": "1s",
        "healthy_threshold": 1,
        "unhealthy_threshold": 2,
    }


def _listener(host: str, port: int, files: Files, limits: Limits, access_log: Path | None) -> Message:
    manager = {
        "stat_prefix": PUBLIC,
        "codec_type": "AUTO",
        "rds": {"route_config_name": PUBLIC, "config_source": _file(files.routes)},
        "use_remote_address": True,
        "max_request_headers_kb": limits.header_kib,
        "stream_idle_timeout": _seconds(limits.idle_seconds),
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {
            "idle_timeout": _seconds(limits.idle_seconds),
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": limits.streams,
            "initial_stream_window_size": 1024 * 1024,
            "initial_connection_window_size": 16 * 1024 * 1024,
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.grpc_stats",
                "typed_config": _typed("extensions.filters.http.grpc_stats.v3.FilterConfig", {}),
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": _typed("extensions.filters.http.router.v3.Router", {"suppress_envoy_headers": False}),
            },
        ],
    }
    if access_log:
        manager["access_log"] = [_access_log(access_log)]
    return {
        "name": PUBLIC,
        "address": _address(host, port),
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {"@type": _HCM, **manager},
                    }
                ]
            }
        ],
    }


def _access_log(path: Path) -> Message:
    shown = {
        "at": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS%",
        "flags": "%RESPONSE_FLAGS%",
        "milliseconds": "%DURATION%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    made = {"path": str(path), "log_format": {"json_format": shown}}
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": _typed("extensions.access_loggers.file.v3.FileAccessLog", made),
    }


def _overload(limits: Limits) -> Message:
    def monitor(name: str, kind: str, **values: object) -> Message:
        return {
            "name": f"envoy.resource_monitors.{name}",
            "typed_config": _typed(f"extensions.resource_monitors.{kind}", values),
        }

    def action(name: str, at: float) -> Message:
        trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": at}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            monitor("fixed_heap", "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=limits.heap_bytes),
            monitor(
                "global_downstream_max_connections",
                "downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=limits.connections,
            ),
        ],
        "actions": [action("shrink_heap", 0.9), action("stop_accepting_requests", 0.97)],
    }


def _file(path: Path) -> Message:
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
    }


def _endpoint(host: str, port: int) -> Message:
    return {"endpoint": {"address": _address(host, port)}}


def _address(host: str, port: int) -> Message:
    return {"socket_address": {"address": host, "port_value": port}}


def _typed(name: str, values: Message) -> Message:
    return {"@type": f"{_API}.{name}", **values}


def _seconds(value: float) -> str:
    return f"{value:g}s"
