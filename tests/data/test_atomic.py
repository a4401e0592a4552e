"""A file or folder is there whole, or what was there before is: after an error, a full disk, a kill."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from data import atomic
from tests.data.project import ROOT


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_folder(path: Path, text: str) -> None:
    with atomic.replacing(path) as scratch:
        scratch.mkdir()
        (scratch / "deep").mkdir()
        (scratch / "deep" / "file").write_text(text)


def python(script: str, *args: str) -> subprocess.Popen[str]:
    """Run a script in a process of its own, which may be limited and killed."""
    command = [sys.executable, "-c", script, *args]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "file.json"
    atomic.write_text(path, "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    assert names(path.parent) == ["file.json"]


def test_file_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old, and longer")
    atomic.write_text(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_folder_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_folder(path, "old")
    (path / "stale").write_text("of the old one")
    write_folder(path, "new")
    assert names(path) == ["deep"]
    assert (path / "deep" / "file").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic.write_text(tmp_path / "file", "")
    write_folder(tmp_path / "folder", "")
    (tmp_path / "usual").mkdir()
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes["file"] == modes["plain"]
    assert modes["folder"] == modes["usual"]


def test_nothing_is_seen_before_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old")
    with atomic.replacing(path) as scratch:
        scratch.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_reader_keeps_the_file_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old")
    with path.open() as reader:
        atomic.write_text(path, "new")
        assert reader.read() == "old"


def test_everything_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced, fsync = tmp_path / "model", list[str](), os.fsync
    write_folder(path, "old")

    def recorded(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        in_place = synced[-1] == tmp_path.name
        assert (path / "deep" / "file").read_text() == ("new" if in_place else "old")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    write_folder(path, "new")
    assert synced[-1] == tmp_path.name
    assert sorted(synced[:-1]) == ["deep", "file", "model"]


# What fails leaves what was there


def fail_half_way(path: Path, error: BaseException, *, folder: bool) -> None:
    with atomic.replacing(path) as scratch:
        if folder:
            scratch.mkdir()
        (scratch / "half" if folder else scratch).write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit(), OSError()])
def test_error_leaves_the_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old")
    with pytest.raises(type(error)):
        fail_half_way(path, error, folder=False)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_error_leaves_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_folder(path, "old")
    with pytest.raises(RuntimeError):
        fail_half_way(path, RuntimeError(), folder=True)
    assert names(path) == ["deep"]
    assert (path / "deep" / "file").read_text() == "old"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("folder", [True, False])
def test_error_where_nothing_was_leaves_nothing(tmp_path: Path, folder: bool) -> None:  # noqa: FBT001
    with pytest.raises(RuntimeError):
        fail_half_way(tmp_path / "out", RuntimeError(), folder=folder)
    assert names(tmp_path) == []


def test_folder_that_cannot_be_put_in_place_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system cannot exchange two paths in one step."""
    path, rename = tmp_path / "model", Path.rename
    write_folder(path, "old")
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())

    def broken(source: Path, target: Path) -> Path:
        if source.name == "model" and target == path:
            raise OSError("the disk is gone")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        write_folder(path, "new")
    assert (path / "deep" / "file").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_folder_is_replaced_where_paths_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "model", "old")
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    write_folder(tmp_path / "model", "new")
    assert (tmp_path / "model" / "deep" / "file").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_block_that_writes_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", "old")
    with pytest.raises(FileNotFoundError), atomic.replacing(tmp_path / "model"):
        pass
    assert (tmp_path / "model" / "deep" / "file").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_folder_in_the_place_of_a_file_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "model", "a file")
    with pytest.raises(NotADirectoryError):
        write_folder(tmp_path / "model", "new")
    assert (tmp_path / "model").read_text() == "a file"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_disk_that_fills_up_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    """A limit on file size stands in for a full disk: the write itself fails, half way."""
    path = tmp_path / "out"
    atomic.write_text(path, "old") if kind == "file" else write_folder(path, "old")
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from data import atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))\n"
        "try:\n"
        "    with atomic.replacing(Path(sys.argv[1])) as scratch:\n"
        "        if sys.argv[2] == 'folder':\n"
        "            scratch.mkdir()\n"
        "            scratch = scratch / 'file'\n"
        "        scratch.write_bytes(b'x' * 5_000)\n"
        "except OSError as err:\n"
        "    print(err.strerror)\n"
    )
    out, err = python(script, str(path), kind).communicate(timeout=60)
    assert (out, err) == ("File too large\n", "")
    assert (path if kind == "file" else path / "deep" / "file").read_text() == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_kill_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    atomic.write_text(path, "old") if kind == "file" else write_folder(path, "old")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from data import atomic\n"
        "with atomic.replacing(Path(sys.argv[1])) as scratch:\n"
        "    if sys.argv[2] == 'folder':\n"
        "        scratch.mkdir()\n"
        "        scratch = scratch / 'file'\n"
        "    scratch.write_text('half')\n"
        "    print('half way', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with python(script, str(path), kind) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (path if kind == "file" else path / "deep" / "file").read_text() == "old"
    atomic.write_text(path, "new") if kind == "file" else write_folder(path, "new")
    assert (path if kind == "file" else path / "deep" / "file").read_text() == "new"
