"""gRPC against a service that runs: whatever comes, it is answered as a client's fault, and the worker lives on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from service import keys
from service.proto import bentoml_pb2, forecast_pb2, inference_pb2
from tests.service import frames, nasty, siege
from tests.service.frames import head, message
from tests.service.live import Server
from tests.service.siege import MEBIBYTE
from tests.service.world import World

TURNS = 300
OURS, INFERENCE, BENTO = (
    "/forecast.v1.ForecastService/",
    "/inference.GRPCInferenceService/",
    "/bentoml.grpc.v1.BentoService/",
)
FORECAST, ACTUALS, MODEL = f"{OURS}Forecast", f"{OURS}PutActuals", f"{OURS}GetModel"
INFER, CALL = f"{INFERENCE}ModelInfer", f"{BENTO}Call"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
#: By what a client that gets something wrong may be told.
REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
LONG = "y" * 500_000
KEY, LINE = keys.make("fuzz")


@pytest.fixture(scope="module")
def live(city: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("besieged")
    (folder / "keys.txt").write_text(LINE)
    with siege.besieged(city, folder, keys_file=folder / "keys.txt") as served:
        yield served


@pytest.fixture(autouse=True)
def unharmed(live: Server, city: World) -> Iterator[None]:
    with siege.unharmed(live, city, f"x-api-key: {KEY}"):
        yield


@pytest.fixture(scope="module")
def channel(live: Server) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(live.grpc, options=options) as opened:
        yield opened


def call(channel: grpc.Channel, method: str, sent: bytes, **options: Any) -> tuple[grpc.StatusCode, str]:
    """Code and details of a call."""
    ask = channel.unary_stream if method == REFLECTION else channel.unary_unary
    try:
        answer = ask(method)(sent, metadata=[("x-api-key", KEY)], **{"timeout": 20} | options)
        list(answer)
    except grpc.RpcError as err:
        return err.code(), err.details()
    return grpc.StatusCode.OK, ""


def good(city: World) -> dict[str, tuple[str, Message]]:
    """A method and a message that is answered, by what it is."""
    history, document = city.history(), city.document(horizon=3, quantiles=[0.1, 0.9])
    columns = len(city.forecaster.design.names)
    covariates = [
        (kind, {name: {"values": values.tolist()} for name, values in given.items()})
        for kind, given in (
            ("past_covariates", history.past_covariates),
            ("future_covariates", history.future_covariates),
        )
    ]
    series = {"name": "s", "start_timestamp": str(history.start), "values": {"values": history.values.tolist()}}
    as_json = bentoml_pb2.Request(api_name="forecast")
    json_format.ParseDict(document, as_json.json)
    rows = bentoml_pb2.NDArray(shape=[2, columns], float_values=[0.5] * 2 * columns)
    actual = {"series": "s01", "timestamp": "2024-05-01T00:00", "value": 3.0}
    symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol="forecast.v1.Series")
    return {
        "forecast": (
            FORECAST,
            forecast_pb2.ForecastRequest(series=[series | dict(covariates)], quantiles=[0.1], horizon=3),
        ),
        "actuals": (ACTUALS, forecast_pb2.PutActualsRequest(actuals=[actual])),
        "infer": (INFER, infer(city, raw=False)),
        "raw infer": (INFER, infer(city, raw=True)),
        "metadata": (f"{INFERENCE}ModelMetadata", inference_pb2.ModelMetadataRequest(name="bentocast", version="7")),
        "ready": (f"{INFERENCE}ModelReady", inference_pb2.ModelReadyRequest(name="bentocast")),
        "json": (CALL, as_json),
        "rows": (CALL, bentoml_pb2.Request(api_name="rows", ndarray=rows)),
        "health": (HEALTH, health_pb2.HealthCheckRequest(service=OURS.strip("/"))),
        "reflection": (REFLECTION, symbol),
    }


def infer(city: World, *, raw: bool) -> Message:
    """A request of the Open Inference Protocol."""
    history = city.history()
    arrays = {"series": history.values, "quantiles": np.array([0.1, 0.9])}
    for kind, given in (("past", history.past_covariates), ("future", history.future_covariates)):
        arrays |= {f"{kind}_covariates.{name}": values for name, values in given.items()}
    request = inference_pb2.ModelInferRequest(model_name="bentocast", id="x")
    request.parameters["horizon"].int64_param = 12
    start = str(history.start).encode()
    texts = request.inputs.add(name="start_timestamp", datatype="BYTES", shape=[1])
    if raw:
        request.raw_input_contents.append(len(start).to_bytes(4, "little") + start)
    else:
        texts.contents.bytes_contents.append(start)
    for name, values in arrays.items():
        tensor = request.inputs.add(name=name, datatype="FP64", shape=values.shape)
        if raw:
            request.raw_input_contents.append(values.astype("<f8").tobytes())
        else:
            tensor.contents.fp64_contents.extend(values.tolist())
    return request


KINDS = ("forecast", "actuals", "infer", "raw infer", "metadata", "ready", "json", "rows", "health", "reflection")


class TestChance:
    """Good messages, changed."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_good_one_is_answered(self, channel: grpc.Channel, city: World, kind: str) -> None:
        """Actual values as soon as the record is open, which takes a moment longer than to be ready."""
        method, given = good(city)[kind]
        deadline = time.monotonic() + 20
        while (got := call(channel, method, given.SerializeToString()))[0] == grpc.StatusCode.UNAVAILABLE:
            assert time.monotonic() < deadline, got
            time.sleep(0.1)
        assert got == (grpc.StatusCode.OK, "")

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_fields(self, channel: grpc.Channel, city: World, kind: str) -> None:
        method, given = good(city)[kind]
        chance = Random(kind)
        for _ in range(TURNS):
            check(*call(channel, method, nasty.message(given, chance)))

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_bytes(self, channel: grpc.Channel, city: World, kind: str) -> None:
        method, given = good(city)[kind]
        chance, sent = Random(kind), given.SerializeToString()
        for _ in range(TURNS):
            check(*call(channel, method, nasty.damaged(sent, chance)))


