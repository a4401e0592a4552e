"""What breaks in practice: killed processes, full and read-only disks, files that vanish or are locked."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.record import RecordUnavailableError, engine
from tests.service.record.kept import bring, entry, hours, opened, rows, wait_until

ROOT = Path(__file__).parents[3]
HOURS_OF_ORIGIN = int(hours(1, 0)[0].astype(int))


def started(task: str, url: str, name: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.service.record.process", task, url, name],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own for a folder."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False).returncode:
        pytest.skip("no mounts in here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that nobody can write to, not even root."""
    if os.geteuid() == 0:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield
        return
    for path in (*folder.iterdir(), folder):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        yield
    finally:
        folder.chmod(0o755)


def test_a_killed_process_leaves_every_acknowledged_value(url: str) -> None:
    """`kill -9` while it is at work, again and again, on the same database."""
    chance = random.Random(5)
    acknowledged: dict[str, int] = {}
    for number in range(4):
        killed = started("acknowledge", url, f"run-{number}")
        assert killed.stdout is not None
        lines = [killed.stdout.readline() for _ in range(chance.randint(1, 150))]
        killed.kill()
        lines += killed.stdout.read().splitlines(keepends=True)
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        acknowledged[f"run-{number}"] = max(int(line) for line in lines if line.endswith("\n"))
    found: dict[str, set[int]] = {}
    for series, when, value in rows(url, "SELECT series, time, value FROM actuals"):
        assert value == (when - HOURS_OF_ORIGIN) / 3_600
        found.setdefault(series, set()).add(int(value))
    for name, last in acknowledged.items():
        assert set(range(last + 1)) <= found[name], name
    if url.startswith("sqlite"):
        assert rows(url, "PRAGMA integrity_check") == [("ok",)]


def test_several_processes_write_at_once(url: str) -> None:
    crowd = [started("crowd", url, f"worker-{number}") for number in range(4)]
    for worker in crowd:
        assert worker.stdout is not None
        assert json.loads(worker.stdout.readline()) == "ready"
    for worker in crowd:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    ended = [worker.communicate(timeout=120) for worker in crowd]
    assert [worker.returncode for worker in crowd] == [0] * 4, ended
    assert [json.loads(out.splitlines()[-1]) for out, _ in ended] == [{"written": 1_000, "dropped": 0}] * 4
    assert rows(url, "SELECT series, count(*) FROM forecasts GROUP BY series ORDER BY series") == [
        (f"worker-{number}", 1_000) for number in range(4)
    ]
    assert rows(url, "SELECT count(*) FROM actuals") == [(4 * 40 + 40,)]


def test_a_read_only_database_refuses_actuals_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/record.db"
    with small_disk(tmp_path, "2m") if os.geteuid() == 0 else contextlib.nullcontext():
        opened(url).close()
        with read_only(tmp_path):
            recorder = opened(url, acknowledge_seconds=0.5)
            recorder.put(entry())
            with pytest.raises(
                RecordUnavailableError, match=r"did not take 1 actual values within 0.5 s: .*writable for this user"
            ):
                bring(recorder)
            recorder.close(0.1)
    assert (recorder.stats().written, recorder.stats().dropped) == (0, 1)
    [told] = [record.getMessage() for record in caplog.records if record.name == "bentocast.record"]
    assert "does not take what is written" in told
    assert "writable for this user" in told


def test_a_full_disk_loses_no_acknowledged_value_and_is_got_over(sqlite: str) -> None:
    process = started("fill", sqlite)
    out, err = process.communicate(timeout=60)
    seen, closed = map(json.loads, out.splitlines())
    assert (seen["healthy"], seen["queued"] >= 20) == (False, True)
    assert "make room on its disk" in seen["refused"]
    assert "make room on its disk" in err
    assert "works again" in err
    kept = {when for (when,) in rows(sqlite, "SELECT time FROM actuals WHERE series = 'a'")}
    assert {HOURS_OF_ORIGIN + 3_600 * number for number in range(seen["acknowledged"])} <= kept
    assert rows(sqlite, "SELECT count(*) FROM actuals WHERE series = 'b'") == [(1,)]
    assert rows(sqlite, "SELECT count(*) FROM forecasts") == [(closed["written"],)]
    assert closed["dropped"] == 0
    assert rows(sqlite, "PRAGMA integrity_check") == [("ok",)]


