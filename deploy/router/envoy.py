"""Envoy itself: what it is started with, from typed values.

Three kinds of files change while it runs, each swapped by a rename, which Envoy notices: routes (RDS), clusters (CDS)
and endpoints (EDS).
"""

from __future__ import annotations

import math
from pathlib import Path

from data.rollout import STEP
from deploy.router.clusters import clusters, endpoints
from deploy.router.messages import API, LOCAL, PUBLIC, TIMES, Files, Limits, Message, address, file, seconds, typed
from deploy.router.routes import configuration
from deploy.router.routing import Routing

#: Latencies are counted in buckets, whose edges are from here to there.
FIRST_US, LAST_US = 500, 60_000_000

#: What an instance took for a request: from its last byte to the last of its answer. What got no whole answer has no such
#: time.
TOOK = "%COMMON_DURATION(US_TX_END:US_RX_END:us)%"

_HCM = f"{API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def edges_us() -> list[float]:
    """Edges of the buckets of latencies, microseconds, rising: numbers of two digits, half a step or more apart.

    Envoy keeps two digits of what it counts in a histogram: only at such a number it knows what is below. What is counted
    at an edge is what begins with its two digits, or with less, so each edge is just before the number.
    """
    edges = [FIRST_US]
    for number in (digits * 10**power for power in range(1, 7) for digits in range(10, 100)):
        if edges[-1] * math.sqrt(STEP) <= number <= LAST_US:
            edges.append(number)
    return [edge - 0.5 for edge in edges]


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
        "admin": {"address": address(LOCAL, admin_port)},
        "dynamic_resources": {"cds_config": file(files.clusters)},
        "static_resources": {"listeners": [_listener(host, port, files, limits, access_log)]},
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"prefix": f"cluster.{TIMES}"}, "buckets": edges_us()}]
        },
        "stats_flush_interval": "1s",
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "overload_manager": _overload(limits),
    }


def started_with(whole: Message) -> dict[str, object]:
    """What of `deploy.router` is in a bootstrap, by its key in params.yaml."""
    listener = whole["static_resources"]["listeners"][0]
    socket, manager = listener["address"]["socket_address"], listener["filter_chains"][0]["filters"][0]["typed_config"]
    monitors = [one["typed_config"] for one in whole["overload_manager"]["resource_monitors"]]
    most = "max_active_downstream_connections"
    return {
        "host": socket["address"],
        "port": socket["port_value"],
        "connections": next(one[most] for one in monitors if most in one),
        "access_log": "access_log" in manager,
    }


def inlined(routing: Routing, *, host: str, port: int, admin_port: int, files: Files, limits: Limits) -> Message:
    """The whole as one bootstrap without files that change, for `envoy --mode validate`, which reads none of them."""
    whole = bootstrap(host=host, port=port, admin_port=admin_port, files=files, limits=limits, access_log=None)
    manager = whole["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"], whole["dynamic_resources"]
    manager["route_config"] = configuration(routing)
    parts = endpoints(routing)
    whole["static_resources"]["clusters"] = made = []
    for one in clusters(routing, files, limits, "")["resources"]:
        fixed = {key: value for key, value in one.items() if key not in ("@type", "eds_cluster_config")}
        assignment = {key: value for key, value in parts[one["name"]]["resources"][0].items() if key != "@type"}
        made.append(fixed | {"type": "STATIC", "load_assignment": assignment})
    return whole


def _listener(host: str, port: int, files: Files, limits: Limits, access_log: Path | None) -> Message:
    manager = {
        "stat_prefix": PUBLIC,
        "codec_type": "AUTO",
        "rds": {"route_config_name": PUBLIC, "config_source": file(files.routes)},
        "use_remote_address": True,
        "max_request_headers_kb": limits.header_kib,
        "stream_idle_timeout": seconds(limits.idle_seconds),
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {
            "idle_timeout": seconds(limits.idle_seconds),
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
                "typed_config": typed("extensions.filters.http.grpc_stats.v3.FilterConfig", {}),
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": typed(
                    "extensions.filters.http.router.v3.Router",
                    {"suppress_envoy_headers": False, "upstream_log": [_times()]},
                ),
            },
        ],
    }
    if access_log:
        manager["access_log"] = [_access_log(access_log)]
    return {
        "name": PUBLIC,
        "address": address(host, port),
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


def _times() -> Message:
    """A histogram of what requests, and copies of them, took in each cluster, like Envoy's own, but in microseconds."""
    histogram = {
        "stat": {"name": TIMES, "tags": [{"name": "envoy_cluster_name", "value_format": "%UPSTREAM_CLUSTER%"}]},
        "unit": "Microseconds",
        "value_format": TOOK,
    }
    made = {"stats_scope": {"prefix": "cluster"}, "histograms": [histogram]}
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": typed("extensions.access_loggers.stats.v3.Config", made),
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
        "typed_config": typed("extensions.access_loggers.file.v3.FileAccessLog", made),
    }


def _overload(limits: Limits) -> Message:
    def monitor(name: str, kind: str, **values: object) -> Message:
        return {
            "name": f"envoy.resource_monitors.{name}",
            "typed_config": typed(f"extensions.resource_monitors.{kind}", values),
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
