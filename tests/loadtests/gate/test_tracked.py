"""Gates in a real MLflow, and the history that is read from it again."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from data import configuration
from data.errors import RegistryError
from data.loadtest import Loadtest
from loadtests import __main__ as commands
from loadtests.gate import report, tracked
from loadtests.gate.bentos import Bento
from loadtests.gate.measured import Gated
from tests.loadtests.gate.made import gated
from tests.loadtests.store import ROOT
from tests.training import tiny
from training import tracking

pytestmark = [pytest.mark.filterwarnings(text) for text in tiny.MLFLOW]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, with a registry of its own."""
    import mlflow

    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        for name in [*tracking.QUIET, "MLFLOW_RUN_ID"]:
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder
    mlflow.set_tracking_uri(None)


def between(found: Gated, baseline: str, candidate: str, **labels: str) -> Gated:
    return replace(found, sides={"baseline": Bento(baseline, {}), "candidate": Bento(candidate, labels)})


def logged(found: Gated, experiment: str, folder: Path) -> str:
    report.write(found, folder)
    return tracked.log(found, experiment, folder)


def registered(home: Path, name: str) -> tuple[MlflowClient, str]:
    """A model with one version, and the run it comes from."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    run: str = client.create_run(client.create_experiment(name)).info.run_id
    client.create_registered_model(name)
    client.create_model_version(name, f"{home}/model", run)
    return client, run


def test_the_version_of_the_candidate_carries_the_verdict(home: Path) -> None:
    client, trained = registered(home, "town")
    found = between(gated(), "b:1", "b:2", mlflow_name="town", mlflow_version="1", run_id=trained)
    run = logged(found, "gates of a version", home / "out")
    assert client.get_model_version("town", "1").tags == {"load_gate": "pass", "load_gate_run": run}
    assert client.get_run(run).data.tags["candidate_model_version"] == "1"
    assert {file.path for file in client.list_artifacts(run, "load_gate")} == {
        "load_gate/gate.html",
        "load_gate/gate.json",
    }


@pytest.mark.parametrize("number", ["1", "9"])
def test_a_version_that_is_not_the_candidates_is_left_alone(home: Path, number: str) -> None:
    """The Bento was made where another registry was: its numbers mean other models."""
    name = f"village {number}"
    client, _ = registered(home, name)
    found = between(gated(), "b:1", "b:2", mlflow_name=name, mlflow_version=number, run_id="of another registry")
    assert logged(found, "gates of no version", home / "out")
    assert client.get_model_version(name, "1").tags == {}


def test_what_was_logged_is_read_again(home: Path) -> None:
    found = gated(1.3)
    run = logged(replace(found, settings=Loadtest(protocol="grpc")), "read again", home / "out")
    (gate,) = tracked.gates("read again")
    sides = (gate.baseline, gate.candidate)
    assert (*sides, gate.protocol, gate.outcome) == ("bentocast:one", "bentocast:two", "grpc", "fail")
    for check in found.verdict.checks:
        if check.name != "generator":
            assert gate.numbers[f"{check.name}.estimate"] == check.numbers["estimate"]
    assert gate.began == MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(run).info.start_time / 1e3


def test_an_mlflow_that_fails_after_the_rounds_leaves_the_report(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "carrier-pigeon://roof")
    with pytest.raises(RegistryError, match=r"^MLflow failed: ") as caught:
        logged(gated(), "failed", home / "left")
    left = home / "left"
    wanted = f"; nothing was promoted, the same command tries again; the report is in {left} all the same"
    assert caught.value.message.endswith(wanted)
    assert caught.value.exit_code == 6
    assert (left / report.PAGE).exists()


def test_a_history_that_crept_beyond_the_limit_exits_with_7(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configuration.load(ROOT / "params.yaml")
    for place in range(6):
        logged(between(gated(1.045), f"b:{place}", f"b:{place + 1}"), config.promote.experiment, home / "out")
    other = replace(between(gated(0.5), "b:6", "b:7"), settings=Loadtest(protocol="grpc"))
    logged(other, config.promote.experiment, home / "out")
    asked = argparse.Namespace(strict=True, out=home / "history")
    assert commands.history(config, asked) == 7
    told = capsys.readouterr().out
    assert "FAIL: from b:0 to b:6 by native, 6 steps\n  p50 1." in told
    assert " > 1.15 (limit)" in told
    assert (home / "history" / "history.html").exists()
    assert commands.history(config, argparse.Namespace(strict=False, out=home / "history")) == 0
