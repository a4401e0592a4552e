"""The HTTP face: status codes, shapes, headers and limits, without a network."""

from __future__ import annotations

import importlib
import json
import logging
import re
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message, Scope

from data.errors import BentocastError, ModelError
from data.forecaster import Forecaster
from service import http
from service.http import Served

if TYPE_CHECKING:
    from tests.service.conftest import World

HEADERS = {"x-bento": "bentocast:abc123", "x-model-name": "bentocast", "x-model-version": "7"}
FORECAST = "/v1/timeseries/forecast"
MODELS = "/v1/timeseries/models"
#: Method, path, body and the status they get.
REQUESTS = [
    ("GET", "/", None, 307),
    ("GET", "/docs", None, 200),
    ("HEAD", "/docs", None, 200),
    ("GET", "/openapi.json", None, 200),
    ("GET", MODELS, None, 200),
    ("HEAD", MODELS, None, 200),
    ("GET", MODELS + "?a=b", None, 200),
    ("POST", FORECAST, b"{}", 400),
    ("POST", FORECAST, b"", 400),
    ("POST", FORECAST, b'{"model": "other", "inputs": []}', 404),
    ("GET", "/v1/timeseries", None, 404),
    ("GET", "/v1/timeseries/models/bentocast", None, 404),
    ("POST", "/v1/anything", b"{}", 404),
    ("DELETE", "/v2/models/bentocast", None, 404),
    ("OPTIONS", "/wp-admin.php", None, 404),
    ("GET", "/v1/timeseries/forecast%2F..%2Fmodels", None, 404),
    ("GET", "/\u96ea", None, 404),
    ("GET", FORECAST, None, 405),
    ("HEAD", FORECAST, None, 405),
    ("OPTIONS", FORECAST, None, 405),
    ("PUT", FORECAST, b"{}", 405),
    ("POST", MODELS, b"{}", 405),
    ("POST", "/docs", b"{}", 405),
    ("POST", "/", b"{}", 405),
]


def served(forecaster: Forecaster) -> Served:
    return Served(forecaster, model="bentocast", model_version="7", bento="bentocast:abc123")


@dataclass(frozen=True)
class Client:
    """Talks to an application without a socket; a fault of it is an answer, as behind a server."""

    app: Starlette

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        async def talk() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
                return await client.request(method, path, **sent)

        return anyio.run(talk)

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **sent: Any) -> httpx.Response:
        return self.request("POST", path, **sent)


@pytest.fixture
def client(city: World) -> Client:
    return Client(http.build(lambda: served(city.forecaster)))


