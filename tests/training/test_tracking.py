"""What is asked of MLflow, of a real one: a database in the test's folder, a server on this machine, or nobody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from data.errors import ConfigError, RegistryError
from tests.ports import free_ports
from tests.training import tiny
from training import mlflow_errors, promote, registry, stages, tracking

pytestmark = [pytest.mark.filterwarnings(text) for text in (tiny.BOOLEANS, *tiny.MLFLOW)]


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


@pytest.fixture
def rude_server() -> Iterator[int]:
    """A port where someone answers and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.usefixtures("workspace")
def test_connect_gives_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    assert tracking.connect() == uri
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking.connect() == tracking.DEFAULT_URI == "sqlite:///mlflow.db"


@pytest.mark.usefixtures("workspace")
def test_connect_leaves_what_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    tracking.connect()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == tracking.QUIET["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("credentials", "shown"), [("", ""), ("user:pass%40word@", "***@"), ("token-of-mine@", "***@"), (":pass@", "***@")]
)
def test_connect_says_within_seconds_that_nobody_answers(
    credentials: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_ports()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{credentials}127.0.0.1:{port}/mlflow")
    began = time.monotonic()
    with pytest.raises(RegistryError) as caught:
        tracking.connect()
    assert time.monotonic() - began < 2
    assert caught.value.message == (
        f"MLflow does not answer at http://{shown}127.0.0.1:{port}/mlflow ([Errno 111] Connection refused); start it, or "
        "set MLFLOW_TRACKING_URI to one that runs (unset, it is sqlite:///mlflow.db); nothing was registered, `dvc repro` "
        "goes on from here"
    )


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://me:secret@127.0.0.1:port", "is no address: Port could not be cast to integer value as 'port'"),
        ("http://me:secret@127.0.0.1:99999", "is no address: Port out of range 0-65535"),
        ("http://me:secret@[::1", "is no address: Invalid IPv6 URL"),
        ("http://me:secret@", "names no host"),
    ],
)
def test_connect_says_that_an_address_is_none(address: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ConfigError) as caught:
        tracking.connect()
    shown = address.replace("me:secret", "***")
    assert caught.value.message == f"MLFLOW_TRACKING_URI: got {shown!r}, which {fault}"


@pytest.mark.usefixtures("workspace")
def test_connect_takes_an_empty_address_for_none_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking.connect() == tracking.DEFAULT_URI


@pytest.mark.usefixtures("workspace")
def test_connect_masks_the_password_of_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@127.0.0.1:9/mlflow")
    assert tracking.connect() == "postgresql://***@127.0.0.1:9/mlflow"


@pytest.mark.usefixtures("workspace")
def test_a_server_that_hangs_up_is_an_error_without_the_password(
    rude_server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{rude_server}")
    began = time.monotonic()
    tracking.connect()
    with pytest.raises(RegistryError) as caught:
        registry.alias("town", registry.CHAMPION)
    assert time.monotonic() - began < 20
    assert caught.value.message.startswith("MLflow failed: ")
    assert caught.value.message.endswith("; nothing was promoted, the same command tries again")
    assert "secret" not in caught.value.message


@pytest.mark.usefixtures("workspace")
def test_a_kind_of_address_that_mlflow_does_not_know_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "carrier-pigeon://roof")
    tracking.connect()
    with pytest.raises(RegistryError, match=r"^MLflow failed: ") as caught:
        registry.alias("town", registry.CHAMPION)
    assert "\n" not in caught.value.message


def test_a_run_that_raises_is_marked_failed(workspace: Path) -> None:
    tracking.connect()
    with pytest.raises(ZeroDivisionError), tracking.run("town") as run_id:
        _ = 1 / 0
    assert client(workspace).get_run(run_id).info.status == "FAILED"


def test_a_run_that_was_lost_is_marked_failed_by_the_next_of_its_kind(workspace: Path) -> None:
    tracking.connect()
    found = client(workspace)
    experiment = found.create_experiment("town")
    lost = found.create_run(experiment, tags={"model_hash": "md5:1"}).info.run_id
    other = found.create_run(experiment, tags={"model_hash": "md5:2"}).info.run_id
    with tracking.run("town", tags={"model_hash": "md5:1"}) as run_id:
        assert found.get_run(run_id).data.tags["model_hash"] == "md5:1"
        assert [found.get_run(one).info.status for one in (lost, other, run_id)] == ["FAILED", "RUNNING", "RUNNING"]
    assert found.get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("failed with error code 401 != 200", "MLFLOW_TRACKING_USERNAME"),
        ("Permission denied", "the permission EDIT"),
        ("(NoSuchBucket) when calling the PutObject operation", "make the bucket"),
        (
            "500 Server Error for url: http://u:secret@x/api/2.0/mlflow-artifacts/artifacts/1",
            "the store of its artifacts",
        ),
        ("too many 503 error responses", "the server's database"),
    ],
)
def test_what_mlflow_says_gets_its_fix(said: str, fix: str) -> None:
    told = mlflow_errors.explained(RuntimeError(said))
    assert told.startswith("MLflow failed: ")
    assert fix in told
    assert "secret" not in told


