"""The HTTP front: status codes, shapes, headers, limits and who may ask, without a network."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import threading
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from data.errors import BentocastError, ModelError
from service import endpoints, keys
from service.admission import LARGE_BYTES, SMALLEST_BYTES, THREADS, OverloadedError
from service.body import STEP_BYTES
from service.connection import Connection
from service.http import Front
from service.record import RecordUnavailableError
from service.routes import Endpoint
from service.served import Served
from tests.service import spoken
from tests.service.front import FORECAST, Client, Wire, chunk
from tests.service.world import World

HEADERS = {"x-bento": "bentocast:abc123", "x-model-name": "bentocast", "x-model-version": "7"}
SAFE = {"x-content-type-options": "nosniff", "cache-control": "no-store", "referrer-policy": "no-referrer"}
MODELS = "/v1/timeseries/models"
ACTUALS = "/v1/timeseries/actuals"
INFER = "/v2/models/bentocast/infer"
PREDICT = "/v1/models/bentocast:predict"
#: Method, path, body and the status they get.
REQUESTS = [
    ("GET", "/", None, 200),
    ("GET", "/docs", None, 200),
    ("HEAD", "/docs", None, 200),
    ("GET", "/openapi.json", None, 200),
    ("GET", "/metrics", None, 200),
    ("GET", "/schema.json", None, 200),
    ("GET", "/livez", None, 200),
    ("GET", "/readyz", None, 200),
    ("GET", "/healthz", None, 200),
    ("GET", "/static/swagger-ui.css", None, 200),
    ("GET", "/static/swagger-ui-bundle.js", None, 200),
    ("GET", "/page/docs.js", None, 200),
    ("GET", MODELS, None, 200),
    ("HEAD", MODELS, None, 200),
    ("GET", MODELS + "?a=b", None, 200),
    ("GET", "/v2", None, 200),
    ("GET", "/v2/health/live", None, 200),
    ("GET", "/v2/health/ready", None, 200),
    ("GET", "/v2/models/bentocast", None, 200),
    ("GET", "/v2/models/bentocast/versions/7", None, 200),
    ("GET", "/v2/models/bentocast-rows", None, 200),
    ("GET", "/v2/models/bentocast/ready", None, 200),
    ("GET", "/v1/models/bentocast", None, 200),
    ("GET", "/v1/models/bentocast-rows/versions/7", None, 200),
    ("POST", FORECAST, b"{}", 400),
    ("POST", FORECAST, b"", 400),
    ("POST", FORECAST, b'{"model": "other", "inputs": []}', 404),
    ("POST", "/forecast", b"{}", 400),
    ("POST", INFER, b"{}", 400),
    ("POST", "/v2/models/bentocast/versions/7/infer", b"{}", 400),
    ("POST", PREDICT, b"{}", 400),
    ("POST", "/v1/models/bentocast/versions/7:predict", b"{}", 400),
    ("POST", "/v2/models/other/infer", b'{"inputs": []}', 404),
    ("POST", "/v2/models/bentocast/versions/8/infer", b'{"inputs": []}', 404),
    ("POST", "/v1/models/other:predict", b'{"instances": []}', 404),
    ("GET", "/v2/models/other", None, 404),
    ("GET", "/v2/models/bentocast/versions/8/ready", None, 404),
    ("GET", "/v1/models/other", None, 404),
    ("POST", ACTUALS, b"{}", 415),
    ("GET", "/static/nothing.js", None, 404),
    ("GET", "/static/__init__.py", None, 404),
    ("GET", "/page/nothing.html", None, 404),
    ("GET", "/v1/timeseries", None, 404),
    ("GET", "/v1/timeseries/models/bentocast", None, 404),
    ("POST", "/v1/anything", b"{}", 404),
    ("DELETE", "/v2/nothing", None, 404),
    ("OPTIONS", "/wp-admin.php", None, 404),
    ("GET", "/v1/timeseries/forecast%2F..%2Fmodels", None, 404),
    ("GET", "/page/..%2Fapp.py", None, 404),
    ("GET", "/\u96ea", None, 404),
    ("GET", "/%ff%00", None, 404),
    ("GET", FORECAST, None, 405),
    ("HEAD", FORECAST, None, 405),
    ("OPTIONS", FORECAST, None, 405),
    ("PUT", FORECAST, b"{}", 405),
    ("GET", INFER, None, 405),
    ("GET", PREDICT, None, 405),
    ("DELETE", "/v2/models/bentocast", None, 405),
    ("POST", MODELS, b"{}", 405),
    ("POST", "/docs", b"{}", 405),
    ("POST", "/livez", b"{}", 405),
    ("POST", "/", b"{}", 405),
    ("BREW", "/", None, 405),
]


@pytest.fixture
def client(city: World) -> Client:
    return Client.of(city)


def is_an_error(answer: httpx.Response) -> bool:
    """In the shape of the Time Series API, or that of KServe's V1 and V2 on their paths."""
    error = answer.json()["error"]
    if re.match(r"/v2|/v1/models", answer.request.url.path) and isinstance(error, str):
        return list(answer.json()) == ["error"]
    texts = all(isinstance(error[key], str) for key in ("code", "message", "type"))
    return texts and list(error) == ["code", "message", "param", "type"]


