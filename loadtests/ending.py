"""The end of processes: asked, then forced, and waited for."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Collection, Iterable

import psutil

END_SECONDS = 15.0
POLL_SECONDS = 0.01


def end(processes: Collection[psutil.Process], seconds: float | None = None) -> int:
    """SIGTERM, then SIGKILL for those that are there after `seconds` (END_SECONDS); how many have ended."""
    _send(signal.SIGTERM, processes)
    alive = _wait(processes, END_SECONDS if seconds is None else seconds)
    _send(signal.SIGKILL, alive)
    return len(processes) - len(_wait(alive, END_SECONDS))


def _send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _wait(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still there in the end. psutil's own wait would take exit codes away from Popen, and wait for zombies."""
    late = time.monotonic() + seconds
    while (alive := [process for process in processes if is_alive(process)]) and time.monotonic() < late:
        time.sleep(POLL_SECONDS)
    return alive


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: its pid is not another's by now, and it is no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
