"""Why an instance that is not ready will not get so."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from deploy.journal import Process
from deploy.router.routing import Endpoint
from deploy.running import processes
from deploy.running.instances import READY_SECONDS, Instance, _Waiting


@pytest.fixture
def waiting() -> _Waiting:
    return _Waiting(Instance("v-1", "v", "b:v", Endpoint(1, 2)))


def process(pid: int = 77, *, wanted: bool = True, fault: str = "") -> Process:
    return Process("v-1", {}, wanted, pid, processes.made(pid), (1.0,), fault)


@pytest.fixture
def family() -> Iterator[subprocess.Popen[bytes]]:
    """A process with three below it."""
    command = ["sh", "-c", "sleep 600 & sleep 600 & sleep 600 & wait"]
    with subprocess.Popen(command, start_new_session=True) as started:
        while len(processes.below(started.pid)) < 3:
            assert started.poll() is None
        yield started
        os.killpg(started.pid, signal.SIGKILL)


def test_one_that_takes_too_long(waiting: _Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "below", lambda _: {1, 2})
    assert waiting.fault(process(), READY_SECONDS) == ""
    assert waiting.fault(process(), READY_SECONDS + 1) == "was not ready after 120 s"


def test_one_whose_worker_could_not_start_twice(waiting: _Waiting, family: subprocess.Popen[bytes]) -> None:
    """One process that ends may be a helper."""
    assert waiting.fault(process(family.pid), 1.0) == ""
    for said in ("", "starts processes that end again (2 by now)"):
        ended = processes.below(family.pid).pop()
        os.kill(ended, signal.SIGKILL)
        while ended in processes.below(family.pid):
            assert family.poll() is None
        assert waiting.fault(process(family.pid), 1.0) == said


def test_one_that_was_killed_and_is_started_again(waiting: _Waiting, family: subprocess.Popen[bytes]) -> None:
    assert waiting.fault(process(family.pid), 1.0) == ""
    made = process(family.pid)
    family.kill()
    family.wait()
    assert waiting.fault(made, 1.0) == ""
    assert waiting.fault(process(os.getpid()), 1.0) == ""


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "was taken away while it started"),
        (process(wanted=False), "was taken away while it started"),
        (process(fault="ended 5 times within 60 s"), "does not stay up: it ended 5 times within 60 s"),
    ],
)
def test_one_that_nobody_starts(waiting: _Waiting, found: Process | None, why: str) -> None:
    assert waiting.fault(found, 1.0) == why
