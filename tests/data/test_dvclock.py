"""dvc.lock against the files that it names; DVC itself says what their hashes are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data import dvclock, remote
from data.errors import DataError, SourceError

STAGES = """
stages:
  make:
    cmd: python make.py
    outs: [one.bin, many]
"""
MAKE = """
import pathlib
pathlib.Path("one.bin").write_bytes(b"one")
for name in ("b", "a/z", "a.b", "a/c"):
    path = pathlib.Path("many", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of one stage, with a file and a folder of folders, that real DVC has run."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "make.py").write_text(MAKE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in (["init", "-q", "--no-scm"], ["repro", "-q"]):
        subprocess.run(["dvc", *command], cwd=folder, env=os.environ | {"PATH": path}, check=True, capture_output=True)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, and is in."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def refused() -> str:
    with pytest.raises(DataError) as caught:
        dvclock.check()
    return caught.value.message


@pytest.mark.usefixtures("project")
def test_what_dvc_has_made_is_what_it_says() -> None:
    assert dvclock.check() == 3 + len("ba/za.ba/c")


def test_what_differs_is_named_with_the_fix(project: Path) -> None:
    (project / "one.bin").unlink()
    (project / "one.bin").write_bytes(b"two")
    assert refused() == (
        "one.bin is not what dvc.lock says: got b8a9f715dbb64fd5c56e7783c6820a61, wanted f97c5d29941bfb1b2fdab0874906ab82; "
        "remove it, look through cache and remote with `python -m data remote`, then `dvc pull` brings it"
    )


@pytest.mark.parametrize("what", ["a file more", "a file less", "another name", "nothing"])
def test_a_folder_is_compared_with_all_its_files(project: Path, what: str) -> None:
    if what == "a file more":
        (project / "many" / "more").write_text("more")
    elif what == "a file less":
        (project / "many" / "a" / "c").unlink()
    elif what == "another name":
        (project / "many" / "a" / "c").rename(project / "many" / "a" / "d")
    else:
        (project / "many").rename(project / "elsewhere")
    message = refused()
    assert message.startswith("many is not what dvc.lock says: got ")
    assert ("no such file" in message) == (what == "nothing")


def test_a_lock_of_nothing_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("stages: {}", yaml.safe_dump({"stages": {"make": {"cmd": "true"}}})):
        (tmp_path / "dvc.lock").write_text(text)
        assert refused().startswith("dvc.lock names nothing that the pipeline made, so nothing can be compared")


def test_a_remote_of_nothing_is_no_pass(project: Path) -> None:
    (project / "dvc.lock").unlink()
    (project / "dvc.yaml").write_text("stages: {}\n")
    subprocess.run(["dvc", "remote", "add", "-q", "--default", "near", "near"], cwd=project, check=True)
    with pytest.raises(SourceError, match="DVC knows of no object here, so nothing was looked through"):
        remote.check()


def test_no_lock_and_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused() == (
        "dvc.lock not found: it says what the pipeline made, and goes into git with the code; check out a commit that has it"
    )
    for text in ("stages: [", "stages: 3", "", yaml.safe_dump({"stages": {"make": {"outs": [{"path": "x"}]}}})):
        (tmp_path / "dvc.lock").write_text(text)
        message = refused()
        assert message.startswith("dvc.lock is damaged (")
        assert message.endswith("): check it out again with `git checkout dvc.lock`")