class TestStatus:
    @pytest.mark.parametrize(("method", "path", "body", "status"), REQUESTS)
    def test_of_every_kind_of_request(
        self, client: Client, method: str, path: str, body: bytes | None, status: int
    ) -> None:
        answer = client.request(method, path, content=body)
        assert answer.status_code == status
        assert {key: answer.headers[key] for key in {**HEADERS, **SAFE}} == {**HEADERS, **SAFE}
        assert status < 400 or method == "HEAD" or is_an_error(answer)
        assert status < 400 or answer.headers["content-type"] == "application/json"
        assert client.endpoints() <= {template.template for template in table(client)} | {"other"}

    @pytest.mark.parametrize("path", ["/docs", MODELS, "/v2/models/bentocast", "/readyz", "/page/docs.js"])
    def test_head_is_get_without_the_body(self, client: Client, path: str) -> None:
        head, whole = client.request("HEAD", path), client.get(path)
        assert head.content == b""
        assert head.headers == whole.headers
        assert int(head.headers["content-length"]) == len(whole.content) > 0

    @pytest.mark.parametrize(
        ("path", "allow"),
        [(FORECAST, "POST"), (MODELS, "GET, HEAD"), (INFER, "POST"), ("/v2/models/m", "GET, HEAD"), (ACTUALS, "POST")],
    )
    def test_a_method_that_is_not_allowed_says_which_are(self, client: Client, path: str, allow: str) -> None:
        for method in ("DELETE", "PATCH", "OPTIONS"):
            assert client.request(method, path).headers["allow"] == allow

    @pytest.mark.parametrize("path", [MODELS, FORECAST, "/docs", "/livez", "/v2/models/bentocast", INFER])
    def test_a_slash_at_the_end_leads_to_the_path_without(self, client: Client, path: str) -> None:
        for slashes in ("/", "//"):
            answer = client.post(path + slashes, content=b"{}")
            assert (answer.status_code, answer.headers["location"]) == (307, path)

    @pytest.mark.parametrize("path", ["/nowhere/", "//", "//evil.example/", "//evil.example/docs/"])
    def test_a_slash_at_the_end_of_nowhere_is_nowhere(self, client: Client, path: str) -> None:
        assert client.get("http://testserver" + path).status_code == 404

    @pytest.mark.parametrize("name", ["a\r\n\r\n<b>x", "a\r\nset-cookie", "\u96ea x", "a%2e", "a?b#c", "a\\b"])
    def test_a_way_there_is_one_header_of_plain_letters(self, client: Client, name: str) -> None:
        """What stands in a path must not become a header or a body of ours."""
        wire = Wire()
        status, _ = wire.ask(client, f"/v2/models/{name}/", "GET")
        location = dict(wire.sent[0]["headers"])[b"location"].decode("ascii")
        assert status == 307
        assert re.fullmatch(r"/v2/models/[\w.%~-]+", location)
        assert httpx.URL(location).path == f"/v2/models/{name}"

    def test_of_a_forecast(self, client: Client, city: World) -> None:
        answer = client.post(FORECAST, json=city.document(quantiles=[0.1, 0.9]))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert {key: answer.headers[key] for key in HEADERS} == HEADERS
        mean = answer.json()["outputs"][0]["content"][0]["mean_forecast"]
        assert mean == city.expected([city.origin(0)]).point[0].tolist()

    def test_of_a_large_one(self, client: Client, city: World) -> None:
        """Worked on in a thread, with the same numbers."""
        body = json.dumps(city.document(*city.histories(80))).encode()
        assert len(body) > LARGE_BYTES
        answer = client.post(FORECAST, content=body)
        expected = city.expected([city.origin(turn % 3, turn) for turn in range(80)]).point
        got = [output["content"][0]["mean_forecast"] for output in answer.json()["outputs"]]
        assert got == expected.tolist()
        assert client.metrics.model  # the pass was watched from the thread
        assert client.post(FORECAST, content=b" " * LARGE_BYTES + b"{}").status_code == 400

    @pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "", "a b"])
    def test_does_not_hang_on_the_content_type(self, client: Client, city: World, kind: str) -> None:
        """`curl -d` says that JSON is a form."""
        answer = client.post(FORECAST, content=json.dumps(city.document()), headers={"content-type": kind})
        assert answer.status_code == 200

    def test_a_name_comes_back_in_any_script(self, client: Client, city: World) -> None:
        document = city.document()
        document["inputs"][0]["name"] = "Zürich \u96ea \U0001f6b2 \0"
        answer = client.post(FORECAST, json=document).json()
        assert answer["outputs"][0]["content"][0]["name"] == "Zürich \u96ea \U0001f6b2 \0"

    def test_models(self, client: Client) -> None:
        (model,) = client.get(MODELS).json()["models"]
        assert (model["name"], model["version"], model["horizon"]) == ("bentocast", "7", 12)

    def test_servers_and_models_of_the_open_inference_protocol(self, client: Client) -> None:
        wanted = {"name": "bentocast", "version": "bentocast:abc123", "extensions": ["binary_tensor_data"]}
        assert client.get("/v2").json() == wanted
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get("/v2/models/bentocast-rows/ready").json() == {"name": "bentocast-rows", "ready": True}
        told = client.get("/v2/models/bentocast").json()
        assert (told["name"], told["versions"], told["platform"]) == ("bentocast", ["7"], "bentocast_onnx")

    def test_models_of_v1_are_what_kserve_and_tensorflow_serving_expect(self, client: Client) -> None:
        version = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        wanted = {"name": "bentocast", "ready": True, "model_version_status": [version]}
        assert client.get("/v1/models/bentocast").json() == wanted

    def test_schema_is_bentomls_own(self, city: World) -> None:
        worker = city.worker()
        worker.schema = lambda: {"name": "bentocast", "routes": []}
        assert Client(worker).get("/schema.json").json() == {"name": "bentocast", "routes": []}


