"""A real Bento, end to end: built, served from another folder without a network, asked over a socket, ended."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest
import yaml

from data import forecaster as files
from service.proto import forecast_pb2
from service.settings import Settings
from tests.service.bentos import FORECAST, MODELS, Home, run
from tests.service.doors import GrpcForecast, Told, Wanted, expected, same
from tests.service.live import END_SECONDS, READY_SECONDS, ROOT, Server, serving

if TYPE_CHECKING:
    from tests.service.world import World

#: Belongs to training: neither in a Bento nor needed to answer.
TRAINING = {"pandas", "sklearn", "mlflow", "dvc", "pyarrow", "skl2onnx", "onnx", "training", "tests"}

#: Answers a request with what a Bento holds, and says what was imported for it.
ANSWER = """
import json, pathlib, sys
from data.forecaster import Forecaster
from service.call import Call
from service.protocols.timeseries import Timeseries
from service.served import Served
served = Served(Forecaster.load(pathlib.Path(sys.argv[1])), "bentocast", "1", "bentocast")
door = Timeseries()
asked = door.read(Call((), sys.stdin.buffer.read()), served)
made = json.loads(door.write(asked, served.answer([asked.question])[0], served).body)
print(json.dumps({"answer": made, "imported": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


@pytest.fixture(scope="module")
def servers(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """The Bento, from a folder with other packages of the same names, and the project itself.

    Each has a BENTOML_HOME of its own: a second `bentoml serve` wipes the first one's metrics.
    """
    copy = tmp_path_factory.mktemp("copy") / "home"
    shutil.copytree(home.folder, copy)
    environment = home.environment | {"GUARD_BLOCKED": " ".join(TRAINING - {"training", "tests"})}
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("data", "service"):
        (elsewhere / name).mkdir()
        (elsewhere / name / "__init__.py").write_text("raise AssertionError('not the code of the Bento')")
    with contextlib.ExitStack() as stack:
        yield {
            "bento": stack.enter_context(serving(home.folder, environment, elsewhere, home.bento)),
            "project": stack.enter_context(serving(copy, environment, ROOT)),
        }


@pytest.fixture(params=["bento", "project"])
def server(servers: dict[str, Server], request: pytest.FixtureRequest) -> Server:
    chosen: Server = servers[request.param]
    return chosen


class TestServed:
    """What a client sees."""

    def test_forecast_has_the_bits_of_training(self, server: Server, city: World) -> None:
        answer = server.client.post(FORECAST, json=city.document(city.history(1), quantiles=[0.1]))
        expected = city.expected([city.origin(1)])
        (content,) = answer.json()["outputs"][0]["content"]
        assert answer.status_code == 200
        assert np.array_equal(content["mean_forecast"], expected.point[0])
        assert np.array_equal(content["quantiles"]["0.1"], city.forecaster.quantile(expected, 0.1)[0])

    def test_many_series(self, server: Server, city: World) -> None:
        answer = server.client.post(FORECAST, json=city.document(*city.histories(300))).json()
        expected = city.expected([city.origin(turn % 3, turn) for turn in range(300)])
        got = [output["content"][0]["mean_forecast"] for output in answer["outputs"]]
        assert np.array_equal(got, expected.point)

    def test_models(self, server: Server) -> None:
        (model,) = server.client.get(MODELS).json()["models"]
        assert (model["name"], model["horizon"], model["context_length"]) == ("bentocast", 12, 102)

    def test_bad_input(self, server: Server, city: World) -> None:
        document = city.document()
        del document["inputs"][0]["future_covariates"]["temperature"]
        answer = server.client.post(FORECAST, json=document)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "inputs[0].future_covariates.temperature"

    @pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", FORECAST, 405)])
    def test_wrong_paths_are_answered_in_the_shape_of_the_api(
        self, server: Server, method: str, path: str, status: int
    ) -> None:
        answer = server.client.request(method, path)
        assert answer.status_code == status
        assert list(answer.json()["error"]) == ["code", "message", "param", "type"]
        assert answer.headers["x-model-name"] == "bentocast"

    def test_a_body_over_the_limit(self, server: Server) -> None:
        """Sent in chunks, so without a content-length."""
        pieces = (b" " * 2**20 for _ in range(Settings().max_body_bytes // 2**20 + 2))
        assert server.client.post(FORECAST, content=pieces).status_code == 413

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/livez/"])
    def test_probes(self, server: Server, path: str) -> None:
        assert server.client.get(path, follow_redirects=True).status_code == 200

    def test_documentation_comes_from_here_alone(self, server: Server) -> None:
        page = server.client.get("/docs")
        links = re.findall(r"""(?:href|src|url)\s*[=:]\s*["']([^"']+)""", page.text)
        assert {server.client.get(link).status_code for link in links} == {200}
        assert len(server.client.get("/static/swagger-ui-bundle.js").content) > 100_000
        assert not re.search(r"https?:", page.text)

    def test_metrics(self, server: Server, city: World) -> None:
        server.client.post(FORECAST, json=city.document())
        text = server.client.get("/metrics").text
        counted = re.findall(
            rf'bentoml_service_request_total{{endpoint="{FORECAST}",http_response_code="200".*}} (\S+)', text
        )
        assert float(counted[0]) >= 1
        assert f'bentoml_service_request_duration_seconds_bucket{{endpoint="{FORECAST}"' in text

    def test_a_bento_answers_with_its_own_model_and_says_so(self, servers: dict[str, Server], home: Home) -> None:
        """A newer version in the store changes nothing for a Bento that was built before."""
        headers = servers["bento"].client.get(MODELS).headers
        assert (headers["x-bento"], headers["x-model-version"]) == (home.bento, "1")

    def test_the_project_answers_with_the_newest_model_and_says_so(self, servers: dict[str, Server]) -> None:
        headers = servers["project"].client.get(MODELS).headers
        assert headers["x-model-version"] == "2"
        assert headers["x-bento"] == "bentocast"

    def test_nothing_calls_out(self, servers: dict[str, Server], home: Home, city: World) -> None:
        for server in servers.values():
            server.client.post(FORECAST, json=city.document())
        assert home.guard_log.read_text() == ""


class TestLife:
    """Workers that are several, that are killed, and that are told to end."""

    def test_several_share_ports_and_metrics_and_one_that_is_killed_is_replaced(
        self, home: Home, city: World, tmp_path: Path
    ) -> None:
        shutil.copytree(home.folder, tmp_path / "home")
        environment = home.environment | {"BENTOCAST_WORKERS": "4"}
        with serving(tmp_path / "home", environment, tmp_path, home.bento) as server:
            before = wait_for(lambda: server.workers() if len(server.workers()) == 4 else None)
            for _ in range(40):  # on a connection each, so that every worker gets some
                assert httpx.post(f"{server.url}{FORECAST}", json=city.document(), trust_env=False).status_code == 200
            wanted = Wanted([city.history(1)], levels=(0.5,))
            for _ in range(20):
                assert same(forecast(server, wanted), expected(city, wanted))
            assert wait_for(lambda: counted(server) if counted(server) >= 40 else None) == 40
            method = f"/{GrpcForecast.method}"
            assert wait_for(lambda: counted(server, method) if counted(server, method) >= 20 else None) == 20
            before[0].kill()
            after = wait_for(lambda: server.workers() if len({*server.workers()} - {*before}) == 1 else None)
            assert before[0] not in after
            for _ in range(8):
                answer = wait_for(lambda: asked(server, city))
                assert answer.status_code == 200

    def test_told_to_end_it_says_so_before_it_stops_to_answer(self, home: Home, city: World, tmp_path: Path) -> None:
        shutil.copytree(home.folder, tmp_path / "home")
        environment = home.environment | {"BENTOCAST_DRAIN_SECONDS": "3"}
        with serving(tmp_path / "home", environment, tmp_path, home.bento) as server:
            server.process.send_signal(signal.SIGTERM)
            told = wait_for(lambda: True if server.client.get("/readyz").status_code == 503 else None)
            assert told
            answer = server.client.post(FORECAST, json=city.document())
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert server.process.wait(END_SECONDS) == 0

    def test_a_damaged_model_does_not_start(self, home: Home, tmp_path: Path) -> None:
        shutil.copytree(home.folder, tmp_path / "home")
        (model,) = (tmp_path / "home/models" / home.models[0].replace(":", "/")).rglob(files.ONNX_FILE)
        wanted = files.sha256(model)
        model.write_bytes(model.read_bytes() + b"x")
        server = Server(tmp_path / "home", home.environment, tmp_path, home.bento)
        assert server.process.wait(READY_SECONDS) == 5
        said = server.log.read_text()
        assert f"sha256 is {files.sha256(model)}, wanted {wanted}" in said
        assert "Traceback" not in said


def wait_for(look: Callable[[], Any]) -> Any:
    """What a look finds, as soon as it finds something."""
    deadline = time.monotonic() + READY_SECONDS
    while (found := look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def counted(server: Server, endpoint: str = FORECAST) -> float:
    """Forecasts that were answered, by the page of metrics."""
    text = server.client.get("/metrics").text
    pattern = rf'bentoml_service_request_total{{endpoint="{re.escape(endpoint)}",http_response_code="200".*}} (\S+)'
    return sum(map(float, re.findall(pattern, text)))


def forecast(server: Server, wanted: Wanted) -> Told:
    """A forecast by gRPC, on a connection of its own."""
    door = GrpcForecast()
    with grpc.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        ask = channel.unary_unary(f"/{door.method}", response_deserializer=forecast_pb2.ForecastResponse.FromString)
        return door.told(ask(door.request(wanted).SerializeToString(), timeout=30))


def asked(server: Server, city: World) -> httpx.Response | None:
    """An answer; a connection to a worker that was killed is one that broke."""
    try:
        return server.client.post(FORECAST, json=city.document())
    except httpx.TransportError:
        return None


class TestContents:
    """What is in a Bento, and what is not."""

    def test_no_module_of_training_is_imported_anywhere(self, home: Home) -> None:
        """But pyarrow, by `service batch` alone, in a function: see tests/test_imports.py."""
        source = home.unpacked / "src"
        assert imports(source) & TRAINING == {"pyarrow"}
        (source / "service/batch/arrow.py").rename(aside := source / "service/batch/arrow.aside")
        try:
            assert imports(source) & TRAINING == set()
        finally:
            aside.rename(source / "service/batch/arrow.py")

    def test_every_module_that_is_imported_is_in_it(self, home: Home) -> None:
        source = home.unpacked / "src"
        here = {".".join(path.relative_to(source).with_suffix("").parts) for path in source.rglob("*.py")}
        packages = {".".join(path.parent.relative_to(source).parts) for path in source.rglob("__init__.py")}
        wanted = {name for path in source.rglob("*.py") for name in own_modules(path)}
        assert wanted - here - packages == set()

    def test_nothing_else_is_in_it(self, home: Home) -> None:
        source = home.unpacked / "src"
        assert {path.name for path in source.iterdir()} <= {"data", "service", "bentofile.yaml"}
        suffixes = {path.suffix for path in source.rglob("*.*")}
        assert suffixes - {".pyc"} == {".py", ".yaml", ".html", ".js", ".css", ".svg"}

    def test_it_is_tied_to_its_model(self, home: Home) -> None:
        told = yaml.safe_load((home.unpacked / "bento.yaml").read_text())
        assert [model["tag"] for model in told["models"]] == [home.models[0]]
        assert told["service"] == "service.app:Bentocast"

    def test_it_installs_nothing_of_training(self, home: Home) -> None:
        text = (home.unpacked / "env/python/requirements.txt").read_text()
        named = set(re.findall(r"^([a-z0-9_.-]+)==", text, re.MULTILINE))
        assert {"bentoml", "numpy", "onnxruntime", "httptools", "uvloop"} <= named
        assert named & {"pandas", "scikit-learn", "mlflow", "dvc", "pyarrow", "skl2onnx", "onnx"} == set()

    def test_it_answers_where_training_is_not_installed(self, home: Home, city: World) -> None:
        environment = home.environment | {"GUARD_BLOCKED": " ".join(TRAINING)}
        environment["PYTHONPATH"] += os.pathsep + str(home.unpacked / "src")
        model = home.folder / "models" / home.models[0].replace(":", "/") / "mlflow_model"
        asked = json.dumps(city.document(city.history(2)))
        made = json.loads(
            run(environment, sys.executable, "-c", ANSWER, str(model), folder=home.unpacked / "src", input=asked)
        )
        expected = city.expected([city.origin(2)]).point[0].tolist()
        assert made["answer"]["outputs"][0]["content"][0]["mean_forecast"] == expected
        assert set(made["imported"]) & TRAINING == set()


def imports(folder: Path) -> set[str]:
    """Top-level names of everything that is imported below a folder, at any depth of the code."""
    return {name.partition(".")[0] for path in folder.rglob("*.py") for name in _imported(path)}


def own_modules(path: Path) -> set[str]:
    """The project's own modules that a file imports."""
    return {name for name in _imported(path) if name.partition(".")[0] in {"data", "service", "training"}}


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module in {"data", "service"}
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if whole else {node.module}
    return found
