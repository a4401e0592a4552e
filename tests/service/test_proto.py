"""The generated messages are what their descriptions say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path("service/proto")
NAMES = sorted(path.stem for path in (ROOT / FOLDER).glob("*.proto"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make proto` makes, in a folder of its own."""
    folder = tmp_path_factory.mktemp("proto")
    found = re.search(r"^proto:.*\n\t(python .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    words = found[1].replace("service/proto/*.proto", " ".join(f"{FOLDER}/{name}.proto" for name in NAMES)).split()
    command = [sys.executable, *(word.replace("_out=.", f"_out={folder}") for word in words[1:])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_there_is_one_for_each_description_and_no_other(made: Path) -> None:
    wanted = {f"{name}_pb2{suffix}" for name in NAMES for suffix in (".py", ".pyi")}
    assert {path.name for path in (made / FOLDER).iterdir()} == wanted
    assert {path.name for path in (ROOT / FOLDER).glob("*_pb2*.py*")} == wanted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".py", ".pyi"])
def test_it_is_what_make_proto_makes(made: Path, name: str, suffix: str) -> None:
    file = FOLDER / f"{name}_pb2{suffix}"
    assert (ROOT / file).read_text() == (made / file).read_text(), "run `make proto`"