def table(client: Client) -> list[Endpoint]:
    return endpoints.table(client.worker, client.metrics)


class TestReady:
    """A worker that is about to end says so to those who choose, and answers those who ask."""

    @pytest.fixture
    def ending(self, city: World) -> Client:
        worker = city.worker()
        worker.ready = False
        return Client(worker)

    @pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready"])
    def test_readiness(self, ending: Client, path: str) -> None:
        answer = ending.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "this worker is about to end: ask another one" in answer.text
        assert is_an_error(answer)

    def test_of_models(self, ending: Client) -> None:
        ready = ending.get("/v2/models/bentocast/ready")
        assert (ready.status_code, ready.json()) == (503, {"name": "bentocast", "ready": False})
        told = ending.get("/v1/models/bentocast").json()
        assert (told["ready"], told["model_version_status"][0]["state"]) == (False, "UNLOADING")

    def test_liveness_and_forecasts(self, ending: Client, city: World) -> None:
        assert ending.get("/livez").status_code == ending.get("/v2/health/live").status_code == 200
        assert ending.post(FORECAST, json=city.document()).status_code == 200


class TestErrors:
    """The words and the shape."""

    def test_of_a_bad_request(self, client: Client) -> None:
        answer = client.post(FORECAST, content=b'{"inputs": 3}')
        message = "inputs: got 3, wanted a list"
        error = {"code": "invalid_request", "message": message, "param": "inputs", "type": "invalid_request_error"}
        assert answer.json() == {"error": error}

    @pytest.mark.parametrize(("path", "field"), [(INFER, "inputs"), (PREDICT, "instances")])
    def test_of_a_bad_request_in_another_protocol(self, client: Client, path: str, field: str) -> None:
        answer = client.post(path, content=json.dumps({field: 3}))
        assert answer.json() == {"error": f"{field}: got 3, wanted a list"}

    def test_of_an_unknown_model(self, client: Client) -> None:
        answer = client.post(FORECAST, content=b'{"model": "other", "inputs": []}')
        message = "model: got 'other', wanted 'bentocast', the model served here"
        error = {"code": "not_found", "message": message, "param": "model", "type": "invalid_request_error"}
        assert answer.json() == {"error": error}

    def test_of_an_unknown_path(self, client: Client) -> None:
        message = "not found: see /docs for what is served here"
        error = {"code": "not_found", "message": message, "param": None, "type": "invalid_request_error"}
        assert client.get("/v1/nowhere").json() == {"error": error}

    def test_of_a_wrong_method(self, client: Client) -> None:
        answer = client.get(FORECAST)
        message = "GET is not allowed here, wanted POST"
        error = {"code": "method_not_allowed", "message": message, "param": None, "type": "invalid_request_error"}
        assert (answer.json(), answer.headers["allow"]) == ({"error": error}, "POST")

    def test_of_a_method_of_great_length_is_short(self, client: Client) -> None:
        status, answer = Wire().ask(client, MODELS, "X" * 60_000)
        assert status == 405
        assert len(answer["error"]["message"]) < 200

    @pytest.mark.parametrize("count", [1, 150])
    def test_of_a_fault_of_ours_tells_the_log_and_not_the_client(
        self, city: World, caplog: pytest.LogCaptureFixture, count: int
    ) -> None:
        """On the loop, and in a thread."""
        broken = Client.of_broken(city, ZeroDivisionError("the password is 1234"))
        with caplog.at_level(logging.ERROR):
            answer = broken.post(FORECAST, json=city.document(*city.histories(count)))
        message = "the server failed, see its log"
        error = {"code": "internal_error", "message": message, "param": None, "type": "server_error"}
        assert (answer.status_code, answer.json()) == (500, {"error": error})
        assert {key: answer.headers[key] for key in HEADERS} == HEADERS
        (record,) = (record for record in caplog.records if record.name == "bentocast.service")
        assert record.getMessage() == f"POST {FORECAST} failed"
        assert record.exc_info is not None
        assert "1234" in str(record.exc_info[1])

    @pytest.mark.parametrize("fault", [ConnectionResetError("of the record"), TimeoutError("of the record")])
    def test_of_another_connection_than_the_clients_is_ours(self, city: World, fault: Exception) -> None:
        assert Client.of_broken(city, fault).post(FORECAST, json=city.document()).status_code == 500

    def test_of_a_fault_of_ours_in_another_protocol(self, city: World) -> None:
        broken = Client.of_broken(city, ZeroDivisionError("the password is 1234"))
        body = {"instances": city.document()["inputs"]}
        answer = broken.post(PREDICT, json=body)
        assert (answer.status_code, answer.json()) == (500, {"error": "the server failed, see its log"})

    @pytest.mark.parametrize(("err", "status"), [(ModelError("gone"), 503), (BentocastError("odd"), 500)])
    def test_of_ours_that_has_a_name_keeps_its_status(self, city: World, err: BentocastError, status: int) -> None:
        answer = Client.of_broken(city, err).post(FORECAST, json=city.document())
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "server_error")
        assert answer.json()["error"]["message"] == err.message

    def test_when_to_come_back_is_said_in_whole_seconds(self, client: Client) -> None:
        """RFC 9110, 10.2.3: urllib3 takes anything else for a fault."""

        async def full(*_: object) -> int:
            raise RecordUnavailableError("busy", retry_after_seconds=2.3)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client.worker, "put_actuals", full)
            answer = client.post("/v1/timeseries/actuals", json={"actuals": []})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")

    def test_of_too_much_says_when_to_come_back(self, client: Client, city: World) -> None:
        def full(*_: object, **__: object) -> Any:
            raise OverloadedError("too much")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client.worker.engine, "submit", full)
            answer = client.post(FORECAST, json=city.document())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["code"] == "overloaded"

    def test_of_actuals_without_a_record(self, client: Client) -> None:
        given = {"actuals": [{"series": "s01", "timestamp": "2024-05-01T00:00", "value": 3}]}
        answer = client.post(ACTUALS, json=given)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "record_unavailable")


