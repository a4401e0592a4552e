"""A copy of the project in a folder of its own, with its data, registry, store and deployment, for a simulation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from data import params
from data.atomic import replacing
from data.params import Params
from monitoring.faults import LoopError

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[2]
TABLE = "table.parquet"
#: Nothing of the caller's own set-up reaches a simulation.
FOREIGN = ("MLFLOW_", "BENTOCAST_", "DEPLOY_", "MONITORING_", "GIT_", "DVC_", "PUSHGATEWAY")


@dataclass(frozen=True)
class Project:
    """A project.

    Attributes:
        folder: of the code; store, registry and deployment lie beside it.
    """

    folder: Path

    @classmethod
    def make(cls, folder: Path, changes: Mapping[str, Any]) -> Project:
        """Copy the project as it stands here, without tests.

        Args:
            folder: new.
            changes: sections of params.yaml, that are put over those that are there.
        """
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for name in listed:
            if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        made = cls(folder)
        whole = yaml.safe_load(made.params.read_text(encoding="utf-8"))
        for section, values in changes.items():
            whole[section] = over(whole.get(section, {}), values)
        made.params.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        made.run("git", "init", "-q")
        made.run("git", "add", "-A")
        made.run("git", "-c", "user.name=simulation", "-c", "user.email=simulation@localhost", "commit", "-qm", "start")
        return made

    def copy(self, folder: Path) -> Project:
        """All of it once more, trained models and Bentos too."""
        shutil.copytree(self.folder.parent, folder.parent, symlinks=True, dirs_exist_ok=True)
        return Project(folder)

    @property
    def params(self) -> Path:
        """Its configuration."""
        return self.folder / "params.yaml"

    def config(self) -> Params:
        """Its configuration, read."""
        return params.load(self.params)

    @property
    def environment(self) -> dict[str, str]:
        """Of all commands in it."""
        beside = self.folder.parent
        own = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        return own | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "BENTOML_HOME": str(beside / "bentoml"),
            "DEPLOY_HOME": str(beside / "deployment"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "BENTOCAST_RECORD_SAMPLE": "1s",  # a simulated day is over in a second
            "BENTOML_DO_NOT_TRACK": "True",
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def write(self, table: pd.DataFrame) -> None:
        """The table that it trains on."""
        with replacing(self.folder / TABLE) as scratch:
            table.to_parquet(scratch, index=False)

    def run(self, *command: str) -> str:
        """Run a command in it.

        Returns:
            What it printed.

        Raises:
            LoopError: it failed.
        """
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LoopError(
                f"`{' '.join(command)}` ended with {done.returncode}: {done.stdout[-1_000:]}{done.stderr[-2_000:]}"
            )
        return done.stdout

    def bento(self) -> str:
        """Train on the table and build what passes the gate: the Bento's tag."""
        self.run("dvc", "repro")
        self.run(sys.executable, "-m", "training", "import")
        labels = self.run(sys.executable, "-m", "training", "labels").split()
        return self.run("bentoml", "build", "-o", "tag", *labels).strip().rpartition("__tag__:")[2]

    def deploy(self, *arguments: str) -> str:
        """A command of `python -m deploy`."""
        return self.run(sys.executable, "-m", "deploy", *arguments)


def over(under: Any, values: Any) -> Any:
    """Values put over others, key by key."""
    if not (isinstance(under, dict) and isinstance(values, Mapping)):
        return values
    return under | {key: over(under.get(key), value) for key, value in values.items()}
