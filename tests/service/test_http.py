"""The HTTP front: status codes, shapes, headers and what is counted, without a network."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from data.errors import BentocastError, ModelError
from service import endpoints
from service.admission import LARGE_BYTES, THREADS, OverloadedError
from service.http import Front
from service.record import RecordUnavailableError
from service.routes import Endpoint
from service.served import Served
from tests.service.front import ACTUALS, FORECAST, INFER, MODELS, PREDICT, Client, Wire, chunk, is_an_error
from tests.service.world import World

HEADERS = {"x-bento": "bentocast:abc123", "x-model-name": "bentocast", "x-model-version": "7"}
SAFE = {"x-content-type-options": "nosniff", "cache-control": "no-store", "referrer-policy": "no-referrer"}
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