class TestBody:
    def test_in_pieces(self, client: Client, city: World) -> None:
        """Chunked, so without a content-length, one byte at a time."""
        sent = json.dumps(city.document()).encode()
        pieces = [chunk(sent[at : at + 1]) for at in range(len(sent))]
        status, answer = Wire(*pieces, chunk(b"", more=False)).ask(client)
        assert (status, answer["status"]) == (200, "completed")

    def test_over_the_limit_is_read_no_further(self, city: World) -> None:
        client = Client.of(city, max_body_bytes=2**14)
        wire = Wire(*[chunk(b" " * 2**10) for _ in range(1_000)])
        status, answer = wire.ask(client)
        error = {
            "code": "request_too_large",
            "message": "the body is over 16384 bytes: send several requests",
            "param": None,
            "type": "invalid_request_error",
        }
        assert (status, answer) == (413, {"error": error})
        assert 1_000 - len(wire.messages) == 17

    def test_that_is_large_and_unfinished_takes_room_from_its_like_only(self, city: World) -> None:
        client = Client.of(city)
        room = client.worker.admission._room_bytes
        client.worker.admission._room_bytes = 2**18
        large = [chunk(b" " * 2**16) for _ in range(8)]
        status, answer = Wire(*large, chunk(b"{}", more=False)).ask(client)
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        assert client.worker.admission._room_bytes == 2**18
        sent = json.dumps(city.document()).encode()
        assert Wire(chunk(sent[:5]), chunk(sent[5:], more=False)).ask(client)[0] == 200
        client.worker.admission._room_bytes = room
        status, answer = Wire(*large, chunk(b"{}", more=False)).ask(client)
        assert (status, answer["error"]["message"]) == (400, "inputs is missing")
        assert client.worker.admission._room_bytes == room

    def test_of_just_the_limit_is_read(self, city: World) -> None:
        wire = Wire(chunk(b" " * (2**14 - 2)), chunk(b"{}", more=False))
        status, answer = wire.ask(Client.of(city, max_body_bytes=2**14), content_length=str(2**14))
        assert (status, answer["error"]["message"]) == (400, "inputs is missing")

    @pytest.mark.parametrize("length", ["16385", "9" * 5_000, "-1", "1e3", "x"])
    def test_with_a_length_over_the_limit_is_not_read_at_all(self, city: World, length: str) -> None:
        wire = Wire(chunk(b"{}", more=False))
        assert wire.ask(Client.of(city, max_body_bytes=2**14), content_length=length)[0] == 413
        assert wire.messages

    def test_in_one_piece_over_the_limit_without_a_length(self, city: World) -> None:
        wire = Wire(chunk(b" " * 20_000 + b"{}", more=False))
        assert wire.ask(Client.of(city, max_body_bytes=2**14))[0] == 413

    @pytest.mark.parametrize("begun", [[], [chunk(b"{")], [chunk(b""), chunk(b"{")]])
    def test_that_does_not_come_in_time(self, city: World, begun: list[Message]) -> None:
        """Also one of which nothing ever comes."""
        status, answer = Wire(*begun).ask(Client.of(city, deadline_seconds=0.05))
        assert status == 408
        error = answer["error"]
        assert error["code"] == "request_timeout"
        assert error["message"] == "the body did not come within 0.05 s: send it faster"

    @pytest.mark.parametrize("begun", [[], [chunk(b"{")]])
    def test_of_a_client_that_leaves_is_no_fault_of_ours(
        self, client: Client, caplog: pytest.LogCaptureFixture, begun: list[Message]
    ) -> None:
        wire = Wire(*begun, {"type": "http.disconnect"})
        with caplog.at_level(logging.INFO):
            assert wire.ask(client) == (0, None)
        assert not caplog.records
        labels = {"endpoint": FORECAST, "http_response_code": "499", "service_name": "bentocast"}
        labels |= {"service_version": "abc123", "runner_name": "bentocast"}
        assert client.registry.get_sample_value("bentoml_service_request_total", labels) == 1

    def test_of_a_get_is_not_waited_for(self, client: Client) -> None:
        assert Wire().ask(client, MODELS, "GET")[0] == 200