def check(code: grpc.StatusCode, details: str) -> None:
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        assert "larger than max" in details
        return
    assert code in {grpc.StatusCode.OK, *REFUSED}, details
    assert code == grpc.StatusCode.OK or 0 < len(details) <= 1_000, details


class TestTexts:
    """No text is too long to be refused in a few words."""

    @pytest.mark.parametrize("field", ["name", "start_timestamp", "frequency"])
    def test_of_a_series(self, channel: grpc.Channel, city: World, field: str) -> None:
        method, given = good(city)["forecast"]
        setattr(given.series[0], field, LONG)
        code, details = call(channel, method, given.SerializeToString())
        assert (code, "got 500000 characters" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)

    @pytest.mark.parametrize(
        ("method", "sent"),
        [
            (FORECAST, forecast_pb2.ForecastRequest(model=LONG)),
            (
                ACTUALS,
                forecast_pb2.PutActualsRequest(actuals=[{"series": LONG, "timestamp": "2024-05-01", "value": 1}]),
            ),
            (INFER, inference_pb2.ModelInferRequest(model_name=LONG)),
            (INFER, inference_pb2.ModelInferRequest(model_version=LONG)),
            (INFER, inference_pb2.ModelInferRequest(outputs=[{"name": LONG}])),
            (INFER, inference_pb2.ModelInferRequest(inputs=[{"name": LONG, "datatype": "FP64", "shape": [1]}])),
            (INFER, inference_pb2.ModelInferRequest(inputs=[{"name": "series", "datatype": LONG, "shape": [1]}])),
            (CALL, bentoml_pb2.Request(api_name=LONG)),
            (CALL, bentoml_pb2.Request(api_name="forecast", text={"value": f'{{"model": "{LONG}", "inputs": []}}'})),
            (HEALTH, health_pb2.HealthCheckRequest(service=LONG)),
        ],
        ids=range(10),
    )
    def test_of_a_request(self, channel: grpc.Channel, method: str, sent: Message) -> None:
        code, details = call(channel, method, sent.SerializeToString())
        assert (code in REFUSED, len(details) < 400) == (True, True)

    def test_of_a_covariate(self, channel: grpc.Channel, city: World) -> None:
        method, given = good(city)["forecast"]
        given.series[0].past_covariates[LONG].values.append(1.0)
        code, details = call(channel, method, given.SerializeToString())
        assert (code, len(details) < 300) == (grpc.StatusCode.INVALID_ARGUMENT, True)