@pytest.fixture
def mounted(city: World) -> Client:
    """The application where BentoML puts it: behind its probes, before its static files and its index."""

    def plain(name: str) -> Route:
        return Route(f"/{name}", lambda _: PlainTextResponse(name or "index"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what BentoML imports
        mount_of_bentoml = importlib.import_module("_bentoml_impl.server.mount").PassiveMount
    mount = mount_of_bentoml("/", http.build(lambda: served(city.forecaster)))
    return Client(Starlette(routes=[plain("livez"), mount, plain("static_content"), plain("")]))


def is_an_error(answer: httpx.Response) -> bool:
    error = answer.json()["error"]
    texts = all(isinstance(error[key], str) for key in ("code", "message", "type"))
    return texts and list(error) == ["code", "message", "param", "type"]


class TestStatus:
    @pytest.mark.parametrize(("method", "path", "body", "status"), REQUESTS)
    def test_of_every_kind_of_request(
        self, client: Client, method: str, path: str, body: bytes | None, status: int
    ) -> None:
        answer = client.request(method, path, content=body)
        assert answer.status_code == status
        assert {key: answer.headers[key] for key in HEADERS} == HEADERS
        assert status < 400 or method == "HEAD" or is_an_error(answer)

    @pytest.mark.parametrize(("method", "path", "body", "status"), REQUESTS)
    def test_is_the_same_inside_bentoml(
        self, mounted: Client, method: str, path: str, body: bytes | None, status: int
    ) -> None:
        answer = mounted.request(method, path, content=body)
        assert answer.status_code == status
        assert {key: answer.headers[key] for key in HEADERS} == HEADERS

    def test_bentoml_keeps_its_own_paths(self, mounted: Client) -> None:
        assert [mounted.get(path).text for path in ("/livez", "/static_content")] == ["livez", "static_content"]

    @pytest.mark.parametrize("path", [MODELS, FORECAST, "/docs", "/livez", "/nowhere"])
    def test_a_slash_at_the_end_leads_to_the_path_without(self, mounted: Client, path: str) -> None:
        answer = mounted.post(path + "/", content=b"{}")
        assert (answer.status_code, answer.headers["location"]) == (307, f"http://testserver{path}")

    def test_a_path_with_another_host_in_it_stays_here(self, mounted: Client) -> None:
        answer = mounted.get("http://testserver//evil.example/")
        assert answer.status_code == 404 or answer.headers["location"].startswith("http://testserver/")

    def test_of_a_forecast(self, client: Client, city: World) -> None:
        answer = client.post(FORECAST, json=city.document(quantiles=[0.1, 0.9]))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert {key: answer.headers[key] for key in HEADERS} == HEADERS
        mean = answer.json()["outputs"][0]["content"][0]["mean_forecast"]
        assert mean == city.expected([city.origin(0)]).point[0].tolist()

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


class TestErrors:
    """The words and the shape."""

    def test_of_a_bad_request(self, client: Client) -> None:
        answer = client.post(FORECAST, content=b'{"inputs": 3}')
        message = "inputs: got 3, input should be a valid array"
        error = {"code": "invalid_request", "message": message, "param": "inputs", "type": "invalid_request_error"}
        assert answer.json() == {"error": error}

    def test_of_an_unknown_model(self, client: Client) -> None:
        answer = client.post(FORECAST, content=b'{"model": "other", "inputs": []}')
        message = "model: got 'other', wanted 'bentocast', the model served here"
        error = {"code": "not_found", "message": message, "param": "model", "type": "invalid_request_error"}
        assert answer.json() == {"error": error}

    def test_of_an_unknown_path(self, mounted: Client) -> None:
        message = "Not Found: see /docs for what is served here"
        error = {"code": "not_found", "message": message, "param": None, "type": "invalid_request_error"}
        assert mounted.get("/v1/nowhere").json() == {"error": error}

    def test_of_a_wrong_method(self, client: Client) -> None:
        answer = client.get(FORECAST)
        message = "Method Not Allowed: see /docs for what is served here"
        error = {"code": "method_not_allowed", "message": message, "param": None, "type": "invalid_request_error"}
        assert (answer.json(), answer.headers["allow"]) == ({"error": error}, "POST")

    def test_of_a_fault_of_ours_tells_the_log_and_not_the_client(
        self, city: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Forecaster):
            def forecast(self, *_: object, **__: object) -> Any:
                raise ZeroDivisionError("the password is 1234")

        broken = Broken(city.forecaster.card, city.forecaster._session)
        with caplog.at_level(logging.ERROR):
            answer = Client(http.build(lambda: served(broken))).post(FORECAST, json=city.document())
        message = "the server failed, see its log"
        error = {"code": "internal_error", "message": message, "param": None, "type": "server_error"}
        assert (answer.status_code, answer.json()) == (500, {"error": error})
        assert {key: answer.headers[key] for key in HEADERS} == HEADERS
        (record,) = (record for record in caplog.records if record.name == "bentocast.service")
        assert record.getMessage() == f"POST {FORECAST} failed"
        assert record.exc_info is not None
        assert "1234" in str(record.exc_info[1])

    @pytest.mark.parametrize(("err", "status"), [(ModelError("gone"), 503), (BentocastError("odd"), 500)])
    def test_of_ours_that_has_a_name_keeps_its_status(self, city: World, err: BentocastError, status: int) -> None:
        class Broken(Forecaster):
            def forecast(self, *_: object, **__: object) -> Any:
                raise err

        broken = Broken(city.forecaster.card, city.forecaster._session)
        answer = Client(http.build(lambda: served(broken))).post(FORECAST, json=city.document())
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "server_error")
        assert answer.json()["error"]["message"] == err.message


class Wire:
    """A connection that sends what it is told to, and counts what is read from it."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def post(self, app: Starlette) -> tuple[int, Any]:
        scope: Scope = {"type": "http", "method": "POST", "path": FORECAST, "headers": [], "query_string": b""}
        anyio.run(app, scope, self.receive, self.send)
        body = b"".join(message.get("body", b"") for message in self.sent)
        return self.sent[0]["status"], json.loads(body) if body else None


def chunk(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class TestBody:
    def test_in_pieces(self, city: World) -> None:
        """Chunked, so without a content-length, one byte at a time."""
        sent = json.dumps(city.document()).encode()
        pieces = [chunk(sent[at : at + 1]) for at in range(len(sent))]
        status, answer = Wire(*pieces, chunk(b"", more=False)).post(http.build(lambda: served(city.forecaster)))
        assert (status, answer["status"]) == (200, "completed")

    def test_over_the_limit_is_read_no_further(self, city: World) -> None:
        mebibyte = b" " * 2**20
        wire = Wire(*[chunk(mebibyte) for _ in range(1_000)])
        status, answer = wire.post(http.build(lambda: served(city.forecaster)))
        error = {
            "code": "request_too_large",
            "message": f"the body is over {http.MAX_BODY_BYTES} bytes: send several requests",
            "param": None,
            "type": "invalid_request_error",
        }
        assert (status, answer) == (413, {"error": error})
        assert 1_000 - len(wire.messages) == http.MAX_BODY_BYTES / 2**20 + 1

    def test_of_just_the_limit_is_read(self, city: World) -> None:
        wire = Wire(chunk(b" " * (http.MAX_BODY_BYTES - 2)), chunk(b"{}", more=False))
        status, answer = wire.post(http.build(lambda: served(city.forecaster)))
        assert (status, answer["error"]["message"]) == (400, "inputs: field required")

    def test_with_a_length_over_the_limit(self, client: Client) -> None:
        assert client.post(FORECAST, content=b" " * (http.MAX_BODY_BYTES + 1)).status_code == 413

    def test_of_a_client_that_leaves_is_no_fault_of_ours(self, city: World, caplog: pytest.LogCaptureFixture) -> None:
        wire = Wire(chunk(b"{"), {"type": "http.disconnect"})
        with caplog.at_level(logging.INFO):
            assert wire.post(http.build(lambda: served(city.forecaster))) == (499, None)
        assert not caplog.records


class TestDescription:
    """`/docs` and `/openapi.json`, on a machine without a network."""

    def test_the_page_names_no_other_host(self, client: Client) -> None:
        page = client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        links = re.findall(r"""(?:href|src|url)\s*[=:]\s*["']([^"']+)""", page.text)
        assert len(links) == 4
        assert all(link.startswith("/") and not link.startswith("//") for link in links)
        assert "http" not in page.text

    def test_the_index_leads_to_the_page(self, client: Client) -> None:
        assert client.get("/").headers["location"] == "/docs"

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
        ours = {path: methods for path, methods in described.items() if path not in {"/livez", "/readyz"}}
        for path, methods in ours.items():
            for method in methods:
                assert client.request(method, path, content=b"{}").status_code in {200, 400}


def test_building_the_application_asks_for_nothing_yet() -> None:
    """BentoML imports the service before a worker has loaded the model."""

    def never() -> Served:
        raise AssertionError

    assert isinstance(http.build(never), Starlette)


def test_only_so_many_bodies_are_worked_on_at_once(city: World) -> None:
    """The worst body takes a gigabyte while it is read: twenty of them must not take twenty."""
    busy: list[int] = [0]
    most: list[int] = []

    class Counting(Forecaster):
        def forecast(self, *args: Any, **kwargs: Any) -> Any:
            busy[0] += 1
            most.append(busy[0])
            made = super().forecast(*args, **kwargs)
            busy[0] -= 1
            return made

    app = http.build(lambda: served(Counting(city.forecaster.card, city.forecaster._session)))

    async def talk() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://testserver") as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(20):
                group.start_soon(partial(client.post, FORECAST, json=city.document(*city.histories(30))))

    anyio.run(talk)
    assert len(most) == 20
    assert max(most) <= http.MAX_AT_ONCE


def test_forecasts_do_not_hold_up_probes(city: World) -> None:
    """A forecast is made in a thread: the event loop answers others in the meantime."""
    waits = anyio.Event()

    class Slow(Forecaster):
        def forecast(self, *args: Any, **kwargs: Any) -> Any:
            anyio.from_thread.run(waits.wait)
            return super().forecast(*args, **kwargs)

    slow = Slow(city.forecaster.card, city.forecaster._session)
    app = http.build(lambda: served(slow))

    async def talk() -> list[int]:
        transport = httpx.ASGITransport(app)
        codes: list[int] = []
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:

            async def forecast() -> None:
                codes.append((await client.post(FORECAST, json=city.document())).status_code)

            async with anyio.create_task_group() as group:
                group.start_soon(forecast)
                codes.append((await client.get("/docs")).status_code)
                codes.append((await client.get("/nowhere")).status_code)
                waits.set()
        return codes

    assert anyio.run(talk) == [200, 404, 200]