class TestMediaTypes:
    @pytest.mark.parametrize(
        "kind",
        [
            "application/vnd.bentoml+pickle",
            "application/x-pickle",
            "APPLICATION/PICKLE; a=b",
            "multipart/form-data; boundary=x",
        ],
    )
    @pytest.mark.parametrize("path", [FORECAST, INFER, PREDICT, ACTUALS, "/forecast"])
    def test_what_runs_code_when_it_is_read_is_never_read(self, client: Client, path: str, kind: str) -> None:
        wire = Wire(chunk(b"x", more=False))
        status, answer = wire.ask(client, path, content_type=kind)
        error = answer["error"]
        message = error if isinstance(error, str) else error["message"]
        assert status == 415
        assert message == "content-type: pickles and forms are never read here, wanted application/json"
        assert wire.messages

    @pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
    def test_actuals_come_from_no_web_page(self, client: Client, kind: str) -> None:
        """A page may send anything but JSON to another host without asking it first."""
        headers = {"content_type": kind} if kind else {}
        status, answer = Wire(chunk(b"{}", more=False)).ask(client, ACTUALS, **headers)
        assert (status, answer["error"]["message"]) == (415, "content-type: wanted application/json")

    @pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
    def test_actuals_come_as_json(self, client: Client, kind: str) -> None:
        assert Wire(chunk(b"{}", more=False)).ask(client, ACTUALS, content_type=kind)[0] == 400


class Talk(Wire):
    """A connection that notes what waits, and what room there is, when it is answered."""

    def __init__(self, client: Client, *messages: Message) -> None:
        super().__init__(*messages)
        self.client, self.waiting_bytes, self.room_bytes = client, list[int](), list[int]()

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        admission = self.client.worker.admission
        self.waiting_bytes.append(admission._loop.waiting_bytes)
        self.room_bytes.append(admission._room_bytes)
        await super().send(message)


