"""A town whose stages have run, to be copied; MLflow and BentoML at home in the test's own folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training import tiny
from training import promote, stages, tracking


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a git commit, all of `out/`, and an MLflow database without any run."""
    folder = tmp_path_factory.mktemp("town")
    with contextlib.chdir(folder):
        config = tiny.params()
        tiny.write_features(config, tiny.panel())
        stages.backtest(config)
        stages.train(config)
        Path("README.md").write_text("A town.\n")
        for arguments in (["init", "--quiet"], ["add", "README.md"], ["commit", "--quiet", "--message", "The town"]):
            identity = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
            subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", "unused")
    return folder


@pytest.fixture(scope="session")
def promoted(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the town whose first model is champion; only to be looked at."""
    folder = tmp_path_factory.mktemp("promoted") / "town"
    shutil.copytree(town, folder)
    with pytest.MonkeyPatch.context() as patch, at_home(folder, patch):
        config = tiny.params()
        promote.run(config, *stages.load(config))
    return folder


@pytest.fixture
def workspace(town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: a copy of the town, with a registry and a BentoML store of its own."""
    folder = tmp_path / "town"
    shutil.copytree(town, folder)
    with at_home(folder, monkeypatch):
        yield folder


@pytest.fixture
def succession(promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Like `workspace`, where the first model is champion; that model's files stay in `promoted`."""
    folder = tmp_path / "town"
    shutil.copytree(promoted, folder)
    with at_home(folder, monkeypatch):
        yield folder


@contextlib.contextmanager
def at_home(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Enter a folder and use the registry in it."""
    import mlflow

    for name in [*tracking.QUIET, "MLFLOW_RUN_ID"]:
        patch.delenv(name, raising=False)
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    with contextlib.chdir(folder):
        yield
    assert mlflow.active_run() is None
    mlflow.set_tracking_uri(None)
