"""`python -m service key NAME`: a key shown once, its hash in the file."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import ConfigError
from service import __main__ as program
from service import keys

ROOT = Path(__file__).parents[2]


def made(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    program.main(["key", *argv])
    shown = capsys.readouterr()
    (key,) = shown.out.split()
    assert key not in shown.err
    return key


def test_key_is_shown_once_and_its_hash_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.txt"
    first, second = (made(capsys, name, "--file", str(path)) for name in ("ann", "ben"))
    assert keys.read(path) == {keys.hashed(first): "ann", keys.hashed(second): "ben"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nobody_else_can_read_the_file_from_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = os.umask(0)
    try:
        made(capsys, "ann", "--file", str(tmp_path / "keys.txt"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys.txt").stat().st_mode) == 0o600


def test_file_is_the_one_that_the_service_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOCAST_KEYS_FILE", str(tmp_path / "of the service"))
    key = made(capsys, "ann")
    assert keys.read(tmp_path / "of the service") == {keys.hashed(key): "ann"}


@pytest.mark.parametrize("text", ["", "# made by touch\n", "# no line end"])
def test_file_without_a_key_takes_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """`keys.read` says to make one with this very command."""
    path = tmp_path / "keys.txt"
    path.write_text(text)
    key = made(capsys, "ann", "--file", str(path))
    assert keys.read(path) == {keys.hashed(key): "ann"}
    assert path.read_text().startswith(text)


def test_line_without_an_end_stays_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"ann {'0' * 64}")
    key = made(capsys, "ben", "--file", str(path))
    assert keys.read(path) == {"0" * 64: "ann", keys.hashed(key): "ben"}


def test_second_key_of_a_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.txt"
    made(capsys, "ann", "--file", str(path))
    before = path.read_text()
    with pytest.raises(ConfigError) as caught:
        program.main(["key", "ann", "--file", str(path)])
    assert caught.value.message == f"{path} has a key of 'ann' already: delete its line, or choose another name"
    assert path.read_text() == before


def test_broken_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("a line that is none\n")
    with pytest.raises(ConfigError, match="line 1: wanted a name and the SHA-256 of a key"):
        program.main(["key", "ann", "--file", str(path)])
    assert path.read_text() == "a line that is none\n"


def test_bad_name_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wanted 1 to 64 letters"):
        program.main(["key", "ann and ben", "--file", str(tmp_path / "keys.txt")])
    assert not (tmp_path / "keys.txt").exists()


def test_as_a_command(tmp_path: Path) -> None:
    """The key alone goes to standard output; a mistake is one line and an exit code."""
    path = tmp_path / "keys.txt"
    command = [sys.executable, "-m", "service", "key", "ann", "--file", str(path)]
    done, again = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60) for _ in range(2)
    )
    assert done.returncode == 0
    assert re.fullmatch(r"bc_[\w-]{43}\n", done.stdout)
    assert done.stderr == f"added ann to {path}; the key is shown this once:\n"
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == f"error: {path} has a key of 'ann' already: delete its line, or choose another name\n"