class TestCompression:
    @pytest.mark.parametrize(
        ("coding", "pack"),
        [
            ("gzip", gzip.compress),
            ("GZip", gzip.compress),
            (" gzip ", gzip.compress),
            ("deflate", zlib.compress),
            ("identity", bytes),
            ("", bytes),
        ],
    )
    def test_is_undone(self, client: Client, city: World, coding: str, pack: Any) -> None:
        body = pack(json.dumps(city.document()).encode())
        status, answer = Wire(chunk(body, more=False)).ask(client, content_encoding=coding)
        assert (status, answer["status"]) == (200, "completed")

    @pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "x"])
    def test_of_another_kind(self, client: Client, coding: str) -> None:
        status, answer = Wire(chunk(b"{}", more=False)).ask(client, content_encoding=coding)
        assert (status, answer["error"]["message"]) == (415, "content-encoding: wanted gzip, deflate or none")

    @pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
    def test_that_hides_a_mountain_is_unpacked_no_further_than_the_limit(
        self, city: World, coding: str, pack: Any
    ) -> None:
        client = Client.of(city, max_body_bytes=2**14)
        bomb = pack(b" " * 2**23)
        assert len(bomb) < 2**14
        status, answer = Wire(chunk(bomb, more=False)).ask(client, content_encoding=coding)
        assert status == 413
        assert answer["error"]["message"] == "the body is over 16384 bytes when unpacked: send several requests"
        just = pack(b" " * (2**14 - 2) + b"{}")
        assert Wire(chunk(just, more=False)).ask(client, content_encoding=coding)[0] == 400

    @pytest.mark.parametrize(
        ("coding", "body", "text"),
        [
            ("gzip", b"{}", "body: it is not gzip: "),
            ("gzip", b"", "body: its gzip ends too early"),
            ("gzip", gzip.compress(b"{}", mtime=0)[:-5], "body: its gzip ends too early"),
            ("gzip", zlib.compress(b"{}"), "body: it is not gzip: "),
            ("deflate", gzip.compress(b"{}", mtime=0), "body: it is not deflate: "),
            ("deflate", zlib.compress(b"{}")[:-1], "body: its deflate ends too early"),
            ("gzip", gzip.compress(b"{}", mtime=0) + b"more", "body: something follows its gzip"),
        ],
    )
    def test_that_is_damaged(self, client: Client, coding: str, body: bytes, text: str) -> None:
        status, answer = Wire(chunk(body, more=False)).ask(client, content_encoding=coding)
        assert status == 400
        assert answer["error"]["message"].startswith(text)

    def test_takes_room_for_what_it_becomes_until_it_is_answered(
        self, city: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its own length is nothing to go by."""
        client = Client.of(city)
        room, client.worker.admission._room_bytes = client.worker.admission._room_bytes, 2 * STEP_BYTES
        small, large = (gzip.compress(b" " * steps * STEP_BYTES + b"{}") for steps in (1, 4))
        assert len(large) < LARGE_BYTES
        status, answer = Wire(chunk(large, more=False)).ask(client, content_encoding="gzip")
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        assert client.worker.admission._room_bytes == 2 * STEP_BYTES
        assert Wire(chunk(small, more=False)).ask(client, content_encoding="gzip")[0] == 400
        client.worker.admission._room_bytes = room
        forecast, left = client.worker.forecast, list[int]()

        async def noting(*given: Any) -> Any:
            left.append(client.worker.admission._room_bytes)
            return await forecast(*given)

        monkeypatch.setattr(client.worker, "forecast", noting)
        wire = Talk(client, chunk(large, more=False))
        assert wire.ask(client, content_encoding="gzip")[0] == 400
        assert (left, wire.room_bytes) == ([room - 4 * STEP_BYTES - 2], [room, room])
        assert client.worker.admission._room_bytes == room


class TestDeadline:
    def test_of_a_client_that_does_not_wait(self, client: Client, city: World) -> None:
        answer = client.post(FORECAST, json=city.document(), headers={"x-envoy-expected-rq-timeout-ms": "0"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert answer.json()["error"]["message"] == "the request waited too long: ask for less, or allow more time"

    @pytest.mark.parametrize("wanted", ["60000", "1" + "0" * 5_000, "soon", "-1", "1.5", "\u00b2", ""])
    def test_that_is_none_or_far_away(self, client: Client, city: World, wanted: str) -> None:
        headers = [(b"x-envoy-expected-rq-timeout-ms", wanted.encode("latin-1"))]
        assert client.post(FORECAST, json=city.document(), headers=headers).status_code == 200


class TestAccess:
    """Who may ask for what."""

    @pytest.fixture
    def key(self, tmp_path: Path) -> tuple[str, Path]:
        key, line = keys.make("ann")
        (tmp_path / "keys").write_text(line)
        return key, tmp_path / "keys"

    API = (FORECAST, INFER, PREDICT, ACTUALS, "/forecast")
    PAGES = (MODELS, "/v2", "/v2/models/bentocast", "/v1/models/bentocast", "/schema.json")

    @pytest.mark.parametrize("path", [*API, *PAGES])
    def test_without_a_key(self, city: World, key: tuple[str, Path], path: str) -> None:
        client, method = Client.of(city, keys_file=key[1]), "POST" if path in self.API else "GET"
        for headers in ({}, {"authorization": "Bearer bc_x"}, {"x-api-key": "x"}, {"authorization": f"Basic {key[0]}"}):
            answer = client.request(method, path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="bentocast"')
            assert "this service wants an API key: send the header" in answer.text
            assert is_an_error(answer)
        for headers in ({"authorization": f"Bearer {key[0]}"}, {"x-api-key": key[0]}):
            assert client.request(method, path, headers=headers).status_code not in (401, 403)

    def test_without_a_key_the_body_is_not_read(self, city: World, key: tuple[str, Path]) -> None:
        wire = Wire(chunk(b"{}", more=False))
        assert wire.ask(Client.of(city, keys_file=key[1]))[0] == 401
        assert wire.messages

    def test_probes_need_no_key(self, city: World, key: tuple[str, Path]) -> None:
        client = Client.of(city, keys_file=key[1], metrics_access="off", docs_access="off")
        for path in ("/livez", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200

    @pytest.mark.parametrize(
        ("group", "paths"),
        [
            ("metrics_access", ["/metrics"]),
            ("docs_access", ["/", "/docs", "/openapi.json", "/page/docs.js", "/static/swagger-ui.css"]),
        ],
    )
    def test_metrics_and_pages_are_open_for_some_or_off(
        self, city: World, key: tuple[str, Path], group: str, paths: list[str]
    ) -> None:
        authorized = {"x-api-key": key[0]}
        for path in paths:
            assert Client.of(city, keys_file=key[1]).get(path).status_code == 200
            some = Client.of(city, keys_file=key[1], **{group: "key"})
            assert (some.get(path).status_code, some.get(path, headers=authorized).status_code) == (401, 200)
            off = Client.of(city, keys_file=key[1], **{group: "off"})
            hidden = off.get(path, headers=authorized)
            assert (hidden.status_code, hidden.json()) == (404, off.get("/nowhere").json())


class TestAdmission:
    """What is counted as work, and how long."""

    def test_an_answer_is_no_work_any_more_while_it_is_taken(self, client: Client, city: World) -> None:
        """A client may take its time, or not take it at all."""
        talk = Talk(client, chunk(json.dumps(city.document()).encode(), more=False))
        assert talk.ask(client)[0] == 200
        assert talk.waiting_bytes == [0, 0]

    def test_only_answers_of_the_model_tell_what_a_byte_costs(self, client: Client, city: World) -> None:
        admission, sent = client.worker.admission, json.dumps(city.document(*city.histories(5))).encode()
        admission._learnt_at = float("inf")  # nothing is learnt meanwhile
        assert Wire(chunk(b" " * LARGE_BYTES, more=False)).ask(client)[0] == 400
        assert admission._done_bytes == SMALLEST_BYTES
        assert Wire(chunk(sent, more=False)).ask(client)[0] == 200
        assert admission._done_bytes == SMALLEST_BYTES + len(sent)

    @pytest.fixture
    def keyed(self, city: World, tmp_path: Path) -> tuple[Client, bytes]:
        key, line = keys.make("ann")
        (tmp_path / "keys").write_text(line)
        return Client.of(city, keys_file=tmp_path / "keys"), key.encode()

    def test_what_a_stranger_sends_is_nobodys_work(self, keyed: tuple[Client, bytes]) -> None:
        """It is told 401 even where there is too much to do, and takes nobody's place."""
        client, key = keyed
        client.get("/livez")  # the first request of all begins the application
        assert client.app.look(FORECAST, 1_000, [(b"x-api-key", b"guessed")]) is False
        assert client.app.look(FORECAST, 1_000, [(b"x-api-key", key)]) is True
        client.worker.admission.add(LARGE_BYTES * 1_000)
        client.worker.admission._loop.waiting_bytes += 10**9
        assert client.app.look(FORECAST, 1_000, []) is False
        refusal = client.app.look(FORECAST, 1_000, [(b"x-api-key", key)])
        assert isinstance(refusal, bytes)
        assert refusal.startswith(b"HTTP/1.1 503 ")

    @pytest.mark.parametrize("known", [False, True])
    def test_a_key_is_looked_up_once(
        self, keyed: tuple[Client, bytes], city: World, monkeypatch: pytest.MonkeyPatch, *, known: bool
    ) -> None:
        """Over a socket: by the head, where it tells the length, else by the application."""
        client, key = keyed
        assert client.get("/livez").status_code == 200
        assert client.worker.keys is not None
        checked, check = list[str | None](), client.worker.keys.check

        def counted(given: str | None) -> str:
            checked.append(given)
            return check(given)

        monkeypatch.setattr(client.worker.keys, "check", counted)
        sent = json.dumps(city.document()).encode()
        body = b"content-length: %d\r\n\r\n%b" % (len(sent), sent)
        if not known:
            body = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(sent), sent)
        head = f"POST {FORECAST} HTTP/1.1\r\nhost: here\r\n".encode()

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head + b"x-api-key: " + key + b"\r\n" + body)
            assert (await spoken.answer(reader))[0] == 200
            assert checked == [key.decode()]
            writer.write(head + body)
            assert (await spoken.answer(reader))[0] == 401

        spoken.talk(type("Gated", (Connection,), {"gate": client.app}), ask, client.app)
        assert client.worker.admission._loop.waiting_bytes == 0

    def test_connections_have_the_applications_patience(self, city: World) -> None:
        client = Client.of(city, deadline_seconds=7.0)
        client.get("/livez")
        assert client.app.patience_seconds == 7.0


