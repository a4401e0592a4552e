"""From MLflow's registry into BentoML's store, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from mlflow import MlflowClient

from data.errors import ModelError, RegistryError
from data.forecaster import Forecaster
from tests.training import tiny
from training import bento, promote, stages, tracking

pytestmark = [pytest.mark.filterwarnings(text) for text in (tiny.BOOLEANS, *tiny.MLFLOW, *tiny.BENTOML)]


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Path]:
    """BentoML's model store, in the test's folder."""
    folder = tmp_path / "bentoml" / "models"
    folder.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def client() -> MlflowClient:
    return MlflowClient(tracking.connect())


def stored(tag: str) -> Any:
    return bentoml.models.get(tag)


@pytest.mark.usefixtures("workspace")
def test_import_before_any_training_says_what_to_do(models: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        bento.import_model("town", "champion")
    assert caught.value.message == (
        "no champion of 'town' in MLflow yet: run `dvc repro` to train one; if its gate did not pass, see why in "
        "out/promote.json and promote it by hand with `python -m training promote --version N --reason TEXT`; if dvc "
        "says that nothing changed, `dvc repro -sf promote` registers the model again"
    )
    assert contents(models) == {}


def test_import_puts_the_champion_with_its_lineage_into_the_store(succession: Path, models: Path) -> None:
    tag, fresh = bento.import_model("town", "champion")
    assert fresh
    assert tag.startswith("bentocast:")
    model = stored(tag)
    assert Path(model.path).is_relative_to(models)
    tags = client().get_model_version("town", "1").tags
    assert model.info.labels == {
        "mlflow_name": "town",
        "mlflow_version": "1",
        "run_id": tags["run_id"],
        "git_commit": tags["git_commit"],
        "data_hash": tags["data_hash"].replace(":", "-"),
    }
    assert len(tags["git_commit"]) == 40
    assert model.info.metadata == tags
    served = Path(model.path) / "mlflow_model"
    assert Forecaster.load(served).card == Forecaster.load(succession / "out/model").card
    for name in ("model.onnx", "extra_files/examples.json"):
        assert (served / name).read_bytes() == (succession / "out/model" / Path(name).name).read_bytes()


@pytest.mark.usefixtures("succession")
def test_import_a_second_time_does_nothing(models: Path) -> None:
    tag, fresh = bento.import_model("town", "champion")
    before = contents(models)
    assert bento.import_model("town", "champion") == (tag, False)
    assert fresh
    assert contents(models) == before


@pytest.mark.usefixtures("succession")
def test_import_of_the_other_alias_is_another_model(models: Path) -> None:
    """A challenger can be served beside the champion; going back to the champion makes it the newest again."""
    first, _ = bento.import_model("town", "champion")
    found = client()
    source = found.get_model_version("town", "1").source
    found.create_model_version("town", source, tags={"git_commit": "0" * 40})
    found.set_registered_model_alias("town", "challenger", "2")
    second, fresh = bento.import_model("town", "challenger")
    assert fresh
    assert second != first
    assert stored(second).info.labels["mlflow_version"] == "2"
    assert stored(second).info.labels["data_hash"] == "unknown"
    back, fresh = bento.import_model("town", "champion")
    assert fresh
    assert stored("bentocast:latest").tag == stored(back).tag
    assert stored(back).info.labels == stored(first).info.labels
    assert len(list(models.glob("bentocast/*/model.yaml"))) == 3


@pytest.mark.parametrize("damage", ["a byte of the model", "the card", "the model is gone", "the card is gone"])
def test_import_of_a_damaged_model_leaves_the_store_as_it_was(workspace: Path, models: Path, damage: str) -> None:
    config = tiny.params()
    promote.run(config, *stages.load(config))
    first, _ = bento.import_model("town", "champion")
    before = contents(models)
    (onnx,) = (workspace / "mlruns").rglob("model.onnx")
    card = onnx.parent / "extra_files" / "forecaster.json"
    # Another version of the same files, so that the import is not skipped as known.
    found = client()
    found.create_model_version("town", found.get_model_version("town", "1").source)
    found.set_registered_model_alias("town", "champion", "2")
    if damage == "a byte of the model":
        content = bytearray(onnx.read_bytes())
        content[len(content) // 2] ^= 1
        onnx.write_bytes(content)
    elif damage == "the card":
        card.write_text(card.read_text().replace('"columns"', '"pillars"'))
    else:
        (onnx if damage == "the model is gone" else card).unlink()
    with pytest.raises(ModelError, match=r"[;:] import the model again$"):
        bento.import_model("town", "champion")
    assert contents(models) == before
    assert str(stored("bentocast:latest").tag) == first


def test_import_of_a_model_that_mlflow_has_lost_is_an_error(workspace: Path, models: Path) -> None:
    config = tiny.params()
    promote.run(config, *stages.load(config))
    (workspace / "mlruns").rename(workspace / "elsewhere")
    with pytest.raises((ModelError, RegistryError)):
        bento.import_model("town", "champion")
    assert contents(models) == {}


@pytest.mark.usefixtures("succession")
def test_import_takes_the_version_it_has_checked(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias that moves between the check and the import must not put another model under these labels."""
    found = client()
    load = Forecaster.load

    def load_and_move(folder: Path) -> Forecaster:
        loaded = load(folder)
        found.create_model_version("town", "file:///nowhere")
        found.set_registered_model_alias("town", "champion", "2")
        return loaded

    monkeypatch.setattr(Forecaster, "load", load_and_move)
    tag, _ = bento.import_model("town", "champion")
    assert stored(tag).info.labels["mlflow_version"] == "1"
    assert load(Path(stored(tag).path) / "mlflow_model").card.format == 1
    assert list(models.glob("bentocast/*/mlflow_model/model.onnx"))
