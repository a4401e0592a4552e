"""A model's files against the tags of its version."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from data.errors import ModelError
from training import proof

FILES = {"model.onnx": "model_hash", "forecaster.json": "card_hash", "examples.json": "examples_hash"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text(name)
    return tmp_path


def md5(text: str) -> str:
    return f"md5:{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}"


def refused(folder: Path, tags: dict[str, str], *, whole: bool) -> str:
    with pytest.raises(ModelError) as caught:
        proof.check(folder, tags, "town version 1", whole=whole)
    return caught.value.message


def test_tags_are_the_hashes_wherever_mlflow_puts_the_files(folder: Path) -> None:
    wanted = {tag: md5(name) for name, tag in FILES.items()}
    assert proof.tags(folder) == wanted
    (folder / "extra_files").mkdir()
    for name in ("forecaster.json", "examples.json"):
        shutil.move(folder / name, folder / "extra_files" / name)
    assert proof.tags(folder) == wanted
    proof.check(folder, wanted | {"gate": "pass"}, "town version 1", whole=True)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_another_or_gone_is_named(folder: Path, name: str, whole: bool) -> None:  # noqa: FBT001
    tags = proof.tags(folder)
    (folder / name).write_text("another")
    fix = (
        "nothing was imported. Bring the server's artifacts back from its backup, or register the model again with `dvc "
        "repro -sf promote`"
    )
    assert refused(folder, tags, whole=whole) == (
        f"town version 1: {name} is not what was registered: got {md5('another')}, wanted {md5(name)}; {fix}"
    )
    (folder / name).unlink()
    assert f"{name} is not what was registered: got no file, wanted {md5(name)}" in refused(folder, tags, whole=whole)


def test_a_version_of_an_earlier_time_has_one_hash(folder: Path) -> None:
    tags = {"model_hash": md5("model.onnx")}
    proof.check(folder, tags, "town version 1", whole=False)
    assert refused(folder, tags, whole=True).startswith(
        f"town version 1: it has no tag card_hash to compare forecaster.json ({md5('forecaster.json')}) with; import it "
    )


def test_no_examples_are_no_fault(folder: Path) -> None:
    (folder / "examples.json").unlink()
    proof.check(folder, proof.tags(folder), "town version 1", whole=True)
