"""gRPC's own health checks, as Kubernetes and Envoy ask them, also while a service ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.service.live import serve
from tests.service.world import World

Status = health_pb2.HealthCheckResponse
NAMES = ["", "forecast.v1.ForecastService", "inference.GRPCInferenceService", "bentoml.grpc.v1.BentoService"]


@pytest.fixture
def stub(question: dict[str, Any]) -> Iterator[health_pb2_grpc.HealthStub]:
    with grpc.insecure_channel(question["grpc"]) as channel:
        yield health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("name", NAMES)
def test_check(stub: health_pb2_grpc.HealthStub, name: str) -> None:
    assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status == Status.SERVING


def test_check_of_a_service_that_is_not_there(stub: health_pb2_grpc.HealthStub) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_all_who_watch_see_the_end_before_it_comes(city: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        serve(city.folder, tmp_path_factory.mktemp("ending"), drain_seconds=1) as live,
        grpc.insecure_channel(live.grpc) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        gone, *watches = [stub.Watch(health_pb2.HealthCheckRequest(service=NAMES[1]), timeout=20) for _ in range(3)]
        assert [next(watch).status for watch in (gone, *watches)] == [Status.SERVING] * 3
        gone.cancel()
        stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        os.killpg(live.process.pid, signal.SIGTERM)
        assert [next(watch).status for watch in watches] == [Status.NOT_SERVING] * 2
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == Status.NOT_SERVING
        assert not live.is_ready()
        assert [list(watch) for watch in watches] == [[], []]
        live.process.wait(20)


def test_watch_of_a_service_that_is_not_there_goes_on(stub: health_pb2_grpc.HealthStub) -> None:
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="other"), timeout=20)
    assert next(watch).status == Status.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_a_damaged_message_is_the_fault_of_the_client(question: dict[str, Any], method: str) -> None:
    with grpc.insecure_channel(question["grpc"]) as channel, pytest.raises(grpc.RpcError) as refused:
        list(channel.unary_stream(f"/grpc.health.v1.Health/{method}")(b"\xff", timeout=10))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith("the message is no grpc.health.v1.HealthCheckRequest")
