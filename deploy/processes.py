"""Processes that outlive the command that started them: started, found again, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import psutil

#: Variable in the environment of a kept process and all below it: the folder of its deployment and its name.
MARK = "DEPLOY_PROCESS"
#: A log that is larger is put aside when its process is started anew; one is kept.
LOG_BYTES = 10 * 1024 * 1024
#: Two readings of when a process was made may differ by this much.
MADE_SECONDS = 0.05
POLL_SECONDS = 0.02


def start(
    arguments: list[str], folder: Path, environment: Mapping[str, str], log: Path, mark: str
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; what it prints is added to its log.

    Args:
        arguments: the command.
        folder: that it runs in; it is made.
        environment: all of it.
        log: file.
        mark: by which it and all below it are found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as target:
        return subprocess.Popen(
            arguments,
            cwd=folder,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def alive(pid: int | None, made: float | None) -> psutil.Process | None:
    """The process with a pid, if it is the one that was made then and still runs."""
    if pid is None or made is None:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        same = abs(process.create_time() - made) < MADE_SECONDS
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def made(pid: int) -> float | None:
    """When a process was made, or None if it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def below(pid: int | None) -> set[int]:
    """Pids of all processes below one."""
    try:
        return {process.pid for process in psutil.Process(pid).children(recursive=True)} if pid else set()
    except psutil.NoSuchProcess:
        return set()


def marked(mark: str) -> list[psutil.Process]:
    """This user's processes with a mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            if process.uids().real == os.getuid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Send a signal to those that are still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait(processes: Collection[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still there after so long; a zombie is gone."""
    late = time.monotonic() + seconds
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < late:
        time.sleep(POLL_SECONDS)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
