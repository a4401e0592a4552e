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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
READY_SECONDS, END_SECONDS = 120, 20

#: Puts a folder into BentoML's store as `bentoml.mlflow.import_model` lays it out.
STORE = """
import pathlib, shutil, sys
import bentoml
labels = {"mlflow_name": "bentocast", "mlflow_version": "7", "git_commit": "0" * 40}
with bentoml.models.create("bentocast", module="bentoml.mlflow", labels=labels) as model:
    shutil.copytree(sys.argv[1], pathlib.Path(model.path) / "mlflow_model")
"""


@dataclass(frozen=True)
class Live:
    """A service that runs.

    Attributes:
        port: of HTTP; gRPC has the one after it.
        process: `bentoml serve`, which starts the worker.
        log: what both write.
    """

    port: int
    process: subprocess.Popen[bytes]
    log: Path

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
        """The process that answers, as psutil sees it."""
        psutil: Any = importlib.import_module("psutil")
        family = psutil.Process(self.process.pid).children(recursive=True)
        (worker,) = (child for child in family if "_bentoml_impl.worker.service" in child.cmdline())
        return worker

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=10).status_code == 200
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def serve(model: Path, folder: Path, **settings: object) -> Iterator[Live]:
    """Serve a model from the project, and end it.

    Args:
        model: where `model.onnx` and `forecaster.json` lie.
        folder: an empty one, for BentoML's store and the log.
        settings: of the service, such as `deadline_seconds=3`.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BENTOCAST_")}
    environment |= {"BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    environment |= {f"BENTOCAST_{key.upper()}": str(value) for key, value in settings.items()}
    subprocess.run([sys.executable, "-c", STORE, str(model)], env=environment, check=True, stdout=subprocess.DEVNULL)
    port = free_ports()
    log = folder / "serve.log"
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [bentoml, "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    live = Live(port, process, log)
    try:
        _wait_until_ready(live)
        yield live
    finally:
        _end(live)


def _wait_until_ready(live: Live) -> None:
    """Ask until it is; a worker that cannot start is started again for ever, so its log is looked at."""
    deadline = time.monotonic() + READY_SECONDS
    while not live.is_ready():
        text = live.log.read_text()
        assert live.process.poll() is None, text
        assert "Traceback" not in text, text
        assert time.monotonic() < deadline, text
        with contextlib.suppress(subprocess.TimeoutExpired):
            live.process.wait(0.05)


def _end(live: Live) -> None:
    """Ask it to end, as Ctrl-C and Kubernetes do, and see that nothing is left."""
    psutil: Any = importlib.import_module("psutil")
    if live.process.poll() is None:
        family = psutil.Process(live.process.pid).children(recursive=True)
        os.killpg(live.process.pid, signal.SIGTERM)
        try:
            live.process.wait(END_SECONDS)
        finally:
            _, alive = psutil.wait_procs(family, timeout=END_SECONDS)
            for process in alive:
                process.kill()
            live.process.kill()
        assert not alive, live.log.read_text()
