"""What a stage pushes when it ends: to a real Pushgateway, and to gateways that are away or never answer."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from data import pushing
from tests.monitoring.servers import answers, program, wait_for
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    address = f"127.0.0.1:{free_ports()}"
    process = subprocess.Popen(
        [program("prometheus-pushgateway"), f"--web.listen-address={address}"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: answers(f"http://{address}/-/ready"), "the Pushgateway is not ready")
        yield address
    finally:
        process.kill()
        process.wait()


def pushed(gateway: str, stage: str) -> dict[str, float]:
    page = httpx.get(f"http://{gateway}/metrics", trust_env=False).text
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.labels.get("stage") == stage and sample.name.startswith("pipeline_"):
                assert sample.labels == {"job": "pipeline", "stage": stage, "instance": ""}
                found[sample.name.removeprefix("pipeline_stage_")] = sample.value
    return found


@pytest.mark.services
def test_a_failure_leaves_the_time_of_the_last_success(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pushing.GATEWAY, gateway)
    before = time.time()
    with pushing.told("train"):
        time.sleep(0.05)
    first = pushed(gateway, "train")
    assert first["success"] == 1
    assert 0.05 <= first["duration_seconds"] < 5
    assert before <= first["last_success_timestamp_seconds"] == first["last_run_timestamp_seconds"] <= time.time()
    with pytest.raises(ValueError, match="on purpose"), pushing.told("train"):
        raise ValueError("on purpose")
    second = pushed(gateway, "train")
    assert second["success"] == 0
    assert second["last_success_timestamp_seconds"] == first["last_success_timestamp_seconds"]
    assert second["last_run_timestamp_seconds"] > first["last_run_timestamp_seconds"]


@pytest.mark.services
def test_a_stage_that_is_interrupted_has_begun_and_not_ended(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pushing.GATEWAY, gateway)
    before = time.time()

    def interrupted() -> None:
        with pushing.told("ingest"):
            wait_for(lambda: bool(pushed(gateway, "ingest")), "it is not told that the stage began")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (began,) = pushed(gateway, "ingest").items()
    assert began[0] == "started_timestamp_seconds"
    assert before <= began[1] <= time.time()


@pytest.mark.services
@pytest.mark.parametrize(("room", "stage"), [("data", "features"), ("training", "backtest")])
def test_the_commands_of_dvc_push(gateway: str, room: str, stage: str, tmp_path: Path) -> None:
    """Here a failure: there is no table."""
    done = subprocess.run(
        [sys.executable, "-m", room, "--params", ROOT / "params.yaml", stage],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PUSHGATEWAY": gateway, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert pushed(gateway, stage)["success"] == 0


def test_a_gateway_that_is_away_is_told_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_ports()
    monkeypatch.setenv(pushing.GATEWAY, f"http://user:secret@127.0.0.1:{port}")
    with pushing.told("train"):
        pass
    said = capsys.readouterr().err
    assert said.startswith(f"the Pushgateway at http://***@127.0.0.1:{port} was not told that train ended: ")
    assert "secret" not in said


def test_a_gateway_that_never_answers_costs_two_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv(pushing.GATEWAY, f"127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pushing.told("train"):
            pass
        assert time.monotonic() - began < pushing.LIMIT_SECONDS + 1
    assert "was not told that train ended: " in capsys.readouterr().err


def test_without_a_gateway_nothing_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(pushing.GATEWAY, raising=False)
    with pushing.told("train"):
        pass
    assert capsys.readouterr().err == ""
