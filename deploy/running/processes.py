"""Processes that outlive the command that started them: started, and found again."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from data.ending import is_alive

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


def alive(pid: int | None, since: float | None) -> psutil.Process | None:
    """The process with a pid, if it is the one that was made then and still runs."""
    if pid is None or since is None:
        return None
    found = made(pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if found is not None and abs(found - since) < MADE_SECONDS and is_alive(process):
            return process
    return None


def made(pid: int) -> float | None:
    """When a process was made, seconds since the machine started, or None if it is gone.

    psutil's seconds since 1970 change when somebody sets the clock: all that runs would be taken for dead, and killed.
    """
    try:
        return float(psutil.Process(pid).create_time() - psutil.boot_time())
    except psutil.NoSuchProcess:
        return None


def below(pid: int | None) -> set[int]:
    """Pids of all processes below one."""
    try:
        return {process.pid for process in psutil.Process(pid).children(recursive=True)} if pid else set()
    except psutil.NoSuchProcess:
        return set()
