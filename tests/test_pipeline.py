"""The pipeline as a DVC user drives it: the real dvc, the real stages, a small city, a project of its own."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import data.__main__
import training.__main__
from data import command, durations

ROOT = Path(__file__).parents[1]
STAGES = ["ingest", "features", "backtest", "train", "promote"]
SMALL_TREES = {"max_iter": 10, "max_leaf_nodes": 7, "min_samples_leaf": 20}

pytestmark = pytest.mark.pipeline


class Project:
    """A copy of the project in a folder of its own, under git, with small settings."""

    #: Of its commands, besides what all of them have.
    environment: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = self._git("ls-files", "-co", "--exclude-standard", cwd=ROOT).split("\n")
        for name in filter(None, files):
            if (ROOT / name).is_file() and not name.startswith(("tests/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.edit(
            {
                "ingest.sample": {"stations": 2, "start": "2024-01-01", "end": "2024-04-09T23:00"},
                "backtest": {"folds": 3, "fold": "7d", "every": "7d", "stride": 24},
                "train": {"max_rows": 4_000, "point": dict(SMALL_TREES), "spread": dict(SMALL_TREES)},
                "promote.gate": {"min_days": 10, "coverage_tolerance": 0.5, "max_ratio_to_naive": 5.0},
            }
        )
        self._git("init", "-q")
        self.commit("start")

    def edit(self, changes: dict[str, Any]) -> None:
        """Merge changes into params.yaml; `a.b` names a nested section, None removes a key's own settings."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            section = params
            *parents, last = key.split(".")
            for parent in parents:
                section = section.setdefault(parent, {})
            merge = isinstance(value, dict) and isinstance(section.get(last), dict) and value
            section[last] = {**section[last], **value} if merge else value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def run(self, *command: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "GIT_"))}
        env |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BENTOML_HOME": str(self.folder.parent / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "DVC_NO_ANALYTICS": "1",
            **self.environment,
        }
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=env,
            text=True,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            **more,
        )
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def repro(self, *arguments: str) -> list[str]:
        """`dvc repro`; gives the stages that ran."""
        done = self.run("dvc", "repro", *arguments)
        return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]

    def commit(self, message: str) -> None:
        self._git("add", "-A")
        self._git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", message)

    def out(self) -> dict[str, str]:
        """Hash of every file that the pipeline made."""
        files = sorted(path for path in (self.folder / "out").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def json(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "out" / name).read_text())
        return content

    def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(["git", *arguments], cwd=cwd or self.folder, check=True, capture_output=True, text=True)
        return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline has run once; tests leave it as they found it."""
    project = Project(tmp_path_factory.mktemp("made") / "project")
    assert project.repro() == STAGES
    project.commit("first run")
    return project


@pytest.fixture
def copy(made: Project, tmp_path: Path) -> Project:
    """A copy of the finished project that a test may change."""
    shutil.copytree(made.folder, tmp_path / "project", symlinks=True)
    project = Project.__new__(Project)
    project.folder = tmp_path / "project"
    return project


def test_repro_runs_nothing_when_nothing_changed(made: Project) -> None:
    assert made.repro() == []
    assert "Data and pipelines are up to date" in made.run("dvc", "repro").stdout


def test_repro_makes_what_a_user_looks_at(made: Project) -> None:
    shown = made.run("dvc", "metrics", "show", "--json").stdout
    assert {"mae", "naive_mae", "coverage_80"} <= set(json.loads(shown)[""]["data"]["out/backtest.json"]["data"])
    assert made.json("train.json")["parity"] <= 1e-5
    assert made.json("promote.json")["champion"] is True
    made.run("dvc", "plots", "show", "-o", str(made.folder.parent / "plots"))
    assert "mean absolute error by step" in (made.folder.parent / "plots" / "index.html").read_text()


def test_repro_runs_only_what_depends_on_a_change(copy: Project) -> None:
    copy.edit({"promote.gate.max_ratio_to_champion": 1.5})
    assert copy.repro() == ["promote"]
    copy.edit({"train.max_rows": 3_000})
    assert copy.repro() == ["backtest", "train", "promote"]


def test_exp_run_and_metrics_diff(copy: Project) -> None:
    copy.run("dvc", "exp", "run", "-n", "shallow", "-S", "train.point.max_iter=2")
    diff = json.loads(copy.run("dvc", "metrics", "diff", "--json").stdout)
    assert diff["out/backtest.json"]["mae"]["diff"] != 0
    assert "shallow" in copy.run("dvc", "exp", "show", "--csv").stdout


def test_pull_brings_a_wiped_workspace_back_byte_for_byte(copy: Project) -> None:
    before = copy.out()
    copy.run("dvc", "remote", "modify", "local", "url", str(copy.folder.parent / "remote"))
    copy.run("dvc", "push")
    shutil.rmtree(copy.folder / "out")
    shutil.rmtree(copy.folder / ".dvc" / "cache")
    copy.run("dvc", "pull")
    assert copy.out() == before
    assert copy.repro() == []


def _monthly(months: range) -> pd.DataFrame:
    """Two series of an hour, without covariates, for some months of 2024."""
    hours = pd.date_range("2024-01-01", periods=24 * 31 * 12, freq="h")
    hours = hours[(hours.year == 2024) & hours.month.isin(list(months))]
    rng = np.random.default_rng(0)
    rides = [20 + 15 * np.sin(hours.hour / 3.8) + rng.normal(0, 2, hours.size) + 10 * place for place in range(2)]
    parts = [
        pd.DataFrame({"place": f"p{place}", "at": hours, "count": values.round(2)})
        for place, values in enumerate(rides)
    ]
    return pd.concat(parts)


OWN_SERIES = {
    "id": "place",
    "timestamp": "at",
    "target": "count",
    "frequency": "1h",
    "nonnegative": False,
    "covariates": {"future": [], "past": []},
    "limits": {},
}


def test_a_month_more_in_a_folder_of_files_reruns_what_depends_on_it(copy: Project) -> None:
    (copy.folder / "mine").mkdir()
    for month in range(1, 5):
        _monthly(range(month, month + 1)).to_csv(copy.folder / "mine" / f"2024-{month:02}.csv", index=False)
    copy.edit(
        {
            "series": OWN_SERIES,
            "ingest": {"source": "csv", "path": "mine"},
            "features.matched_means.match": "is_weekend",
        }
    )
    assert copy.repro() == STAGES
    rows = copy.json("ingest.json")["rows"]
    _monthly(range(5, 6)).to_csv(copy.folder / "mine" / "2024-05.csv", index=False)
    assert copy.repro() == STAGES
    assert copy.json("ingest.json")["rows"] == rows + 2 * 24 * 31
    assert "MAE / champion's" in json.dumps(copy.json("promote.json"))
    assert copy.repro() == []


@pytest.mark.parametrize(
    ("frequency", "periods", "features", "backtest"),
    [
        (
            "15min",
            4 * 24 * 40,
            {"horizon": 8, "scale": "1d", "lags": [1, 4], "seasonal_lags": ["1d"], "seasonal_means": {"1d": 3},
             "moving_averages": ["15min", "3h", "1d"], "rolling_spread": ["1d"], "matched_means": None,
             "calendar": ["minute_of_day", "day_of_week"]},
            {"season": "1d", "stride": 8},
        ),
        (
            "1d",
            500,
            {"horizon": 7, "scale": "30d", "lags": [1, 2], "seasonal_lags": ["7d"], "seasonal_means": {"7d": 4},
             "moving_averages": ["1d", "7d", "30d"], "rolling_spread": ["7d"], "matched_means": None,
             "calendar": ["day_of_week", "month"]},
            {"fold": "28d", "every": "28d", "stride": 1},
        ),
    ],
)  # fmt: skip
def test_another_shape_runs_by_params_alone(
    copy: Project, frequency: str, periods: int, features: dict[str, Any], backtest: dict[str, Any]
) -> None:
    """Another frequency, no covariates, two series of different length."""
    rng = np.random.default_rng(1)
    parts = []
    for name, length in (("long", periods), ("short", periods * 4 // 5)):
        times = pd.date_range("2023-03-01", periods=periods, freq=pd.Timedelta(seconds=durations.seconds(frequency)))[
            -length:
        ]
        values = rng.normal(0, 3, length) + 5 * np.sin(np.arange(length) / 7)
        parts.append(pd.DataFrame({"place": name, "at": times, "count": values}))
    pd.concat(parts).to_parquet(copy.folder / "mine.parquet", index=False)
    copy.edit(
        {
            "series": {
                **OWN_SERIES,
                "frequency": frequency,
                "gaps": {"target": "interpolate", "covariates": "forward"},
            },
            "ingest": {"source": "parquet", "path": "mine.parquet"},
            "features": features,
            "backtest": backtest,
            "promote.gate.max_ratio_to_naive": 50.0,
        }
    )
    assert copy.repro() == STAGES
    assert copy.json("ingest.json")["series"] == 2
    assert copy.json("train.json")["parity"] <= 1e-5


def _break_csv(text: str) -> Callable[[Project], None]:
    def apply(project: Project) -> None:
        (project.folder / "mine.csv").write_text(text)
        project.edit(
            {"series": OWN_SERIES, "ingest": {"source": "csv", "path": "mine.csv"}, "features.matched_means": None}
        )

    return apply


def _set(key: str, value: Any) -> Callable[[Project], None]:
    return lambda project: project.edit({key: value})


@pytest.mark.parametrize(
    ("spoil", "stage", "code", "text"),
    [
        (_set("features.lagz", [1]), "ingest", 2, "features.lagz: unknown key, did you mean 'lags'?"),
        (_set("features.horizon", 0), "ingest", 2, "features.horizon: got 0"),
        (_set("features.seasonal_lags", ["12h"]), "ingest", 2, "is not known at the origin"),
        (_set("features.scale", "200d"), "features", 3, "has 2400 rows"),
        (_set("backtest.folds", 50), "backtest", 3, "too short for 50 folds"),
        (_break_csv("place,at\na,2024-01-01T00:00\n"), "ingest", 3, "'count'"),
        (_break_csv("place,at,count\na,2024-01-01T00:00,many\n"), "ingest", 3, "is no number in 1 rows"),
        (_break_csv("place,at,count\n" + "a,2024-01-01T00:00,1\n" * 2), "ingest", 3, "repeats in series 'a'"),
        (_break_csv("place,at,count\na,2024-01-01T00:00,1\na,2024-01-01T00:30,2\n"), "ingest", 3, "does not fit the frequency"),
        (_break_csv("place,at,count\na,2024-01-01T00:00+01:00,1\na,2024-04-01T00:00+02:00,2\n"), "ingest", 3, "time zone jumps"),
        (_break_csv("place,at,count\n"), "ingest", 3, "no rows"),
        (_break_csv(""), "ingest", 3, "empty"),
        (_break_csv("place,at,count\na,2024-01-01T00:00,\n"), "ingest", 3, "missing in every row of series 'a'"),
        (_break_csv("place,at,count\na,2024-01-01T00:00,inf\n"), "ingest", 3, "wanted finite numbers"),
        (_break_csv("place,at,count\na,2024-01-01T00:00,1\na,2024-01-01T01:00,2\n"), "features", 3, "has 2 rows"),
    ],
)  # fmt: skip
def test_bad_input_gives_one_error_and_leaves_everything(
    copy: Project,
    spoil: Callable[[Project], None],
    stage: str,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(copy.folder)
    spoil(copy)
    for earlier in STAGES[: STAGES.index(stage)]:
        _main(earlier)([earlier])
    before = copy.out()
    with pytest.raises(SystemExit) as ended:
        command.run(_main(stage), [stage])
    errors = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == code
    assert errors[-1].startswith("error: ")
    assert text in errors[-1]
    assert copy.out() == before


def test_repro_that_fails_leaves_everything(copy: Project) -> None:
    before = copy.out()
    _break_csv("place,at,count\na,2024-01-01T00:00,many\n")(copy)
    done = copy.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "error: column 'count' is no number in 1 rows (row 1: 'many')" in done.stderr
    assert "Traceback" not in done.stderr
    assert copy.out() == before


def _main(stage: str) -> Callable[[list[str]], None]:
    return data.__main__.main if stage in ("ingest", "features") else training.__main__.main


@pytest.mark.parametrize("stage", STAGES[:4])
def test_a_full_disk_leaves_the_outputs_as_they_were(copy: Project, stage: str) -> None:
    """A limit on the size of files stands in for the full disk: writes fail halfway, for real."""
    before = copy.out()

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))

    room = _main(stage).__module__.partition(".")[0]
    done = copy.run(sys.executable, "-B", "-m", room, stage, check=False, preexec_fn=limited)
    assert done.returncode == 74, done.stderr
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert copy.out() == before


def test_an_unreachable_mlflow_server_costs_no_training(copy: Project) -> None:
    before = copy.out()
    copy.edit({"promote.gate.max_ratio_to_champion": 1.4})
    done = copy.run("env", "MLFLOW_TRACKING_URI=http://u:secret@127.0.0.1:9", "dvc", "repro", check=False)
    assert done.returncode != 0
    assert "MLflow does not answer at http://***@127.0.0.1:9" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert copy.out() == before


def test_import_says_when_there_is_no_champion(copy: Project) -> None:
    copy.edit({"promote.experiment": "another"})
    done = copy.run(sys.executable, "-m", "training", "import", check=False)
    assert done.returncode == 6
    assert "no champion of 'another' in MLflow yet" in done.stderr


def test_bento_of_the_champion_tells_its_lineage(copy: Project) -> None:
    copy.run(sys.executable, "-m", "training", "import")
    assert "was imported before" in copy.run(sys.executable, "-m", "training", "import").stdout
    copy.run("bentoml", "build")
    lineage = copy.run(sys.executable, "-m", "deploy", "lineage").stdout
    promoted = copy.json("promote.json")
    assert f"bentocast version {promoted['version']}" in lineage
    assert promoted["run_id"] in lineage
    assert hashlib.md5((copy.folder / "out/series.parquet").read_bytes(), usedforsecurity=False).hexdigest() in lineage


def test_example_is_a_request_of_the_series(made: Project) -> None:
    request = json.loads(made.run(sys.executable, "-m", "data", "example", "s02").stdout)
    assert request["inputs"][0]["name"] == "s02"
    assert len(request["inputs"][0]["future_covariates"]["temperature"]) == 24
