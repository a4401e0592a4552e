"""From a model on disk to a version in a real MLflow registry, and who becomes champion."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from data import frame, store
from data.errors import RegistryError
from data.forecaster import Forecaster
from data.panel import Panel
from data.params import Params
from data.verdict import Check, Outcome, Verdict
from tests.training import tiny
from training import estimator, forecasts, packages, promote, stages, tracking
from training.registry import Version

pytestmark = [pytest.mark.filterwarnings(text) for text in (tiny.BOOLEANS, *tiny.MLFLOW)]

PARAMS = tiny.params()
#: Trees that learn next to nothing.
WORSE = {"train": {"point": {"max_iter": 1, "learning_rate": 0.01}}, "promote": {"gate": {"max_ratio_to_naive": 9.0}}}


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def trained(config: Params, panel: Panel) -> None:
    tiny.write_features(config, panel)
    stages.backtest(config)
    stages.train(config)


def run(config: Params) -> tuple[Version, Verdict]:
    version, verdict, _ = promote.run(config, *stages.load(config))
    return version, verdict


def versus(verdict: Verdict) -> Check:
    (found,) = (check for check in verdict.checks if check.name == "MAE / champion's")
    return found


def aliases(folder: Path) -> dict[str, str]:
    return {name: str(number) for name, number in client(folder).get_registered_model("town").aliases.items()}


@pytest.fixture(scope="session")
def first(promoted: Path) -> Any:
    """The run of the first model."""
    found = client(promoted)
    return found.get_run(found.get_model_version("town", "1").run_id)


def test_the_first_model_that_passes_becomes_champion(promoted: Path) -> None:
    assert aliases(promoted) == {"challenger": "1", "champion": "1"}
    version = client(promoted).get_model_version("town", "1")
    assert version.tags["gate"] == "pass"
    assert version.tags["gate_reason"].startswith("PASS: MAE / seasonal naive 0.")
    assert "champion" not in version.tags["gate_reason"]
    assert version.tags["promoted_because"] == "the gate passed"


def test_the_version_knows_where_it_comes_from(promoted: Path, first: Any) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=promoted, capture_output=True, text=True, check=True)
    wanted = {
        "run_id": first.info.run_id,
        "git_commit": head.stdout.strip(),
        "git_dirty": "false",
        "data_hash": "md5:" + hashlib.md5((promoted / store.SERIES).read_bytes(), usedforsecurity=False).hexdigest(),
        **{
            tag: "md5:" + hashlib.md5((promoted / store.MODEL / name).read_bytes(), usedforsecurity=False).hexdigest()
            for tag, name in {
                "model_hash": "model.onnx",
                "card_hash": "forecaster.json",
                "examples_hash": "examples.json",
            }.items()
        },
    }
    tags = client(promoted).get_model_version("town", "1").tags
    assert {name: tags[name] for name in wanted} == wanted
    assert {name: first.data.tags[name] for name in wanted} == wanted
    assert {f"package.{name}" for name in packages.PACKAGES} <= set(first.data.tags)
    assert first.data.tags["python"].startswith("3.")


def test_the_run_holds_the_whole_configuration(first: Any) -> None:
    assert first.info.status == "FINISHED"
    logged = first.data.params
    assert logged["train.point.max_iter"] == "10"
    assert logged["features.seasonal_lags"] == "['1d']"
    assert logged["promote.gate.min_days"] == "10"
    assert logged["series.covariates.future"] == "['rain']"
    assert {name.split(".")[0] for name in logged} == set(Params.model_fields)


def test_the_run_holds_figures_and_what_they_cost(promoted: Path, first: Any) -> None:
    logged = first.data.metrics
    written = json.loads((promoted / store.BACKTEST_METRICS).read_text())
    for name in ("mae", "mae_ratio", "bias", "coverage_80", "width_95"):
        assert logged[f"backtest.{name}"] == pytest.approx(written[name], rel=1e-5)
    for stage in ("backtest", "train"):
        assert logged[f"cost.{stage}.seconds"] > 0
        assert logged[f"cost.{stage}.cpu_seconds"] > 0
        assert logged[f"cost.{stage}.peak_memory_bytes"] > 10_000_000
    assert logged["export.parity"] <= 1e-5
    assert logged["export.rows"] > 100
    curve = client(promoted).get_metric_history(first.info.run_id, "by_step.mae")
    assert [point.step for point in curve] == [1, 2, 3, 4, 5, 6]


def test_the_run_holds_the_data_set_by_its_hash(promoted: Path, first: Any) -> None:
    (used,) = first.inputs.dataset_inputs
    assert used.dataset.name == "sales"
    assert used.dataset.digest == first.data.tags["data_hash"].removeprefix("md5:")
    assert [tag.value for tag in used.tags] == ["training"]
    assert json.loads(used.dataset.profile)["num_rows"] == tiny.panel().target.size
    columns = json.loads(used.dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["series_id", "timestamp", "target", "observed", "rain"]


def test_the_run_holds_plots_verdict_and_forecasts(promoted: Path, first: Any) -> None:
    found = client(promoted)
    run_id = first.info.run_id
    plots = [file.path for file in found.list_artifacts(run_id, "plots")]
    assert plots == [f"plots/{name}.png" for name in ("coverage_by_step", "error_by_step", "forecast", "importance")]
    assert all(file.file_size > 1_000 for file in found.list_artifacts(run_id, "plots"))
    artifacts = Path(first.info.artifact_uri.removeprefix("file://"))
    verdict = Verdict.model_validate_json((artifacts / "gate.json").read_text())
    assert verdict.passed
    assert str(verdict) == found.get_model_version("town", "1").tags["gate_reason"]
    assert (artifacts / tracking.FORECASTS).read_bytes() == (promoted / store.FORECASTS).read_bytes()


def test_the_model_has_a_signature_an_example_and_its_card(promoted: Path) -> None:
    import mlflow

    source = Path(str(client(promoted).get_model_version_download_uri("town", "1")).removeprefix("file://"))
    model = mlflow.models.Model.load(str(source))
    signature = model.signature.to_dict()
    (features,) = json.loads(signature["inputs"])
    assert (features["name"], features["tensor-spec"]) == ("features", {"dtype": "float32", "shape": [-1, 10]})
    assert [
        (part["name"], part["tensor-spec"]["dtype"], part["tensor-spec"]["shape"])
        for part in json.loads(signature["outputs"])
    ] == [("point", "float32", [-1, 1]), ("spread", "float32", [-1, 1])]
    assert set(model.flavors) == {"onnx", "python_function"}
    example = model.load_input_example(str(source))
    assert example["features"].shape == (promote.EXAMPLE_ROWS, 10)
    loaded, written = Forecaster.load(source), Forecaster.load(promoted / store.MODEL)
    assert loaded.card == written.card
    rows = example["features"].astype(np.float32)
    answered = mlflow.pyfunc.load_model(str(source)).predict({"features": rows})
    assert np.allclose(answered["point"][:, 0], written.run(rows)[0])


@pytest.mark.usefixtures("succession")
def test_the_same_data_again_is_compared_with_the_champion(succession: Path) -> None:
    version, verdict = run(PARAMS)
    assert version.number == "2"
    check = versus(verdict)
    assert check.outcome is Outcome.PASS
    assert check.numbers["ratio"] == check.numbers["low"] == check.numbers["high"] == 1.0
    made = forecasts.read(store.FORECASTS, *design_of(PARAMS))[0]
    assert check.numbers["pairs"] == (~np.isnan(made.actual)).sum()
    assert check.text in client(succession).get_model_version("town", "2").tags["gate_reason"]
    assert aliases(succession) == {"challenger": "2", "champion": "2"}


def design_of(config: Params) -> tuple[Any, Panel, Any]:
    panel, design = stages.load(config)
    return design, panel, frame.read_features(store.FEATURES, design)


def test_a_clearly_worse_challenger_stays_challenger(succession: Path) -> None:
    config = tiny.params(WORSE)
    trained(config, tiny.panel())
    version, verdict = run(config)
    check = versus(verdict)
    assert verdict.outcome is check.outcome is Outcome.FAIL
    assert check.numbers["low"] > check.numbers["limit"]
    assert f"> {check.numbers['limit']:.4g} (limit), " in str(verdict)
    assert aliases(succession) == {"challenger": "2", "champion": "1"}
    tags = client(succession).get_model_version("town", "2").tags
    assert tags["gate"] == "fail"
    assert "promoted_because" not in tags
    assert client(succession).get_run(version.run_id).data.tags["gate"] == "fail"


@pytest.mark.usefixtures("succession")
def test_on_later_data_the_champion_forecasts_what_it_has_not_seen() -> None:
    """Six days on, a fold of three days is old to both (its forecasts are kept), the last days are new to the champion."""
    old, panel = tiny.panel((576, 576)), later(144)
    assert np.array_equal(panel.target[: old.target.size // 2], old.target[: old.target.size // 2])
    champion = Forecaster.load(store.MODEL)
    kept, _ = forecasts.read(store.FORECASTS, *design_of(PARAMS))
    known = {(int(old.series[row]), str(old.times[row])): kept.point[place] for place, row in enumerate(kept.origins)}
    trained(PARAMS, panel)
    design, panel, table = design_of(PARAMS)
    made, _ = forecasts.read(store.FORECASTS, design, panel, table)
    ours, theirs = [], []
    for place, row in enumerate(made.origins):
        if panel.times[row] >= old.times.max():
            point = champion.forecast(panel, np.array([row])).point[0]
        elif (key := (int(panel.series[row]), str(panel.times[row]))) in known:
            point = known[key]
        else:
            continue
        actual = estimator.actuals(panel, np.array([row]), 6)[0]
        ours.append(np.abs(made.point[place] - actual))
        theirs.append(np.abs(point - actual))
    check = versus(run(PARAMS)[1])
    assert check.numbers["pairs"] == np.size(ours) > 300
    assert check.numbers["ratio"] == pytest.approx(np.sum(ours) / np.sum(theirs), rel=1e-6)


@pytest.mark.usefixtures("succession")
def test_on_a_table_that_the_stride_does_not_fit_the_champion_is_compared_with() -> None:
    """Five hours on, with origins every three hours: too few for the champion's model, so it is its backtest that counts."""
    trained(PARAMS, later(5))
    check = versus(run(PARAMS)[1])
    assert "days with forecasts of both" not in check.text
    assert check.numbers["pairs"] > 1_000


