"""What an Envoy is started with, and what it is told of clusters, holds a bad instance and a stranger off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.router import clusters, envoy
from deploy.router.messages import Files, Limits
from deploy.router.routing import WHOLE, Endpoint, Routing

LIMITS = Limits(connections=11, requests=12, pending=13, retries=14, streams=15, header_kib=16, heap_bytes=17)
FILES = Files.within(Path("somewhere"))
ROUTING = Routing({"a": (Endpoint(1, 2),), "b": (Endpoint(3, 4),)}, {"a": WHOLE})
BOOTSTRAP = envoy.bootstrap(
    host="127.0.0.1", port=18_080, admin_port=18_081, files=FILES, limits=LIMITS, access_log=None
)
CLUSTERS = clusters.clusters(ROUTING, FILES, LIMITS, "1")["resources"]


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda one: one["name"])
def test_each_cluster(cluster: dict[str, Any]) -> None:
    """Copies too: they are answered by the same instances."""
    outliers = cluster["outlier_detection"]
    assert outliers["enforcing_consecutive_gateway_failure"] == 100
    assert outliers["consecutive_gateway_failure"] == 5
    assert outliers["enforcing_consecutive_5xx"] == 0, "an error of the service is the judge's, not the router's"
    assert outliers["max_ejection_percent"] == 50, "half of the instances are left"
    (threshold,) = cluster["circuit_breakers"]["thresholds"]
    assert threshold == {"max_connections": 12, "max_pending_requests": 13, "max_requests": 12, "max_retries": 14}
    assert cluster["common_lb_config"] == {"healthy_panic_threshold": {"value": 0}}
    assert cluster["ignore_health_on_host_removal"] is True
    (health,) = cluster["health_checks"]
    assert ("grpc_health_check" in health) == ("-grpc" in cluster["name"])
    assert {health["interval"], health["no_traffic_interval"]} == {"1s"}


def test_there_is_one_for_each_version_and_protocol_and_for_copies() -> None:
    assert len(CLUSTERS) == 8


def test_connections_and_memory_have_an_end() -> None:
    overload = BOOTSTRAP["overload_manager"]
    monitors = {one["name"].rpartition(".")[2]: one["typed_config"] for one in overload["resource_monitors"]}
    assert monitors["global_downstream_max_connections"]["max_active_downstream_connections"] == 11
    assert monitors["fixed_heap"]["max_heap_size_bytes"] == 17
    acts = {one["name"].rpartition(".")[2]: one["triggers"] for one in overload["actions"]}
    assert acts.keys() == {"shrink_heap", "stop_accepting_requests"}
    assert {trigger["name"] for triggers in acts.values() for trigger in triggers} == {
        "envoy.resource_monitors.fixed_heap"
    }


def test_a_stranger_gets_no_more_than_a_part() -> None:
    (listener,) = BOOTSTRAP["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["http2_protocol_options"]["max_concurrent_streams"] == 15
    assert manager["max_request_headers_kb"] == 16
    assert manager["request_headers_timeout"] == "10s"
    assert manager["stream_idle_timeout"] == manager["common_http_protocol_options"]["idle_timeout"] == "300s"
    assert manager["use_remote_address"] is True
    assert listener["per_connection_buffer_limit_bytes"] == 1024 * 1024
