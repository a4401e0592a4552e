"""Ports for servers of the tests: each is given out once on this machine, and the system never gives it to a client."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

#: Below the ports that systems give to those who ask for any: Linux' from 32,768 on, gVisor's from 16,000 on.
FIRST, LAST = 10_000, 15_998
#: Locks of the ports that this process has given out, held for as long as it lives: a server that is killed and comes
#: back wants the port that it had, and another process of the tests must not have it meanwhile.
_HELD: list[IO[bytes]] = []


def free_ports() -> int:
    """The first of two ports beside each other that nobody has, for this process alone."""
    folder = Path(tempfile.gettempdir()) / f"bentocast-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in random.SystemRandom().sample(range(FIRST, LAST, 2), (LAST - FIRST) // 2):
        lock = (folder / str(port)).open("wb")
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            _HELD.append(lock)
            return port
        lock.close()
    raise AssertionError("no two free ports beside each other")
