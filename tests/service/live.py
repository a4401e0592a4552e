"""The service as its users run it: `bentoml serve` in a process of its own, with a small model, on free ports."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
BENTOML = str(Path(sys.executable).with_name("bentoml"))
READY_SECONDS, END_SECONDS = 120, 20

#: Puts a folder into BentoML's store as `bentoml.mlflow.import_model` lays it out: for each version, or as version 7.
STORE = """
import pathlib, shutil, sys
import bentoml
for version in sys.argv[2:] or ["7"]:
    labels = {"mlflow_name": "bentocast", "mlflow_version": version, "run_id": "run-5", "git_commit": "0" * 40}
    with bentoml.models.create("bentocast", module="bentoml.mlflow", labels=labels | {"data_hash": "md5-1"}) as model:
        shutil.copytree(sys.argv[1], pathlib.Path(model.path) / "mlflow_model")
    print(model.tag)
"""


class Server:
    """`bentoml serve` in a process of its own, and the workers that it starts.

    Attributes:
        port: of HTTP; gRPC has the one after it.
        process: `bentoml serve`, which starts the workers.
        log: what all of them write.
        client: of its HTTP.
    """

    def __init__(self, home: Path, environment: dict[str, str], folder: Path, *target: str) -> None:
        """Start it.

        Args:
            home: BENTOML_HOME; the log is written there.
            environment: of the process, but for BENTOML_HOME.
            folder: where it is started; what is served if there is no target.
            target: a Bento.
        """
        self.port = free_ports()
        self.log = home / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [BENTOML, "serve", *target, "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=folder,
                env=environment | {"BENTOML_HOME": str(home)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    @property
    def url(self) -> str:
        """Where HTTP is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc(self) -> str:
        """Where gRPC is."""
        return f"127.0.0.1:{self.port + 1}"

    @property
    def worker(self) -> Any:
        """The one process that answers, as psutil sees it."""
        (worker,) = self.workers()
        return worker

    def workers(self) -> list[Any]:
        """The processes that answer, as psutil sees them."""
        psutil: Any = importlib.import_module("psutil")
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                if "_bentoml_impl.worker.service" in process.cmdline():
                    found.append(process)
        return found

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> None:
        """Ask until it is; a worker that cannot start is started again for ever, so its log is looked at."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            text = self.log.read_text()
            assert self.process.poll() is None, text
            assert "Traceback" not in text, text
            assert time.monotonic() < deadline, text
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)

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


@contextlib.contextmanager
def serving(home: Path, environment: dict[str, str], folder: Path, *target: str) -> Iterator[Server]:
    """A `Server` from when it is ready until it has ended."""
    server = Server(home, environment, folder, *target)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.end()


@contextlib.contextmanager
def serve(model: Path, folder: Path, **settings: object) -> Iterator[Server]:
    """Serve a model from the project, and end it.

    Args:
        model: where `model.onnx` and `forecaster.json` lie.
        folder: an empty one, for BentoML's store and the log.
        settings: of the service, such as `deadline_seconds=3`.
    """
    home = folder / "home"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BENTOCAST_")}
    environment |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    environment |= {f"BENTOCAST_{key.upper()}": str(value) for key, value in settings.items()}
    subprocess.run([sys.executable, "-c", STORE, str(model)], env=environment, check=True, stdout=subprocess.DEVNULL)
    with serving(home, environment, ROOT) as server:
        yield server