def test_a_full_small_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/record.db"
    with small_disk(tmp_path, "300k"):
        recorder = opened(url, queue_entries=200)
        recorder.put_many([entry(mean=np.ones(1_000), quantiles={})] * 200)
        wait_until(lambda: not recorder.stats().healthy and "make room on its disk" in caplog.text)
        assert recorder.stats().queued > 0
        subprocess.run(["mount", "-o", "remount,size=10m", tmp_path], check=True)
        wait_until(lambda: recorder.stats().queued == 0)
        assert bring(recorder) == 1
        recorder.close()
        assert (recorder.stats().written, recorder.stats().dropped) == (200, 0)
        assert rows(url, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("names", [["record.db"], ["record.db", "record.db-wal", "record.db-shm"]])
def test_a_deleted_database_is_made_again(
    names: list[str], sqlite: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = opened(sqlite)
    bring(recorder, "before")
    for name in names:
        (tmp_path / name).unlink()
    assert bring(recorder, "after") == 1
    recorder.put(entry())
    recorder.close()
    assert rows(sqlite, "SELECT series FROM actuals") == [("after",)]
    assert rows(sqlite, "SELECT count(*) FROM forecasts") == [(1,)]
    assert rows(sqlite, "PRAGMA integrity_check") == [("ok",)]
    assert recorder.stats().failed_writes == 1
    broke, works = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "deleted or replaced while it was open: nothing, a new one is made" in broke or "No such file" in broke
    assert "works again" in works


def test_a_deleted_database_is_made_again_by_several_writers(sqlite: str, tmp_path: Path) -> None:
    """The last connection to a deleted file must not take away the log of the new one."""
    recorders = [opened(sqlite) for _ in range(3)]
    for number, recorder in enumerate(recorders):
        bring(recorder, f"before-{number}")
    for path in tmp_path.iterdir():
        path.unlink()
    for number, recorder in enumerate(recorders):
        bring(recorder, f"after-{number}")
    assert rows(sqlite, "SELECT series FROM actuals ORDER BY series") == [(f"after-{number}",) for number in range(3)]
    for recorder in recorders:
        recorder.close()
    assert rows(sqlite, "SELECT count(*) FROM actuals") == [(3,)]


def test_a_replaced_database_takes_what_comes(sqlite: str, tmp_path: Path) -> None:
    opened(sqlite).close()
    shutil.copy(tmp_path / "record.db", tmp_path / "backup.db")
    recorder = opened(sqlite)
    bring(recorder, "before")
    (tmp_path / "backup.db").rename(tmp_path / "record.db")
    assert bring(recorder, "after") == 1
    recorder.close()
    assert ("after",) in rows(sqlite, "SELECT series FROM actuals")
    assert rows(sqlite, "PRAGMA integrity_check") == [("ok",)]


def test_a_deleted_folder_is_waited_for(sqlite: str, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    url = f"sqlite:///{folder}/record.db"
    recorder = opened(url, acknowledge_seconds=1)
    shutil.rmtree(folder)
    with pytest.raises(RecordUnavailableError, match="see that its folder is there"):
        bring(recorder)
    assert not folder.exists()
    recorder.put(entry())
    folder.mkdir()
    wait_until(lambda: recorder.stats().written == 1 and recorder.stats().healthy)
    recorder.close()


def test_a_locked_database_is_waited_for(
    sqlite: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.5)
    recorder = opened(sqlite, acknowledge_seconds=3)
    other = sqlite3.connect(tmp_path / "record.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    recorder.put(entry())
    with pytest.raises(
        RecordUnavailableError, match="database is locked: end the process that holds it; send them again"
    ):
        bring(recorder)
    assert not recorder.stats().healthy
    other.execute("COMMIT")
    other.close()
    wait_until(lambda: recorder.stats().written == 1 and recorder.stats().healthy)
    assert bring(recorder) == 1
    recorder.close()
    assert rows(sqlite, "SELECT count(*) FROM forecasts") == [(1,)]
    assert [record.levelname for record in caplog.records if record.name == "bentocast.record"] == ["ERROR", "WARNING"]


def test_a_reader_does_not_keep_the_writer_waiting(sqlite: str, tmp_path: Path) -> None:
    recorder = opened(sqlite)
    bring(recorder)
    reader = sqlite3.connect(tmp_path / "record.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM actuals").fetchall()
    assert bring(recorder, "b") == 1
    reader.close()
    recorder.close()


def test_a_file_that_is_no_database_is_named(sqlite: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "record.db").write_text("a letter that somebody put in the wrong place" * 50)
    recorder = opened(sqlite, acknowledge_seconds=0.5)
    with pytest.raises(RecordUnavailableError, match="file is not a database: move the file away, a new one is made"):
        bring(recorder)
    (tmp_path / "record.db").rename(tmp_path / "letter.txt")
    wait_until(lambda: recorder.stats().healthy)
    assert bring(recorder) == 1
    recorder.close()
    assert "file is not a database" in caplog.text


def test_a_database_long_broken_refuses_actuals_at_once(sqlite: str, tmp_path: Path) -> None:
    (tmp_path / "record.db").mkdir()
    recorder = opened(sqlite, acknowledge_seconds=0.2)
    with pytest.raises(RecordUnavailableError):
        bring(recorder)
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(RecordUnavailableError, match="send them again") as caught:
            bring(recorder)
    assert time.monotonic() - began < 2
    assert caught.value.retry_after_seconds >= 1
    assert len(recorder._actuals.group()) == 0
    recorder.close(0.1)


def test_close_gives_up_in_time(sqlite: str, tmp_path: Path) -> None:
    recorder = opened(sqlite)
    other = sqlite3.connect(tmp_path / "record.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    recorder.put_many([entry()] * 5)
    began = time.monotonic()
    recorder.close(0.3)
    assert time.monotonic() - began < 2
    assert (recorder.stats().dropped, recorder.stats().queued) == (5, 0)
    recorder._thread.join()
    other.execute("COMMIT")
    other.close()
    assert rows(sqlite, "SELECT count(*) FROM forecasts") == [(0,)]