def test_a_run_that_mlflow_has_begun_is_continued(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking.connect()
    found = client(workspace)
    begun = found.create_run(found.create_experiment("another")).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", begun)
    with tracking.run("town") as run_id:
        tracking.log({"a.b": 1}, {"c": 2.0}, {"d": "e"})
    assert run_id == begun
    assert found.get_experiment_by_name("town") is None
    data = found.get_run(begun).data
    assert (data.params, data.metrics, data.tags["d"]) == ({"a.b": "1"}, {"c": 2.0}, "e")


def test_log_steps_draws_a_curve_for_each_column(workspace: Path) -> None:
    tracking.connect()
    rows = [{"step": 1, "mae": 2.0, "coverage_80": float("nan")}, {"step": 2, "mae": 3.0, "coverage_80": 0.8}]
    with tracking.run("town") as run_id:
        tracking.log_steps(rows)
    found = client(workspace).get_metric_history(run_id, "by_step.mae")
    assert [(point.step, point.value) for point in found] == [(1, 2.0), (2, 3.0)]


@pytest.mark.usefixtures("workspace")
def test_alias_of_an_unknown_model_is_none() -> None:
    tracking.connect()
    assert registry.alias("nobody", registry.CHAMPION) is None


def test_alias_gives_the_version_with_its_tags(succession: Path) -> None:
    tracking.connect()
    client(succession).delete_registered_model_alias("town", "challenger")
    assert registry.alias("town", registry.CHALLENGER) is None
    found = registry.alias("town", registry.CHAMPION)
    assert found is not None
    assert (found.name, found.number) == ("town", "1")
    assert found.tags["run_id"] == found.run_id
    assert found == registry.version("town", "1")


@pytest.mark.usefixtures("succession")
@pytest.mark.parametrize(("name", "number"), [("town", "9"), ("town", "one"), ("nobody", "1")])
def test_version_that_is_not_there_is_an_error(name: str, number: str) -> None:
    tracking.connect()
    with pytest.raises(RegistryError) as caught:
        registry.version(name, number)
    assert caught.value.message == f"MLflow holds no version {number!r} of {name!r}: see them in `mlflow ui`"


def test_promote_moves_the_alias_and_says_why(succession: Path) -> None:
    tracking.connect()
    found = client(succession)
    source = found.get_model_version("town", "1").source
    second = found.create_model_version("town", source).version
    registry.promote(registry.version("town", str(second)), {"promoted_because": "it was asked for"})
    assert str(found.get_model_version_by_alias("town", "champion").version) == str(second) == "2"
    assert found.get_model_version("town", "2").tags == {"promoted_because": "it was asked for"}


def test_files_gives_model_and_forecasts_for_as_long_as_they_are_needed(succession: Path) -> None:
    tracking.connect()
    with registry.files(registry.version("town", "1")) as (model, forecasts):
        assert (model / "model.onnx").read_bytes() == (succession / "out/model/model.onnx").read_bytes()
        assert forecasts.read_bytes() == (succession / "out/forecasts.parquet").read_bytes()
    assert not model.exists()
    assert not forecasts.exists()


@pytest.mark.pipeline
def test_a_tracking_server_over_http_does_as_the_database_does(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real `mlflow server`; then the same with the server gone in the middle of a run."""
    port = free_ports()
    address = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{workspace}/mlflow.db"),
        *("--artifacts-destination", str(tmp_path / "artifacts")),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    try:
        wait_for(f"{address}/health", server)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        config = tiny.params()
        version, verdict, _ = promote.run(config, *stages.load(config))
        assert (version.number, verdict.passed) == ("1", True)
        version, verdict, _ = promote.run(config, *stages.load(config))
        assert (version.number, verdict.passed) == ("2", True)
        assert verdict.checks[-1].numbers["ratio"] == 1.0
        found = registry.alias("town", registry.CHAMPION)
        assert found is not None
        assert found.number == "2"
        assert list((tmp_path / "artifacts").rglob("model.onnx"))
        assert not (workspace / "mlruns").exists()
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(RegistryError, match=r"^MLflow failed: "):
            in_a_run_while(server)
        with pytest.raises(RegistryError, match=f"^MLflow does not answer at {address} "):
            promote.run(config, *stages.load(config))
    finally:
        end(server)


def in_a_run_while(server: subprocess.Popen[bytes]) -> None:
    """Log to a server that goes away in the middle."""
    with tracking.run("town"):
        end(server)
        tracking.log({}, {"never": 1.0}, {})


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        assert server.poll() is None
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                assert answer.status == 200
                return
        except OSError:
            threading.Event().wait(0.2)
    raise TimeoutError(url)


def end(server: subprocess.Popen[bytes]) -> None:
    """End the server and the worker it has started: they are a process group of their own."""
    if server.poll() is None:
        os.killpg(server.pid, 15)
        server.wait(30)
