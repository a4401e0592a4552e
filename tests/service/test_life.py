"""A worker's parts, made, started, drained and ended."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from data import forecaster as files
from data.errors import ModelError, RequestError
from service import forecasting
from service import life as subject
from service.forecasting import Pass
from service.life import Life
from service.metrics import Metrics
from service.settings import Settings
from tests.ports import free_ports
from tests.service.front import FORECAST, Client
from tests.service.world import World

LABELS = {"mlflow_version": "7", "run_id": "r1", "git_commit": "c0ffee"}


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """A worker's metrics are of its process; here many are made in one."""
    made = CollectorRegistry()
    monkeypatch.setattr(subject, "Metrics", lambda served: Metrics(served, made))
    return made


def begun(world: World, folder: Path | None = None, **settings: Any) -> Life:
    """A worker without a record, which has tests of its own."""
    given = {"grpc": False} | settings
    return Life.of(Settings(**given), folder or world.folder, LABELS, "bentocast:abc123", lambda: {"name": "x"}, None)


def watched(world: World) -> Pass:
    _, seen = forecasting.answer(world.forecaster, [world.ask(world.history())])
    return seen


async def counting(made: Life, city: World, registry: CollectorRegistry) -> None:
    """From the start until what was seen is on the page."""
    await made.start()
    made.worker.served.watch(watched(city))
    while registry.get_sample_value("model_series_total") == 0:
        await asyncio.sleep(0.001)
    await made.stop()


class TestMade:
    def test_out_of_a_folder_and_its_labels(self, city: World) -> None:
        made = begun(city, max_series=3, max_values=4_000)
        served = made.worker.served
        assert (served.model, served.model_version, served.bento) == ("bentocast", "7", "bentocast:abc123")
        assert (served.limits.series, served.limits.values) == (3, 4_000)
        assert served.lineage == LABELS
        assert made.worker.schema() == {"name": "x"}
        assert made.worker.ready
        assert made.worker.keys is None

    def test_with_a_model_that_is_watched(self, city: World, registry: CollectorRegistry) -> None:
        made = begun(city)
        client = Client(made.worker)
        assert client.post(FORECAST, json=city.document(*city.histories(3))).status_code == 200
        made.metrics.tick()
        assert registry.get_sample_value("model_series_total") == 3

    def test_not_out_of_a_damaged_model(self, city: World, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        shutil.copytree(city.folder, folder)
        with (folder / files.ONNX_FILE).open("ab") as file:
            file.write(b"\0")
        with pytest.raises(
            ModelError, match=r"does not belong to forecaster\.json: sha256 is [0-9a-f]{64}, wanted [0-9a-f]"
        ):
            begun(city, folder)

    def test_asked_in_memory(self, city: World) -> None:
        made = begun(city)
        answer = made.answer(city.document(city.history(1), quantiles=[0.5]))
        (content,) = answer["outputs"][0]["content"]
        assert content["mean_forecast"] == city.expected([city.origin(1)]).point[0].tolist()
        with pytest.raises(RequestError, match=r"^inputs is empty"):
            made.answer({"inputs": []})


class TestCourse:
    def test_what_was_counted_comes_to_the_page_by_itself(
        self, city: World, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subject, "TICK_SECONDS", 0.001)
        made = begun(city)

        asyncio.run(asyncio.wait_for(counting(made, city, registry), 30))

    def test_a_fault_of_one_turn_is_told_once_and_ends_nothing(
        self,
        city: World,
        registry: CollectorRegistry,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(subject, "TICK_SECONDS", 0.001)
        made = begun(city)
        tick, faults = made.metrics.model.tick, iter([OSError("no room")] * 3)

        def failing() -> bool:
            for fault in faults:
                raise fault
            return tick()

        monkeypatch.setattr(made.metrics.model, "tick", failing)

        asyncio.run(asyncio.wait_for(counting(made, city, registry), 30))
        assert caplog.messages.count("Metrics.tick failed; it is tried again every 0.001 s") == 1

    def test_the_last_counts_are_not_lost(self, city: World, registry: CollectorRegistry) -> None:
        made = begun(city)

        async def live() -> None:
            await made.start()
            made.worker.served.watch(watched(city))
            await made.stop()

        asyncio.run(live())
        assert registry.get_sample_value("model_series_total") == 1

    def test_an_end_without_a_start(self, city: World) -> None:
        asyncio.run(begun(city).stop())

    def test_drained_it_says_no_and_ended_it_lets_go_of_its_port(
        self, city: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        port = free_ports()
        made = begun(city, grpc=True, grpc_port=port, drain_seconds=3)

        async def health(channel: grpc.aio.Channel) -> int:
            stub = health_pb2_grpc.HealthStub(channel)
            status: int = (await stub.Check(health_pb2.HealthCheckRequest())).status
            return status

        async def live() -> None:
            await made.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                assert await health(channel) == health_pb2.HealthCheckResponse.SERVING
                with caplog.at_level(logging.INFO):
                    await made.drain()
                assert await health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
            assert not made.worker.ready
            await made.stop()

        asyncio.run(live())
        assert "told to end: not ready from now on, ending in 3 s" in caplog.messages
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))

    def test_a_port_that_is_taken_is_a_fault(self, city: World) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            made = begun(city, grpc=True, grpc_port=taken.getsockname()[1])
            with pytest.raises(RuntimeError, match="address"):
                asyncio.run(made.start())
