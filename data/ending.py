"""The end of processes: found by a mark in their environment, asked, then forced, and waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable

import psutil

END_SECONDS = 15.0
POLL_SECONDS = 0.01


def end(processes: Collection[psutil.Process], seconds: float | None = None) -> int:
    """SIGTERM, then SIGKILL for those that are there after `seconds` (END_SECONDS); how many have ended."""
    send(signal.SIGTERM, processes)
    alive = wait(processes, END_SECONDS if seconds is None else seconds)
    send(signal.SIGKILL, alive)
    return len(processes) - len(wait(alive, END_SECONDS))


def send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Send a signal to those that are still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still there in the end. psutil's own wait would take exit codes away from Popen, and wait for zombies."""
    late = time.monotonic() + seconds
    while (alive := [process for process in processes if is_alive(process)]) and time.monotonic() < late:
        time.sleep(POLL_SECONDS)
    return alive


def reaped(processes: Iterable[psutil.Process], seconds: float = END_SECONDS) -> None:
    """Wait until nobody finds them by their pids any more: DVC takes a zombie, whose parent was killed, for one that runs."""
    late = time.monotonic() + seconds
    while any(process.is_running() for process in processes) and time.monotonic() < late:
        time.sleep(POLL_SECONDS)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: its pid is not another's by now, and it is no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def marked(variable: str, value: str) -> set[psutil.Process]:
    """This user's processes that have a value in a variable of their environment."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            if process.environ().get(variable) == value and process.uids().real == os.getuid():
                found.add(process)
    return found
