"""A BENTOML_HOME with a Bento in it, and `bentoml serve` as a process, for tests."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from data import forecaster as files
from service.proto import forecast_pb2
from tests.ports import free_ports
from tests.service.doors import GrpcForecast, Told, Wanted
from tests.service.world import World

ROOT = Path(__file__).parents[2]
BENTOML = str(Path(sys.executable).with_name("bentoml"))
READY_SECONDS, END_SECONDS = 60, 20
FORECAST, MODELS = "/v1/timeseries/forecast", "/v1/timeseries/models"

#: Writes down every look-up and connection that leaves the machine, and every import that is not allowed.
GUARD = """
import os, sys

def note(text):
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(text + "\\n")

def watch(event, values):
    if event == "socket.connect" and isinstance(values[1], tuple) and values[1][0] not in ("127.0.0.1", "::1"):
        note(f"connect {values[1]}")
    if event == "socket.getaddrinfo" and values[0] not in (None, "localhost", "127.0.0.1", "::1", b"127.0.0.1"):
        note(f"look up {values[0]}")

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["GUARD_BLOCKED"].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.addaudithook(watch)
sys.meta_path.insert(0, Blocked())
"""

#: Puts a folder into BentoML's store as `bentoml.mlflow.import_model` lays it out, once for each version.
STORE = """
import pathlib, shutil, sys
import bentoml
for version in sys.argv[2:]:
    labels = {"mlflow_name": "bentocast", "mlflow_version": version, "git_commit": "0" * 40}
    with bentoml.models.create("bentocast", module="bentoml.mlflow", labels=labels) as model:
        shutil.copytree(sys.argv[1], pathlib.Path(model.path) / "mlflow_model")
    print(model.tag)
"""


@dataclass(frozen=True)
class Home:
    """A BENTOML_HOME with two versions of a model and a Bento of the first.

    Attributes:
        folder: BENTOML_HOME.
        environment: of every command.
        models: tags of the two versions.
        bento: tag of the Bento, built when there was one version only.
        guard_log: what the guard wrote down.
    """

    folder: Path
    environment: dict[str, str]
    models: tuple[str, str]
    bento: str
    guard_log: Path

    @property
    def unpacked(self) -> Path:
        """The Bento's own folder."""
        return self.folder / "bentos" / self.bento.replace(":", "/")


class Server:
    """`bentoml serve` in a process of its own, and the worker that it starts."""

    def __init__(self, home: Path, environment: dict[str, str], folder: Path, *target: str) -> None:
        port = free_ports()
        self.port = port
        self.log = home / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [BENTOML, "serve", *target, "--host", "127.0.0.1", "--port", str(port)],
                cwd=folder,
                env=environment | {"BENTOML_HOME": str(home)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)

    def wait_until_ready(self) -> None:
        """Ask until it is; a worker that cannot start is started again for ever, so its log is looked at."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            text = self.log.read_text()
            assert self.process.poll() is None, text
            assert "Traceback" not in text, text
            assert time.monotonic() < deadline, text
            self._pause()

    def end(self) -> None:
        """Ask it to end, as Ctrl-C and Kubernetes do, and see that nothing is left."""
        self.client.close()
        if self.process.poll() is not None:
            return
        psutil: Any = importlib.import_module("psutil")
        family = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(END_SECONDS)
        finally:
            _, alive = psutil.wait_procs(family, timeout=END_SECONDS)
            for process in (*alive, self.process):
                process.kill()
        assert not alive, self.log.read_text()

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        psutil: Any = importlib.import_module("psutil")
        family = psutil.Process(self.process.pid).children(recursive=True)
        found = []
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                if "_bentoml_impl.worker.service" in process.cmdline():
                    found.append(process.pid)
        return found

    def forecast(self, wanted: Wanted) -> Told:
        """A forecast by gRPC, on a connection of its own."""
        door = GrpcForecast()
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.port + 1}", options=options) as channel:
            ask = channel.unary_unary(f"/{door.method}", response_deserializer=forecast_pb2.ForecastResponse.FromString)
            return door.told(ask(door.request(wanted).SerializeToString(), timeout=30))

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _pause(self) -> None:
        try:
            self.process.wait(0.05)
        except subprocess.TimeoutExpired:
            return


def run(environment: dict[str, str], *command: str, folder: Path = ROOT, **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(city: World, tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("bentoml")
    guard = tmp_path_factory.mktemp("guard")
    (guard / "sitecustomize.py").write_text(GUARD)
    nowhere = "http://192.0.2.1:9"
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")} | {
        "BENTOML_HOME": str(folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": str(guard),
        "GUARD_LOG": str(guard / "log"),
        "GUARD_BLOCKED": "",
        **dict.fromkeys(["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"], nowhere),
    }
    (guard / "log").touch()
    laid_out = folder / "mlflow_model"
    (laid_out / files.EXTRA).mkdir(parents=True)
    shutil.copy(city.folder / files.ONNX_FILE, laid_out)
    shutil.copy(city.folder / files.CARD_FILE, laid_out / files.EXTRA)
    (laid_out / "MLmodel").write_text("flavors: {}\n")
    first = run(environment, sys.executable, "-c", STORE, str(laid_out), "1").strip()
    bento = run(environment, BENTOML, "build", "--output", "tag").strip().removeprefix("__tag__:")
    second = run(environment, sys.executable, "-c", STORE, str(laid_out), "2").strip()
    return Home(folder / "home", environment, (first, second), bento, guard / "log")