class TestMetrics:
    def test_every_door_has_its_failures_on_the_first_page(self, client: Client) -> None:
        """A burst between two scrapes rises from 0, or nobody would ever see it."""
        client.get("/metrics")
        (found,) = (family for family in client.registry.collect() if family.name == "bentoml_service_request")
        told = {
            (one.labels["endpoint"], one.labels["http_response_code"]): one.value
            for one in found.samples
            if one.name.endswith("_total") and one.labels["http_response_code"] >= "500"
        }
        doors = {endpoint.template for endpoint in table(client) if endpoint.is_work}
        assert len(doors) == 4
        assert told == {(door, status): 0 for door in doors for status in ("500", "503", "504")}

    def test_labels_are_templates_or_other(self, client: Client) -> None:
        for method, path, body, _ in REQUESTS:
            client.request(method, path, content=body)
        found = client.endpoints()
        assert "other" in found
        assert FORECAST in found
        assert "/v2/models/{model}/infer" in found
        assert found <= {endpoint.template for endpoint in table(client)} | {"other"}

    @settings(max_examples=100, deadline=None)
    @given(path=st.text(max_size=40).map("/".__add__), method=st.sampled_from(["GET", "HEAD", "POST", "X"]))
    def test_no_path_of_a_stranger_becomes_a_label_or_a_crash(self, plain: World, path: str, method: str) -> None:
        client = Client.of(plain)
        status, _ = Wire(chunk(b"{}", more=False)).ask(client, path, method)
        assert status in (200, 307, 400, 404, 405, 415)
        assert client.endpoints() <= {endpoint.template for endpoint in table(client)} | {"other"}

    def test_page(self, client: Client) -> None:
        page = client.get("/metrics")
        assert page.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
        assert "# TYPE" in page.text


