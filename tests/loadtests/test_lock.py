from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data import ending
from loadtests.lock import BusyError, alone
from loadtests.processes import RUN, StartError, running
from tests.loadtests import fakes
from tests.loadtests.fakes import command, gone

#: Holds a lock and runs a server until it is killed.
HOLD = """
import sys, time
from pathlib import Path
from loadtests.lock import alone
from loadtests.processes import running
from tests.loadtests.fakes import SERVE, command
lock, logs = map(Path, sys.argv[1:])
with alone(lock) as mark, running({"fake": command(SERVE)}, logs, mark=mark) as started:
    print(*started["fake"].family(), flush=True)
    time.sleep(600)
"""

#: A run whose own process, and the one that started it, carry the mark.
MARKED = """
import subprocess, sys
from pathlib import Path
from loadtests.lock import alone
lock, *code = sys.argv[1:]
if code:
    sys.exit(subprocess.run([sys.executable, "-c", *code, lock]).returncode)
with alone(Path(lock)):
    print("lives")
"""


def test_one_run_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "made" / "lock"
    wanted = pytest.raises(
        BusyError, match=rf"another run holds {lock}, and there can be one: wait for its end, or end it"
    )
    with alone(lock), wanted as caught, alone(lock):
        pass
    assert caught.value.exit_code == 2
    with alone(lock) as mark:
        assert mark.value == str(lock)


def test_what_a_killed_run_left_behind_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock"
    with fakes.run(HOLD, str(lock), str(tmp_path)) as killed:
        assert killed.stdout
        left = [int(pid) for pid in killed.stdout.readline().split()]
        with pytest.raises(BusyError), alone(lock):
            pass
        killed.kill()
    assert len(left) == 2
    assert not any(map(gone, left))
    with fakes.sleeper({RUN: str(tmp_path / "other")}) as other, fakes.sleeper({}) as plain:
        with alone(lock):
            assert all(map(gone, left))
        assert other.poll() is None
        assert plain.poll() is None
        other.kill()
        plain.kill()
    assert capsys.readouterr().err == "ended 2 processes that an earlier run left behind\n"


def test_what_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "END_SECONDS", 0.1)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    environment = {RUN: str(tmp_path / "lock")}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout
        stubborn.stdout.readline()
        with alone(tmp_path / "lock"):
            assert stubborn.wait(fakes.DEADLINE_SECONDS) == -9


def test_a_run_with_its_own_mark_spares_itself_and_those_above(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with fakes.run(MARKED, str(lock), MARKED, environment={RUN: str(lock)}) as run:
        out, err = run.communicate(timeout=fakes.DEADLINE_SECONDS)
    assert (run.returncode, out, err) == (0, "lives\n", "")


def test_what_a_server_left_behind_before_it_was_ready_is_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaves = command(fakes.HANG.replace("time.sleep(600)\n", "sys.exit('no model')\n"))
    wanted = pytest.raises(StartError, match="no model")
    with wanted, alone(tmp_path / "lock") as mark, running({"fake": leaves}, tmp_path, mark=mark):
        pass
    assert gone(fakes.child(tmp_path / "fake.log"))
    assert capsys.readouterr().err == "ended 1 process that outlived the servers\n"
