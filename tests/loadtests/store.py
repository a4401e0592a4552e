"""A BENTOML_HOME with a Bento of today's code and a small model, and the command that puts load on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.service import live

ROOT = Path(__file__).parents[2]
#: Short rounds and wide limits: what is tested here is what the gate does, not how sharp it is.
QUICK: dict[str, Any] = {
    "seconds": 0.2,
    "rounds": 10,
    "connections": 4,
    "load": 0.2,
    "limits": {
        "p50": 3.0,
        "p95": None,
        "p99": None,
        "throughput": 0.3,
        "processor": 2.0,
        "memory": 2.0,
        "errors": 0.05,
    },
}


@dataclass(frozen=True)
class Store:
    """What `make` made.

    Attributes:
        folder: of everything.
        tag: of the Bento.
        environment: of commands; temporary files, and so the lock of load tests, are in `folder`.
    """

    folder: Path
    tag: str
    environment: dict[str, str]

    @classmethod
    def make(cls, model: Path, folder: Path) -> Store:
        """Import and build."""
        temporary = folder / "tmp"
        temporary.mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("BENTOCAST_", "MLFLOW_"))}
        environment = kept | {
            "BENTOML_HOME": str(folder / "home"),
            "BENTOML_DO_NOT_TRACK": "True",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "TMPDIR": str(temporary),
        }
        ran(environment, sys.executable, "-c", live.STORE, str(model))
        labels = ("--label", "mlflow_name=bentocast", "--label", "mlflow_version=1")
        told = ran(environment, live.BENTOML, "build", *labels, "--output", "tag")
        return cls(folder, told.strip().removeprefix("__tag__:"), environment)

    def copy(self, name: str, changes: str) -> str:
        """Another Bento, whose worker module ends with some more code; its tag."""
        model, _, version = self.tag.partition(":")
        bentos = self.folder / "home" / "bentos" / model
        shutil.copytree(bentos / version, bentos / name)
        about = bentos / name / "bento.yaml"
        about.write_text(about.read_text().replace(f"version: {version}\n", f"version: {name}\n", 1))
        module = bentos / name / "src/service/worker.py"
        module.write_text(module.read_text() + changes)
        return f"{model}:{name}"

    def params(self, name: str, protocol: str = "native", **gate: Any) -> Path:
        """A params.yaml with other settings of the gate."""
        whole = yaml.safe_load((ROOT / "params.yaml").read_text())
        whole["loadtest"]["protocol"] = protocol
        whole["loadtest"]["gate"] |= QUICK | gate
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(whole))
        return file

    def command(self, params: Path, *arguments: str) -> list[str]:
        """`python -m loadtests`, with a configuration."""
        return [sys.executable, "-m", "loadtests", "--params", str(params), *arguments]

    def run(self, params: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(params, *arguments),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=240,
        )

    def start(self, params: Path, *arguments: str) -> subprocess.Popen[str]:
        """Run it beside the test; what it tells on stderr can be read line by line."""
        return subprocess.Popen(
            self.command(params, *arguments),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )


def ran(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