class TestDescription:
    """`/docs` and `/openapi.json`, on a machine without a network."""

    @pytest.mark.parametrize("path", ["/", "/docs"])
    def test_pages_name_no_other_host(self, client: Client, path: str) -> None:
        page = client.get(path, headers={"accept": "text/html"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        links = re.findall(r"""(?:href|src|action|url)\s*[=:(]\s*["']?([^"')\s>]+)""", page.text)
        assert all(re.match(r"/(?!/)|#|data:|page/|docs$|openapi.json$", link) for link in links)
        for link in (link for link in links if link.startswith("/")):
            assert client.get(link).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/docs"])
    def test_pages_run_no_code_but_ours(self, client: Client, path: str) -> None:
        """The policy that is sent lets nothing else run, so nothing else may be on them."""
        page = client.get(path, headers={"accept": "text/html"})
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page.text, re.DOTALL)
        assert all("src=" in attributes and not text.strip() for attributes, text in scripts)
        assert not re.search(r"<[^>]*\son\w+\s*=|javascript:", page.text)

    def test_the_description_is_the_one_of_the_page(self, client: Client) -> None:
        assert "/openapi.json" in client.get("/page/docs.js").text
        assert "/page/docs.js" in client.get("/docs").text

    def test_every_reference_resolves(self, client: Client) -> None:
        described = client.get("/openapi.json").json()
        references = re.findall(r'"\$ref":\s*"#([^"]+)"', json.dumps(described))
        assert references
        for reference in references:
            part = described
            for key in reference.strip("/").split("/"):
                part = part[key]

    def test_is_openapi(self, client: Client) -> None:
        described = client.get("/openapi.json").json()
        assert described["openapi"] == "3.1.0"
        assert described["info"]["version"] == "bentocast:abc123"
        operations = [operation for path in described["paths"].values() for operation in path.values()]
        assert all(operation["responses"] and operation["summary"] for operation in operations)

    def test_every_described_path_is_served(self, client: Client) -> None:
        described = client.get("/openapi.json").json()["paths"]
        assert len(described) > 10
        for path, methods in described.items():
            for method in methods:
                answer = client.request(method, path.replace("{model}", "bentocast"), json={})
                assert answer.status_code in {200, 400}, path

    def test_every_path_for_clients_is_described(self, client: Client) -> None:
        described = set(client.get("/openapi.json").json()["paths"])
        ours = {endpoint.template for endpoint in table(client) if endpoint.group in ("api", "probe")}
        assert ours - described == {"/schema.json", "/forecast", "/healthz"}  # of BentoML's own clients


class TestApplication:
    def test_building_it_asks_for_nothing_yet(self) -> None:
        """BentoML imports the service before a worker has loaded the model."""

        def never(*_: object) -> Any:
            raise AssertionError

        assert Front(never, never, never)

    def test_start_and_end_of_the_worker_are_bentomls(self, client: Client) -> None:
        seen = []

        async def inner(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["type"])

        async def nothing(*_: object) -> Any:
            raise AssertionError

        front = Front(inner, lambda: client.worker, lambda: client.metrics)
        anyio.run(front, {"type": "lifespan"}, nothing, nothing)
        assert seen == ["lifespan"]

    def test_a_websocket_is_refused(self, client: Client) -> None:
        """An application that says nothing is a fault in the log of the server, for every stranger that tries."""
        wire = Wire({"type": "websocket.connect"})
        anyio.run(client.app, {"type": "websocket", "path": "/", "headers": []}, wire.receive, wire.send)
        assert wire.sent == [{"type": "websocket.close", "code": 1000}]

    def test_small_requests_that_come_together_take_one_pass(self, client: Client, city: World) -> None:
        passes: list[int] = []
        client.worker.engine._run = counting(client.worker.served, passes)

        async def talk(asking: httpx.AsyncClient) -> list[int]:
            body = json.dumps(city.document())
            answers = await asyncio.gather(*(asking.post(FORECAST, content=body) for _ in range(20)))
            return [answer.status_code for answer in answers]

        assert client.talk(talk) == [200] * 20
        assert sum(passes) == 20
        assert len(passes) <= 3

    def test_only_so_many_large_bodies_are_worked_on_at_once(self, client: Client, city: World) -> None:
        """The worst body takes much memory while it is read: twenty of them must not take twenty times that."""
        busy, most, lock = [0], [0], threading.Lock()
        inner = client.worker.served.forecaster.scaled

        def scaled(*args: Any) -> Any:
            with lock:
                busy[0] += 1
                most[0] = max(most[0], busy[0])
            made = inner(*args)
            with lock:
                busy[0] -= 1
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client.worker.served.forecaster, "scaled", scaled)
            patch.setattr(client.worker.admission, "_max_wait", 60.0)
            body = json.dumps(city.document(*city.histories(80)))

            async def talk(asking: httpx.AsyncClient) -> list[int]:
                answers = await asyncio.gather(*(asking.post(FORECAST, content=body) for _ in range(12)))
                return [answer.status_code for answer in answers]

            assert client.talk(talk) == [200] * 12
        assert 1 <= most[0] <= THREADS

    def test_a_large_forecast_does_not_hold_up_probes_and_small_ones(self, client: Client, city: World) -> None:
        """It is made in a thread: the event loop answers others in the meantime."""
        free = threading.Event()
        inner = client.worker.served.forecaster.scaled

        def scaled(rows: Any) -> Any:
            if rows.scale.size > 50:
                assert free.wait(30)
            return inner(rows)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client.worker.served.forecaster, "scaled", scaled)

            async def talk(asking: httpx.AsyncClient) -> list[int]:
                large = asyncio.create_task(asking.post(FORECAST, json=city.document(*city.histories(150))))
                codes = [(await asking.get(path)).status_code for path in ("/readyz", "/docs", "/nowhere")]
                codes.append((await asking.post(FORECAST, json=city.document())).status_code)
                assert not large.done()
                free.set()
                return [*codes, (await large).status_code]

            assert client.talk(talk) == [200, 200, 404, 200, 200]


def counting(served: Served, passes: list[int]) -> Any:
    """Answers as served, and notes how many questions each pass had."""

    def answer(inner: Any, questions: Any) -> Any:
        passes.append(len(questions))
        return inner(questions)

    return partial(answer, served.answer)
