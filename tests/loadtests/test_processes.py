from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loadtests import processes, signals
from loadtests.ports import PORTS, PortError
from loadtests.processes import RUN, DiedError, Mark, StartError, running
from tests.loadtests import fakes
from tests.loadtests.fakes import HANG, SERVE, command, gone
from tests.ports import free_ports

MARK = Mark("/no/lock/of/a/run")

#: Two servers that never get ready.
STARTING = """
import signal, sys
from pathlib import Path
from loadtests import signals
from loadtests.processes import Mark, running
from tests.loadtests.fakes import HANG, command
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
signals.heed()
with running({"one": command(HANG), "two": command(HANG)}, Path(sys.argv[1]), mark=Mark("none"), together=True):
    pass
"""

#: What locust does to the standard library.
PATCHED = """
import gevent.monkey
gevent.monkey.patch_all()
import sys
from pathlib import Path
from loadtests.lock import alone
from loadtests.processes import running
from tests.loadtests.fakes import SERVE, command
folder = Path(sys.argv[1])
commands = {"one": command(SERVE), "two": command(SERVE)}
with alone(folder / "lock") as mark, running(commands, folder, mark=mark, together=True) as started:
    for server in started.values():
        server.check_alive(server.family())
        assert server.processor_seconds() > 0
        print(*server.family())
"""


def test_all_that_a_server_started_is_ended(tmp_path: Path) -> None:
    with running({"fake": command(SERVE)}, tmp_path, mark=MARK) as started:
        server = started["fake"]
        child = fakes.child(tmp_path / "fake.log")
        assert psutil.pid_exists(child)
        assert child in server.family()
        assert {psutil.Process(pid).environ()[RUN] for pid in server.family()} == {MARK.value}
        assert server.ready_seconds > 0
        assert server.processor_seconds() > 0
        assert server.memory().whole > server.memory().worker > 1_000_000
    assert gone(child)


def test_servers_are_ended_after_a_fault(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), running({"fake": command(SERVE)}, tmp_path, mark=MARK):
        raise KeyboardInterrupt
    assert gone(fakes.child(tmp_path / "fake.log"))


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    broken = command("raise SystemExit('no model here')")
    wanted = pytest.raises(StartError, match=r"fake ended with 1; the end of .*fake.log:\nno model here")
    with wanted, running({"fake": broken}, tmp_path, mark=MARK):
        pass


def test_a_server_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "READY_SECONDS", 0.2)
    wanted = pytest.raises(StartError, match="fake was not ready after 0 s")
    with wanted, running({"fake": command(HANG)}, tmp_path, mark=MARK):
        pass


def test_a_server_whose_workers_end_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOOK_SECONDS", 0.1)
    worker = "[sys.executable, '-c', 'import time; time.sleep(0.3); print(1 / 0)']"
    restarts = f"import subprocess, sys\nwhile True: subprocess.run({worker})"
    wanted = pytest.raises(
        StartError, match=r"(?s)fake starts processes that end again \(3 by now\); .*ZeroDivisionError"
    )
    with wanted, running({"fake": command(restarts)}, tmp_path, mark=MARK):
        pass


def test_together_all_are_started_before_one_is_ready(tmp_path: Path) -> None:
    waits = "import sys, time, pathlib\nwhile not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)\n" + SERVE
    first = command(waits)
    first = dataclasses.replace(first, arguments=(*first.arguments, str(tmp_path / "two.log")))
    with running({"one": first, "two": command(SERVE)}, tmp_path, mark=MARK, together=True) as started:
        assert [server.ready_seconds > 0 for server in started.values()] == [True, True]
        assert abs(started["one"].port - started["two"].port) >= 3