class TestNumbers:
    """Numbers of JSON over protobuf, which has doubles alone, and arrays that are none."""

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e308, 3.5, -1.0, 0.0, 2.0**63])
    def test_as_a_horizon(self, channel: grpc.Channel, city: World, number: float) -> None:
        _, given = good(city)["json"]
        given.json.struct_value.fields["options"].struct_value.fields["horizon"].number_value = number
        assert call(channel, CALL, given.SerializeToString())[0] == grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        "array",
        [
            {"shape": [2**31 - 1, 2**31 - 1], "float_values": [1.0]},
            {"shape": [-1], "float_values": [1.0]},
            {"shape": [0], "float_values": []},
            {"shape": [1], "string_values": ["x"]},
            {"shape": [1], "float_values": [1.0], "double_values": [1.0]},
            {"shape": [1] * 10, "float_values": [1.0]},
            {},
        ],
        ids=range(7),
    )
    def test_of_an_array(self, channel: grpc.Channel, array: dict[str, Any]) -> None:
        sent = bentoml_pb2.Request(api_name="rows", ndarray=array)
        assert call(channel, CALL, sent.SerializeToString())[0] == grpc.StatusCode.INVALID_ARGUMENT


class TestTransport:
    """How a call can come, or not."""

    def test_a_message_over_the_limit(self, channel: grpc.Channel) -> None:
        code, details = call(channel, FORECAST, b"\0" * (MEBIBYTE + 1))
        assert (code, "larger than max" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)

    def test_a_client_that_does_not_wait(self, channel: grpc.Channel, city: World) -> None:
        method, given = good(city)["forecast"]
        codes = {call(channel, method, given.SerializeToString(), timeout=0.0001 * turn)[0] for turn in range(1, 30)}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}

    def test_clients_that_leave(self, live: Server, city: World) -> None:
        method, given = good(city)["forecast"]
        sent = given.SerializeToString()
        for _ in range(20):
            with grpc.insecure_channel(live.grpc) as left:
                for turn in range(5):
                    left.unary_unary(method).future(sent, metadata=[("x-api-key", KEY)])
                    time.sleep(0.001 * turn)

    @pytest.mark.parametrize("method", ["/nowhere/Nothing", f"{OURS}Nothing", "/", f"{HEALTH}/x"])
    def test_a_method_that_is_not_there(self, channel: grpc.Channel, method: str) -> None:
        assert call(channel, method, b"")[0] == grpc.StatusCode.UNIMPLEMENTED

    @pytest.mark.parametrize(
        "key",
        [b"", b"x", "Bearer \u96ea".encode(), b"Bearer \xff\xfe", b"bearer " + b"x" * 200, KEY.encode()],
        ids=range(6),
    )
    @pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
    def test_keys(self, live: Server, name: bytes, key: bytes) -> None:
        expected = 0 if (name, key) == (b"x-api-key", KEY.encode()) else 16
        assert frames.status(live, head(MODEL, (name, key)), message(b"")) == expected

    @pytest.mark.parametrize(
        "sent",
        [
            message(b"", length=100),
            message(b"", length=2**32 - 1),
            message(b"", flag=7),
            message(b"abc", flag=1),
            frames.frame(frames.DATA, 1, 1, b""),
            frames.frame(frames.DATA, 1, 1, b"\0\0"),
            frames.frame(frames.RESET, 0, 1, b"\0\0\0\x08"),
            frames.frame(frames.WINDOW, 0, 0, b"\0\0\0\0"),
            frames.frame(frames.HEADERS, 5, 3, b"\xff" * 200),
            frames.frame(frames.SETTINGS, 0, 0, b"") * 2_000,
            frames.frame(frames.PING, 0, 0, b"12345678") * 2_000,
            b"\0" * 1_000,
        ],
        ids=range(12),
    )
    def test_frames_that_make_no_call(self, live: Server, sent: bytes) -> None:
        """What gRPC's own core answers to them is its own."""
        frames.status(live, head(MODEL, (b"x-api-key", KEY.encode())), sent)

    @pytest.mark.parametrize(
        "field",
        [
            (b"grpc-timeout", b"99999999999H"),
            (b"grpc-timeout", b"soon"),
            (b"grpc-timeout", b"0n"),
            (b"grpc-encoding", b"br"),
            (b"x-bin", b"!!!"),
            (b"x-api-key", b"another"),
        ],
    )
    def test_odd_headers(self, live: Server, field: tuple[bytes, bytes]) -> None:
        frames.status(live, head(MODEL, (b"x-api-key", KEY.encode()), field), message(b""))

    def test_no_http2_at_all(self, live: Server) -> None:
        chance = Random(17)
        openings = [
            b"GET / HTTP/1.1\r\nhost: here\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        ]
        for preface in (*openings, *(chance.randbytes(300) for _ in range(20))):
            assert frames.status(live, preface=preface) is None

    def test_frames_by_chance(self, live: Server) -> None:
        chance = Random(19)
        opening = head(MODEL, (b"x-api-key", KEY.encode())) + message(b"")
        for _ in range(15):
            frames.status(live, nasty.damaged(opening, chance))
