"""Envoy's clusters (CDS) and endpoints (EDS): the versions, and where their instances listen.

Traps, each seen on 1.40: health checks of a cluster without traffic run once a minute unless `no_traffic_interval` says
otherwise; an endpoint that is taken out but passes its health checks goes on getting requests unless
`ignore_health_on_host_removal` is set; mirrored requests count as a version's own unless their cluster is another.
"""

from __future__ import annotations

from deploy import versions
from deploy.router.messages import Files, Limits, Message, address, file, typed
from deploy.router.routing import PROTOCOLS, Protocol, Routing, cluster


def clusters(routing: Routing, files: Files, limits: Limits, revision: str) -> Message:
    """The file of clusters: of each version one a protocol, and the same once more for mirrored requests."""
    made = [
        _cluster(version, protocol, files, limits, mirrored=mirrored)
        for version in sorted(routing.endpoints)
        for protocol in PROTOCOLS
        for mirrored in (False, True)
    ]
    return {"version_info": revision, "resources": [typed("config.cluster.v3.Cluster", one) for one in made]}


def endpoints(routing: Routing) -> dict[str, Message]:
    """The files of endpoints, by the name of their cluster.

    A baseline has the other instances of its version in reserve: what it does not answer, they do.
    """
    made = {}
    for version, instances in routing.endpoints.items():
        reserve = routing.endpoints.get(versions.own(version), ()) if versions.own(version) != version else ()
        for protocol in PROTOCOLS:
            for mirrored in (False, True):
                name = cluster(version, protocol, mirrored=mirrored)
                groups = [
                    {
                        "priority": priority,
                        "lb_endpoints": [_endpoint("127.0.0.1", instance.port(protocol)) for instance in group],
                    }
                    for priority, group in enumerate((instances, reserve))
                    if group
                ]
                assignment = {"cluster_name": name, "endpoints": groups}
                made[name] = {"resources": [typed("config.endpoint.v3.ClusterLoadAssignment", assignment)]}
    return made


def _cluster(version: str, protocol: Protocol, files: Files, limits: Limits, *, mirrored: bool) -> Message:
    name = cluster(version, protocol, mirrored=mirrored)
    speaks: Message = {"http2_protocol_options": {}} if protocol == "grpc" else {"http_protocol_options": {}}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": file(files.endpoints / f"{name}.yaml")},
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
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


def _endpoint(host: str, port: int) -> Message:
    return {"endpoint": {"address": address(host, port)}}
