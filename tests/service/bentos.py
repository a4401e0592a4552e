"""A BENTOML_HOME with a Bento in it, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data import forecaster as files
from tests.service.live import BENTOML, ROOT, STORE
from tests.service.world import World

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
