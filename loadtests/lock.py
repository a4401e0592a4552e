"""One run at a time, which first ends what an earlier run left behind.

Whoever holds the lock owns every process with its mark. A child that is forked without exec holds the lock too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from data import command
from data.ending import end, marked
from data.errors import BentocastError
from loadtests.processes import RUN, Mark


class BusyError(BentocastError):
    """Another run holds the lock."""

    exit_code = 2


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[Mark]:
    """Hold a lock file; its folder is made. Processes with its mark are ended: at first, and whatever happens.

    Raises:
        BusyError: another run holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise BusyError(f"another run holds {lock}, and there can be one: wait for its end, or end it") from err
        mark = Mark(str(lock.resolve()))
        _sweep(mark, "that an earlier run left behind")
        try:
            yield mark
        finally:
            _sweep(mark, "that outlived the servers")


def _sweep(mark: Mark, which: str) -> None:
    """End all that carry the mark, also what they start meanwhile."""
    known: set[psutil.Process] = set()
    ended = 0
    while found := _marked(mark) - known:
        known |= found
        ended += end(found)
    if ended:
        command.say(f"ended {ended} {'process' if ended == 1 else 'processes'} {which}")


def _marked(mark: Mark) -> set[psutil.Process]:
    """This user's processes with the mark, but never this one nor those that it comes from."""
    spared = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return {process for process in marked(RUN, mark.value) if process.pid not in spared}