def later(hours: int) -> Panel:
    """The town's series, some hours longer."""
    old, new = tiny.panel((576, 576)), tiny.panel((hours, hours), seed=9)

    def joined(one: Any, other: Any) -> Any:
        return np.concatenate([one[:576], other[:hours], one[576:], other[hours:]])

    return dataclasses.replace(
        old,
        offsets=np.array([0, 576 + hours, 2 * (576 + hours)]),
        target=joined(old.target, new.target),
        observed=joined(old.observed, new.observed),
        covariates={"rain": joined(old.covariates["rain"], new.covariates["rain"])},
    )


def files_of_champion(folder: Path) -> tuple[Path, Path]:
    """Where MLflow keeps version 1: the model's folder and the run's."""
    found = client(folder)
    run_id = found.get_model_version("town", "1").run_id
    places = (found.get_model_version_download_uri("town", "1"), found.get_run(run_id).info.artifact_uri)
    model, artifacts = (Path(str(place).removeprefix("file://")) for place in places)
    assert (model / "model.onnx").exists()
    return model, artifacts


def test_a_champion_whose_forecasts_are_gone_stays(workspace: Path) -> None:
    run(PARAMS)
    shutil.rmtree(files_of_champion(workspace)[1] / "backtest")
    check = versus(run(PARAMS)[1])
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.text.startswith("champion 1 cannot be compared with: MLflow failed: ")
    assert aliases(workspace) == {"challenger": "2", "champion": "1"}


