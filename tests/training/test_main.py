"""`python -m training`: help, exit codes, and one line for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from data import command, store
from tests.training import tiny
from training.__main__ import main

pytestmark = [pytest.mark.filterwarnings(text) for text in (tiny.BOOLEANS, *tiny.MLFLOW, *tiny.BENTOML)]

ROOT = Path(__file__).parents[2]
COMMANDS = ["backtest", "train", "promote", "import", "figures"]


def write_params(changes: dict[str, Any] | None = None) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(tiny.params(changes).model_dump(mode="json")))


def run(*arguments: str) -> None:
    write_params()
    command.run(main, list(arguments))


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The one line that says why a command has ended."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        command.run(main, list(arguments))
    assert ended.value.code == code
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    *_, last = shown.splitlines()
    assert last.startswith("error: ")
    assert shown.count("error: ") == 1
    return last.removeprefix("error: ")


def aliases(folder: Path) -> dict[str, str]:
    found = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_registered_model("town").aliases
    return {name: str(number) for name, number in found.items()}


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_says_what_a_command_does(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m training{'' if arguments[0] == '--help' else ' ' + arguments[0]}")
    if arguments[0] == "--help":
        assert all(f"\n    {name} " in shown for name in COMMANDS)
        assert "dvc repro" in shown


def test_help_is_quick_and_imports_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['training', '--help']\n"
        "try:\n    runpy.run_module('training', run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'mlflow', 'sklearn', 'pandas', 'matplotlib', 'bentoml', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "python -m training" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["promote", "--version"], ["import", "--alias", "hero"], ["figures"], ["train", "--fast"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.run(main, arguments)
    assert ended.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err


def test_stages_run_and_say_what_they_found(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("backtest")
    run("train")
    run("promote")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("backtest", "train", "promote"))]
    assert len(said) == 3
    assert said[0].startswith("backtest: MAE 12")
    assert "x); " in said[0]
    assert " in 80 %, " in said[0]
    assert said[0].endswith(" in 95 %")
    assert said[1].startswith("train: 1")
    assert " rows x 10 columns; ONNX within " in said[1]
    assert said[2].startswith("promote: town version 1 is champion; gate PASS: MAE / seasonal naive 0.")
    report = json.loads(store.PROMOTE.read_text())
    assert (report["version"], report["champion"], report["verdict"]["outcome"]) == ("1", True, "pass")
    assert aliases(workspace) == {"challenger": "1", "champion": "1"}


def test_a_challenger_that_does_not_pass_is_no_error_unless_asked(
    succession: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params({"promote": {"gate": {"max_ratio_to_naive": 0.1}}})
    command.run(main, ["promote"])
    assert "promote: town version 2 is challenger only; gate FAIL: MAE / seasonal naive 0." in capsys.readouterr().out
    said = fails(capsys, 7, "promote", "--strict")
    assert said.startswith("the gate did not pass, the champion stays: FAIL: MAE / seasonal naive 0.")
    report = json.loads(store.PROMOTE.read_text())
    assert (report["version"], report["champion"], report["verdict"]["outcome"]) == ("3", False, "fail")
    assert aliases(succession) == {"challenger": "3", "champion": "1"}


def test_a_person_promotes_past_the_gate_with_a_reason(succession: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    client.create_model_version("town", client.get_model_version("town", "1").source)
    run("promote", "--version", "2", "--reason", "the old one has never seen the new shop")
    assert capsys.readouterr().out == ("promote: town version 2 is champion: the old one has never seen the new shop\n")
    assert aliases(succession)["champion"] == "2"
    assert client.get_model_version("town", "2").tags["promoted_because"] == "the old one has never seen the new shop"


@pytest.mark.usefixtures("succession")
def test_a_person_must_give_a_reason_and_a_version_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    write_params()
    said = fails(capsys, 2, "promote", "--version", "1")
    assert said == "--version promotes past the gate: say why with --reason TEXT"
    said = fails(capsys, 2, "promote", "--reason", "I like it")
    assert said == "--reason goes with --version N, the version to promote past the gate"
    said = fails(capsys, 6, "promote", "--version", "9", "--reason", "I like it")
    assert said == "MLflow holds no version '9' of 'town': see them in `mlflow ui`"
    assert aliases(Path.cwd()) == {"challenger": "1", "champion": "1"}


@pytest.mark.usefixtures("workspace")
def test_mistakes_end_with_one_line_and_their_code(capsys: pytest.CaptureFixture[str]) -> None:
    write_params()
    assert fails(capsys, 2, "--params", "none.yaml", "train") == (
        "none.yaml not found: run the command in the project's folder"
    )
    assert fails(capsys, 6, "import").startswith("no champion of 'town' in MLflow yet: run `dvc repro`")
    assert fails(capsys, 6, "import", "--alias", "challenger").startswith("no challenger of 'town' in MLflow yet")
    assert fails(capsys, 4, "figures", "hour.csv").startswith("hour.csv: cannot be read (")
    shutil.rmtree(store.MODEL)
    assert fails(capsys, 5, "promote").startswith("out/model/forecaster.json not found")
    shutil.rmtree(store.OUT)
    for stage in ("backtest", "train", "promote"):
        assert fails(capsys, 3, stage).startswith("out/series.parquet not found: run `dvc repro` to make it")


def test_an_unreachable_server_is_one_line_in_a_process_of_its_own(workspace: Path) -> None:
    write_params()
    done = subprocess.run(
        [sys.executable, "-m", "training", "promote"],
        cwd=workspace,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "http://me:secret@127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: MLflow does not answer at http://***@127.0.0.1:9 (")
    assert "secret" not in line
    assert not (workspace / "mlruns").exists()


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("missing", [store.BACKTEST_METRICS, store.TRAIN_METRICS, store.IMPORTANCE])
def test_promote_before_its_files_are_there_says_which(missing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params()
    missing.unlink()
    assert fails(capsys, 3, "promote") == (
        f"{missing} not found: run `dvc repro` to make it, or `dvc pull` to fetch it"
    )
