"""gRPC over a socket: codes, texts, metadata, keys, health and reflection."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from data.errors import ModelError
from data.forecaster import Forecaster
from service import grpc_server, keys
from service.admission import LARGE_BYTES, OverloadedError
from service.grpc_server import GrpcServer
from service.message import parsed
from service.metrics import Metrics
from service.proto import bentoml_pb2, forecast_pb2, inference_pb2
from service.protocols import grpc_bentoml, grpc_forecast, grpc_inference
from service.record import RecordUnavailableError
from service.worker import Worker
from tests.ports import free_ports
from tests.service.doors import DOORS, GrpcForecast, GrpcForecastPacked, OverGrpc, Wanted, expected, same
from tests.service.mistakes import MISTAKES, shorter
from tests.service.world import World

SERVICES = (grpc_inference.SERVICE, grpc_forecast.SERVICE, grpc_bentoml.SERVICE)
GRPC_DOORS = [door for door in DOORS if isinstance(door, OverGrpc)]
#: Methods that anybody may call.
PROBES = {"ServerLive", "ServerReady"}
TRACE = {"x-bento": "bentocast:abc123", "x-model-name": "bentocast", "x-model-version": "7"}
MESSAGES: dict[str, type[Message]] = {
    f"{service.name}/{method.name}": method.request for service in SERVICES for method in service.methods
}


class Line:
    """A server in a thread with a loop of its own, and a client's channel to it."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.registry = worker, CollectorRegistry()
        self.metrics = Metrics(worker.served, self.registry)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = self.run(self._started())
        target = f"127.0.0.1:{worker.settings.grpc_at}"
        self.channel = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", -1)])

    async def _started(self) -> GrpcServer:
        server = GrpcServer(self.worker, self.metrics, SERVICES)
        await server.start()
        return server

    def run(self, work: Any) -> Any:
        """Let the server's loop do something."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        """End both."""
        self.channel.close()
        self.run(self.server.stop(0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.worker.engine.close()

    def ask(self, method: str, request: bytes | Message, seconds: float = 30, **sent: Any) -> Any:
        """The bytes of an answer, with the call itself."""
        body = request if isinstance(request, bytes) else request.SerializeToString()
        asked = self.channel.unary_unary(f"/{method}")
        return asked.with_call(body, timeout=seconds, **sent)

    def refused(self, method: str, request: bytes | Message, **sent: Any) -> tuple[grpc.StatusCode, str]:
        """Code and text of a refusal."""
        with pytest.raises(grpc.RpcError) as caught:
            self.ask(method, request, **sent)
        if method in MESSAGES and caught.value.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:  # which is gRPC's own
            assert TRACE.items() <= dict(caught.value.trailing_metadata()).items()
        return caught.value.code(), caught.value.details()

    def counted(self, method: str, code: int) -> float | None:
        """How many calls were answered so."""
        labels = {"endpoint": f"/{method}", "http_response_code": str(code), "service_name": "bentocast"}
        labels |= {"service_version": "abc123", "runner_name": "bentocast"}
        return self.registry.get_sample_value("bentoml_service_request_total", labels)


@contextlib.contextmanager
def served(world: World, worker: Worker | None = None, **settings: Any) -> Iterator[Line]:
    made = world.worker(grpc_port=free_ports(), **settings)
    if worker is not None:
        made = replace(worker, settings=made.settings)
    line = Line(made)
    try:
        yield line
    finally:
        line.close()


@pytest.fixture(scope="module")
def line(city: World) -> Iterator[Line]:
    with served(city) as made:
        yield made


class TestForecasts:
    @pytest.mark.parametrize("door", GRPC_DOORS, ids=lambda door: door.name)
    def test_answers(self, line: Line, city: World, door: OverGrpc) -> None:
        wanted = Wanted(city.histories(3), 7, (0.5, 0.9))
        made, call = line.ask(door.method, door.request(wanted))
        kinds: dict[str, Any] = {"bentoml": bentoml_pb2.Response, "forecast": forecast_pb2.ForecastResponse}
        kind = kinds.get(door.method.partition(".")[0], inference_pb2.ModelInferResponse)
        response = kind.FromString(made)
        assert same(door.told(response), expected(city, wanted))
        assert TRACE.items() <= dict(call.trailing_metadata()).items()

    @pytest.mark.parametrize("door", GRPC_DOORS, ids=lambda door: door.name)
    @pytest.mark.parametrize(
        ("case", "code"),
        [("covariate missing", grpc.StatusCode.INVALID_ARGUMENT), ("another model", grpc.StatusCode.NOT_FOUND)],
    )
    def test_refusals(self, line: Line, city: World, door: OverGrpc, case: str, code: grpc.StatusCode) -> None:
        wanted = MISTAKES[case].change(Wanted([city.history(0), city.history(1)]))
        got, text = line.refused(door.method, door.request(wanted))
        assert got == code
        assert MISTAKES[case].core in text

    def test_large_ones_are_worked_on_in_a_thread(self, line: Line, city: World) -> None:
        door, wanted = GrpcForecastPacked(), Wanted(city.histories(200))
        made, _ = line.ask(door.method, door.request(wanted))
        assert same(door.told(forecast_pb2.ForecastResponse.FromString(made)), expected(city, wanted))

    def test_large_messages_are_parsed_in_a_thread(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        """A few bytes of one may be a message inside it: millions of them keep the loop from everybody else."""
        threads: list[int] = []

        def noted(kind: Any, body: bytes) -> Any:
            threads.append(threading.get_ident())
            return parsed(kind, body)

        monkeypatch.setattr(grpc_server, "parsed", noted)
        for size in (LARGE_BYTES - 100, LARGE_BYTES):
            code, _ = line.refused(GrpcForecast.method, forecast_pb2.ForecastRequest(model="m" * size))
            assert code == grpc.StatusCode.NOT_FOUND
        assert threads[0] == line.thread.ident != threads[1]

    def test_a_text_in_any_script_comes_through(self, line: Line, city: World) -> None:
        history = replace(shorter(city.history()), name="\u96ea" * 256)
        door = GrpcForecast()
        _, text = line.refused(door.method, door.request(Wanted([history])))
        assert "\u96ea\u96ea" in text


class TestFaults:
    @pytest.mark.parametrize("method", sorted(MESSAGES))
    def test_bytes_that_are_no_message(self, line: Line, method: str) -> None:
        code, text = line.refused(method, b"\xff\xff\xff")
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert text.startswith(f"the message is no {MESSAGES[method].DESCRIPTOR.full_name}: ")

    @pytest.mark.parametrize(
        "method", ["inference.GRPCInferenceService/RepositoryIndex", "forecast.v1.Other/Forecast", "x"]
    )
    def test_methods_that_are_not_there(self, line: Line, method: str) -> None:
        assert line.refused(method, b"")[0] == grpc.StatusCode.UNIMPLEMENTED

    def test_pickles_are_never_read(self, line: Line) -> None:
        request = bentoml_pb2.Request(api_name="forecast", serialized_bytes=b"cos\nsystem\n(S'true'\ntR.")
        code, text = line.refused("bentoml.grpc.v1.BentoService/Call", request)
        assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "content: got serialized_bytes, wanted json or text")

    def test_a_fault_of_ours_tells_the_log_and_not_the_client(
        self, city: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Forecaster):
            fault: Exception = ZeroDivisionError("the password is 1234")

            def scaled(self, *_: object, **__: object) -> Any:
                raise self.fault

        broken = Broken(city.forecaster.card, city.forecaster._session)
        worker = Worker.of(replace(city.served, forecaster=broken), city.worker().settings)
        door = GrpcForecast()
        with served(city, worker) as line, caplog.at_level(logging.ERROR):
            answer = line.refused(door.method, door.request(Wanted([city.history()])))
            assert answer == (grpc.StatusCode.INTERNAL, "the server failed, see its log")
            assert "1234" in caplog.text
            assert line.counted(door.method, 500) == 1
            Broken.fault = ModelError("gone")
            answer = line.refused(door.method, door.request(Wanted([city.history()])))
            assert answer == (grpc.StatusCode.UNAVAILABLE, "gone")

    def test_too_much_says_when_to_come_back(self, city: World) -> None:
        def full(*_: object, **__: object) -> Any:
            raise OverloadedError("too much")

        door = GrpcForecast()
        with served(city) as line, pytest.MonkeyPatch.context() as patch:
            patch.setattr(line.worker.engine, "submit", full)
            with pytest.raises(grpc.RpcError) as caught:
                line.ask(door.method, door.request(Wanted([city.history()])))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert ("retry-after", "1") in [tuple(pair) for pair in caught.value.trailing_metadata()]

    def test_when_to_come_back_is_said_in_whole_seconds(self, city: World) -> None:
        """As RFC 9110 has it for HTTP; clients of both read it with the same code."""

        async def full(*_: object) -> int:
            raise RecordUnavailableError("busy", retry_after_seconds=2.3)

        with served(city) as line:
            line.worker.put_actuals = full
            with pytest.raises(grpc.RpcError) as caught:
                line.ask("forecast.v1.ForecastService/PutActuals", b"")
        assert ("retry-after", "3") in [tuple(pair) for pair in caught.value.trailing_metadata()]

    def test_a_message_over_the_limit(self, city: World) -> None:
        with served(city, max_body_bytes=2**14) as line:
            code, _ = line.refused(GrpcForecast.method, b"\0" * (2**14 + 1))
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            ask = forecast_pb2.ForecastRequest(model="m" * 2**13)
            assert line.refused(GrpcForecast.method, ask)[0] == grpc.StatusCode.NOT_FOUND

    def test_a_message_that_hides_a_mountain(self, city: World) -> None:
        """A client's channel packs it; what comes out is over the limit all the same."""
        hidden = forecast_pb2.ForecastRequest(model="m" * 2**23).SerializeToString()
        assert len(gzip.compress(hidden)) < 2**14
        with served(city, max_body_bytes=2**14) as line:
            code, _ = line.refused(GrpcForecast.method, hidden, compression=grpc.Compression.Gzip)
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            small = forecast_pb2.ForecastRequest(model="m" * 2**13)
            code, _ = line.refused(GrpcForecast.method, small, compression=grpc.Compression.Gzip)
            assert code == grpc.StatusCode.NOT_FOUND

    def test_a_deadline_that_has_passed(self, city: World) -> None:
        """The client's own deadline is the service's, too: work that nobody waits for is not begun."""
        seen: list[float] = []

        def note(seconds: float) -> float:
            seen.append(seconds)
            return 0.0

        with served(city) as line, pytest.MonkeyPatch.context() as patch:
            patch.setattr(line.worker, "deadline", note)
            door = GrpcForecast()
            code, text = line.refused(door.method, door.request(Wanted([city.history()])), seconds=20)
        assert (code, text) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "the request waited too long: ask for less, or allow more time",
        )
        assert 0 < seen[0] < 25


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("keys") / "keys"
    made, line = keys.make("ann")
    path.write_text(line)
    return made, path