def test_a_champion_whose_model_is_damaged_is_compared_by_its_forecasts_alone(workspace: Path) -> None:
    run(PARAMS)
    (files_of_champion(workspace)[0] / "extra_files" / "forecaster.json").write_text("{}")
    kept = store.FORECASTS.rename("kept.parquet")
    trained(PARAMS, later(48))
    design, panel, table = design_of(PARAMS)
    made, _ = forecasts.read(store.FORECASTS, design, panel, table)
    both = ~np.isnan(forecasts.matched(kept, panel, made))
    assert 0 < both.sum() < both.size
    assert versus(run(PARAMS)[1]).numbers["pairs"] == both.sum()


@pytest.mark.usefixtures("succession")
def test_a_champion_of_another_table_is_not_compared_with_and_stays() -> None:
    panel = dataclasses.replace(tiny.panel(), ids=("kiosk 0", "kiosk 1"))
    trained(PARAMS, panel)
    _, verdict = run(PARAMS)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "MAE / champion's: 0 days with forecasts of both < 10 (fewest)" in str(verdict)
    assert aliases(Path.cwd()) == {"challenger": "2", "champion": "1"}


def test_an_error_on_the_way_leaves_the_champion_and_a_failed_run(succession: Path) -> None:
    store.IMPORTANCE.write_text("column,rise\nstep,much\n")
    with pytest.raises(ValueError, match="much"):
        run(PARAMS)
    assert aliases(succession) == {"challenger": "1", "champion": "1"}
    found = client(succession)
    experiment = found.get_experiment_by_name("town").experiment_id
    assert sorted(run.info.status for run in found.search_runs([experiment])) == ["FAILED", "FINISHED"]
    assert len(found.search_model_versions("name = 'town'")) == 1