def test_together_all_are_ended_when_one_does_not_start(tmp_path: Path) -> None:
    before = _children()
    commands = {"good": command(SERVE), "bad": command("raise SystemExit('no model here')")}
    with pytest.raises(StartError, match="no model here"), running(commands, tmp_path, mark=MARK, together=True):
        pass
    assert not _children() - before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupt_while_starting_ends_all(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with fakes.run(STARTING, str(tmp_path)) as run:
        children = [fakes.child(tmp_path / f"{name}.log") for name in ("one", "two")]
        servers = [psutil.Process(child).ppid() for child in children]
        run.send_signal(number)
        assert run.wait(fakes.DEADLINE_SECONDS) == code
    assert all(map(gone, children + servers))


@pytest.fixture(params=signals.SIGNALS, ids=lambda number: number.name)
def interrupting(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that raises KeyboardInterrupt."""
    number: signal.Signals = request.param
    before = signal.signal(number, signal.default_int_handler)
    yield number
    signal.signal(number, before)


def test_a_signal_waits_until_it_is_known_what_was_started(interrupting: signal.Signals) -> None:
    steps = []

    def start() -> None:
        with signals.deferred():
            signal.raise_signal(interrupting)
            steps.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert steps == ["started"]


def test_a_second_signal_does_not_disturb_the_end(interrupting: signal.Signals) -> None:
    with signals.undisturbed():
        signal.raise_signal(interrupting)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(interrupting)


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    code = """
import signal
from loadtests import signals
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signals.heed()
with signals.deferred():
    signal.raise_signal(signal.SIGHUP)
signal.raise_signal(signal.SIGHUP)
print("lives")
"""
    with fakes.run(code) as run:
        assert run.communicate(timeout=fakes.DEADLINE_SECONDS) == ("lives\n", "")


def test_a_fixed_port_can_be_had_again_at_once(tmp_path: Path) -> None:
    port = free_ports(PORTS + 1)
    for _ in range(2):
        with running({"fake": command(SERVE, port)}, tmp_path, mark=MARK) as started:
            assert started["fake"].port == port


def test_two_servers_cannot_share_ports(tmp_path: Path) -> None:
    before, port = _children(), free_ports(PORTS + 1)
    commands = {"one": command(HANG, port), "two": command(HANG, port + 2)}
    wanted = pytest.raises(PortError, match=f"fake: port {port + 2} goes to another server of this run")
    with wanted, running(commands, tmp_path, mark=MARK, together=True):
        pass
    assert not _children() - before


def test_a_server_that_lives_is_alive_whatever_its_helpers_do(tmp_path: Path) -> None:
    with running({"fake": command(SERVE)}, tmp_path, mark=MARK) as started:
        server = started["fake"]
        server.check_alive(server.family())
        helper = fakes.get(server.port, "/helper")
        since = server.family()
        assert helper in since
        os.kill(helper, signal.SIGKILL)
        fakes.wait_for(lambda: gone(helper), "the helper lives")
        server.check_alive(since)


def test_a_server_that_died_is_named_and_what_it_leaves_is_ended(tmp_path: Path) -> None:
    with running({"fake": command(SERVE)}, tmp_path, mark=MARK) as started:
        server = started["fake"]
        since, child = server.family(), fakes.child(tmp_path / "fake.log")
        root = psutil.Process(child).ppid()
        os.kill(root, signal.SIGKILL)
        fakes.wait_for(lambda: gone(root), "the server lives")
        with pytest.raises(DiedError, match=r"fake was ended by signal 9 \(Killed\) while .*fake.log:\nchild \d"):
            server.check_alive(since)
        assert not gone(child)
    assert gone(child)


def test_a_worker_that_died_is_named(tmp_path: Path) -> None:
    with running({"fake": command(SERVE)}, tmp_path, mark=MARK) as started:
        server = started["fake"]
        since, child = server.family(), fakes.child(tmp_path / "fake.log")
        os.kill(child, signal.SIGKILL)
        fakes.wait_for(lambda: gone(child), "the worker lives")
        wanted = rf"fake: 1 of its 2 processes \(pid {child}\) died during the round, wanted .*; the end of .*fake.log"
        with pytest.raises(DiedError, match=wanted):
            server.check_alive(since)


def test_a_worker_that_was_replaced_died(tmp_path: Path) -> None:
    with running({"fake": command(SERVE)}, tmp_path, mark=MARK) as started:
        server = started["fake"]
        since = server.family()
        fakes.get(server.port, "/swap")
        assert len(server.family()) == len(since)
        with pytest.raises(DiedError, match="1 of its 2 processes"):
            server.check_alive(since)


def test_processor_seconds_are_those_of_psutil_and_finer(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as busy:
        assert busy.stdout
        busy.stdout.readline()
        fakes.wait_for(lambda: psutil.Process(busy.pid).status() == psutil.STATUS_SLEEPING, "it is still busy")
        fine = processes._processor_seconds(busy.pid)
        monkeypatch.setattr(sys, "platform", "elsewhere")
        coarse = processes._processor_seconds(busy.pid)
        busy.kill()
    assert coarse >= 0.47
    assert -0.001 < fine - coarse < 0.02  # user and system time are each cut to ticks of 10 ms


@pytest.mark.parametrize("platform", [sys.platform, "elsewhere"])
def test_a_process_that_is_gone_counts_nothing(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    monkeypatch.setattr(sys, "platform", platform)
    assert processes._processor_seconds(ended.pid) == 0


def test_servers_start_and_end_under_gevent(tmp_path: Path) -> None:
    with fakes.run(PATCHED, str(tmp_path)) as run:
        out, err = run.communicate(timeout=2 * fakes.DEADLINE_SECONDS)
    assert (run.returncode, err) == (0, "")
    pids = [int(pid) for pid in out.split()]
    assert len(pids) == 4
    assert all(map(gone, pids))


def _children() -> set[int]:
    """Pids of this process' children that run; other tests may have a service for the whole session."""
    return {process.pid for process in psutil.Process().children() if not gone(process.pid)}
