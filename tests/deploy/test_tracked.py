"""The report in a real MLflow; one that is not there, or does not answer, delays and undoes nothing."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from data.errors import NotFoundError
from deploy import lineage
from deploy.journal import Rollout
from deploy.rollouts import tracked
from tests.training import tiny
from training import tracking

pytestmark = [pytest.mark.filterwarnings(text) for text in tiny.MLFLOW]

ROLLOUT = Rollout(3, 10.0, 70.0, "canary", "b:one", "b:two", {}, "rolled back", "fail: errors", "")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, without an MLflow so far, and a report in it."""
    import mlflow

    for name in [*tracking.QUIET, "MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "DEPLOY_MLFLOW"]:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "rollout-3.html").write_text("how it went")
    with contextlib.chdir(tmp_path):
        yield tmp_path
    mlflow.set_tracking_uri(None)


def log(home: Path, monkeypatch: pytest.MonkeyPatch, **labels: str) -> str:
    """What is said, if the candidate's model has these labels."""
    monkeypatch.setattr(lineage, "labels", lambda tag: {"b:two": labels}[tag])
    said: list[str] = []
    tracked.log(ROLLOUT, home / "rollout-3.html", said.append)
    return "\n".join(said)


def test_the_run_that_trained_it_has_the_report(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    run: str = client.create_run(client.create_experiment("town", artifact_location=str(home / "kept"))).info.run_id
    client.create_registered_model("town")
    client.create_model_version("town", f"{home}/model", run)
    said = log(home, monkeypatch, run_id=run, mlflow_name="town", mlflow_version="1")
    assert said == f"report: in MLflow, run {run}, rollouts/rollout-3.html"
    assert [file.path for file in client.list_artifacts(run, "rollouts")] == ["rollouts/rollout-3.html"]
    assert client.get_run(run).data.tags["rollout"] == "rolled back"
    assert client.get_model_version("town", "1").tags == {"rollout": "rolled back"}
    unknown = log(home, monkeypatch, run_id="0" * 32, mlflow_name="town", mlflow_version="1")
    assert unknown == f"report: not in MLflow: it knows no run {'0' * 32}"
    assert log(home, monkeypatch) == "report: not in MLflow: the model of b:two does not say which run trained it"


def test_without_an_mlflow_none_is_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log(home, monkeypatch, run_id="1") == ""
    assert not (home / "mlflow.db").exists()


def test_it_can_be_switched_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    monkeypatch.setenv("DEPLOY_MLFLOW", "false")
    assert log(home, monkeypatch, run_id="1") == ""


def test_a_server_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said = log(home, monkeypatch, run_id="1")
    assert said.startswith("report: not in MLflow: MLflow does not answer at http://127.0.0.1:9")
    assert said.endswith("the rollout ended all the same")


def test_a_server_that_does_not_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert log(home, monkeypatch, run_id="1") == "report: not in MLflow: no answer within 0.5 s"
        assert time.monotonic() - began < 2.5


def test_a_bento_that_is_gone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    said: list[str] = []

    def gone(_: str) -> dict[str, str]:
        raise NotFoundError("BentoML's store holds no Bento 'b:two'")

    monkeypatch.setattr(lineage, "labels", gone)
    tracked.log(ROLLOUT, home / "rollout-3.html", said.append)
    assert said == ["report: not in MLflow: BentoML's store holds no Bento 'b:two'"]