@pytest.mark.usefixtures("workspace")
def test_names_of_columns_may_hold_commas_and_quotes() -> None:
    name = 'wind, in "knots"'
    config = tiny.params({"series": {"covariates": {"future": [name]}}})
    panel = tiny.panel()
    trained(config, dataclasses.replace(panel, covariates={name: panel.covariates["rain"]}))
    version, _ = run(config)
    assert version.number == "1"


def test_lineage_outside_git_is_unknown(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(workspace / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workspace.parent))
    found = promote.lineage("a run")
    assert (found["git_commit"], found["git_dirty"]) == ("unknown", "unknown")
    monkeypatch.setenv("PATH", str(workspace))
    assert promote.lineage("a run") == found


def test_lineage_sees_changes_to_files_that_git_knows(workspace: Path) -> None:
    assert promote.lineage("a run")["git_dirty"] == "false"
    (workspace / "new.txt").write_text("not known to git")
    assert promote.lineage("a run")["git_dirty"] == "false"
    (workspace / "README.md").write_text("A city.\n")
    assert promote.lineage("a run")["git_dirty"] == "true"


def test_an_unreachable_server_changes_nothing(succession: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = os.environ["MLFLOW_TRACKING_URI"]
    before = {path: path.read_bytes() for path in sorted((succession / "mlruns").rglob("*")) if path.is_file()}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(RegistryError, match=r"^MLflow does not answer at http://127\.0\.0\.1:9 \("):
        run(PARAMS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home)
    assert aliases(succession) == {"challenger": "1", "champion": "1"}
    assert {path: path.read_bytes() for path in before} == before
    assert len(client(succession).search_model_versions("name = 'town'")) == 1


def test_a_rollout_may_decide_who_is_champion_but_for_the_first(workspace: Path) -> None:
    config = tiny.params({"promote": {"champion": "rollout"}})
    trained(config, tiny.panel())
    assert promote.run(config, *stages.load(config))[2]
    assert aliases(workspace) == {"challenger": "1", "champion": "1"}
    _, verdict, crowned = promote.run(config, *stages.load(config))
    assert verdict.passed
    assert not crowned
    assert aliases(workspace) == {"challenger": "2", "champion": "1"}