@pytest.fixture(scope="module")
def locked(city: World, key: tuple[str, Path]) -> Iterator[Line]:
    with served(city, keys_file=key[1]) as made:
        yield made


class TestAccess:
    @pytest.mark.parametrize("method", sorted(MESSAGES))
    def test_without_a_key(self, locked: Line, key: tuple[str, Path], method: str) -> None:
        if method.partition("/")[2] in PROBES:
            locked.ask(method, b"")
            return
        for metadata in ([], [("authorization", "Bearer x")], [("x-api-key", "")], [("authorization", key[0])]):
            code, text = locked.refused(method, b"\xff\xff", metadata=metadata)
            assert code == grpc.StatusCode.UNAUTHENTICATED
            assert text.startswith("this service wants an API key: send the header 'authorization: Bearer KEY'")
        for name, value in (("authorization", f"Bearer {key[0]}"), ("x-api-key", key[0])):
            code, _ = locked.refused(method, b"\xff\xff", metadata=[(name, value)])
            assert code == grpc.StatusCode.INVALID_ARGUMENT

    def test_a_key_in_another_script_is_none(self, locked: Line) -> None:
        """A client of another make may send it all the same."""

        class Context:
            def invocation_metadata(self) -> list[tuple[str, str]]:
                return [("x-api-key", "\u96ea")]

        (method,) = (method for method in grpc_forecast.SERVICE.methods if method.name == "GetModel")
        with pytest.raises(keys.UnauthorizedError):
            locked.run(locked.server._answer(method, Context(), None))

    def test_reflection_is_behind_the_key(self, locked: Line, key: tuple[str, Path]) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(locked.channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.ServerReflectionInfo(iter(asked)))
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert caught.value.details().startswith("this service wants an API key")
        (told,) = stub.ServerReflectionInfo(iter(asked), metadata=[("x-api-key", key[0])])
        assert told.list_services_response.service

    def test_health_needs_no_key(self, locked: Line) -> None:
        stub = health_pb2_grpc.HealthStub(locked.channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


class TestOthers:
    def test_liveness_and_readiness(self, city: World) -> None:
        with served(city) as line:
            health = health_pb2_grpc.HealthStub(line.channel)
            names = ["", *(service.name for service in SERVICES)]

            def ready() -> tuple[set[int], bool, bool]:
                status = {health.Check(health_pb2.HealthCheckRequest(service=name)).status for name in names}
                server, _ = line.ask("inference.GRPCInferenceService/ServerReady", b"")
                model, _ = line.ask("inference.GRPCInferenceService/ModelReady", b"")
                return (
                    status,
                    inference_pb2.ServerReadyResponse.FromString(server).ready,
                    inference_pb2.ModelReadyResponse.FromString(model).ready,
                )

            assert ready() == ({health_pb2.HealthCheckResponse.SERVING}, True, True)
            line.worker.ready = False
            line.run(line.server.say(ready=False))
            assert ready() == ({health_pb2.HealthCheckResponse.NOT_SERVING}, False, False)
            live, _ = line.ask("inference.GRPCInferenceService/ServerLive", b"")
            assert inference_pb2.ServerLiveResponse.FromString(live).live
            door = GrpcForecast()
            assert line.ask(door.method, door.request(Wanted([city.history()])))[0]

    def test_metadata(self, line: Line) -> None:
        body, _ = line.ask("inference.GRPCInferenceService/ServerMetadata", b"")
        told = inference_pb2.ServerMetadataResponse.FromString(body)
        assert (told.name, told.version, list(told.extensions)) == ("bentocast", "bentocast:abc123", [])
        request = inference_pb2.ModelMetadataRequest(name="bentocast-rows", version="7")
        body, _ = line.ask("inference.GRPCInferenceService/ModelMetadata", request)
        model = inference_pb2.ModelMetadataResponse.FromString(body)
        assert [tensor.name for tensor in model.inputs] == ["features"]
        body, _ = line.ask("bentoml.grpc.v1.BentoService/ServiceMetadata", b"")
        names = [api.name for api in bentoml_pb2.ServiceMetadataResponse.FromString(body).apis]
        assert names == ["forecast", "rows"]

    @pytest.mark.parametrize("method", ["ModelMetadata", "ModelReady"])
    def test_metadata_of_another_model(self, line: Line, method: str) -> None:
        for request in (inference_pb2.ModelReadyRequest(name="x"), inference_pb2.ModelReadyRequest(version="8")):
            assert line.refused(f"inference.GRPCInferenceService/{method}", request)[0] == grpc.StatusCode.NOT_FOUND

    def test_model_of_the_forecast_service(self, line: Line) -> None:
        body, _ = line.ask("forecast.v1.ForecastService/GetModel", b"")
        told = forecast_pb2.Model.FromString(body)
        assert (told.name, told.version, told.bento) == ("bentocast", "7", "bentocast:abc123")
        assert (told.frequency, told.horizon, told.context_length) == ("1h", 12, 102)
        assert (list(told.past_covariates), told.lowest_quantile) == (["rain", "workingday"], 0.05)

    def test_actuals_without_a_record(self, line: Line) -> None:
        request = forecast_pb2.PutActualsRequest()
        request.actuals.add(series="a", timestamp="2024-05-01T00:00", value=1.0)
        answer = line.refused("forecast.v1.ForecastService/PutActuals", request)
        assert answer[0] == grpc.StatusCode.UNAVAILABLE
        assert "keeps no record" in answer[1]

    def test_reflection_tells_tools_what_is_spoken(self, line: Line) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(line.channel)
        (told,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name for service in told.list_services_response.service}
        assert {service.name for service in SERVICES} | {"grpc.health.v1.Health"} <= names
        for service in SERVICES:
            asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.name)
            (told,) = stub.ServerReflectionInfo(iter([asked]))
            assert told.file_descriptor_response.file_descriptor_proto

    def test_reflection_holds_up_no_end(self, city: World) -> None:
        with served(city, deadline_seconds=60) as line:
            stub, asking = reflection_pb2_grpc.ServerReflectionStub(line.channel), threading.Event()

            def requests() -> Iterator[reflection_pb2.ServerReflectionRequest]:
                yield reflection_pb2.ServerReflectionRequest(list_services="")
                asking.wait(30)

            stream = stub.ServerReflectionInfo(requests())
            assert next(stream).list_services_response.service
            line.run(line.server.stop(60))  # no longer than half of it
            with pytest.raises(grpc.RpcError) as caught:
                next(stream)
            asking.set()
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "this worker is about to end: ask another one",
        )

    def test_every_method_of_the_descriptions_is_served(self) -> None:
        for service, file in zip(SERVICES, (inference_pb2, forecast_pb2, bentoml_pb2), strict=True):
            described = file.DESCRIPTOR.services_by_name[service.name.rpartition(".")[2]]
            assert described.full_name == service.name
            wanted = {method.name: method.input_type.full_name for method in described.methods}
            assert {method.name: method.request.DESCRIPTOR.full_name for method in service.methods} == wanted

    def test_calls_are_counted_by_method_and_status(self, city: World) -> None:
        with served(city) as line:
            door = GrpcForecast()
            line.ask(door.method, door.request(Wanted([city.history()])))
            line.refused(door.method, b"\xff\xff")
            line.refused("no.Service/Method", b"")
            assert (line.counted(door.method, 200), line.counted(door.method, 400)) == (1, 1)
            (found,) = (family for family in line.registry.collect() if family.name == "bentoml_service_request")
            doors = {f"{one.name}/{method.name}" for one in SERVICES for method in one.methods if method.is_work}
            assert {sample.labels["endpoint"] for sample in found.samples} == {f"/{name}" for name in doors}
            assert [line.counted(name, status) for name in doors for status in (500, 503, 504)] == [0] * 9

    @pytest.mark.parametrize(("seconds", "status"), [(0.3, 504), (60, 499), (None, 499)])
    def test_clients_that_do_not_wait_are_counted(self, city: World, seconds: float | None, status: int) -> None:
        """By why they left: the time that they gave was over, or they had enough."""
        begun = threading.Event()

        async def never(*_: object, **__: object) -> Any:
            begun.set()
            await asyncio.Event().wait()

        door = GrpcForecast()
        with served(city) as line, pytest.MonkeyPatch.context() as patch:
            patch.setattr(line.worker.engine, "submit", never)
            sent = door.request(Wanted([city.history()])).SerializeToString()
            asked = line.channel.unary_unary(f"/{door.method}").future(sent, timeout=seconds)
            assert begun.wait(30)
            if status == 499:
                asked.cancel()
            else:
                assert asked.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            until(lambda: line.counted(door.method, status) == 1)
            assert line.counted(door.method, 200) is None


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    late = time.monotonic() + 30
    while not true():
        assert time.monotonic() < late
        time.sleep(0.005)
