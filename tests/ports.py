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


def free_ports(count: int = 2) -> int:
    """The first of some ports in a row (an even number of them) that nobody has, for this process alone."""
    folder = Path(tempfile.gettempdir()) / f"bentocast-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    starts = range(FIRST, LAST - count, 2)
    for port in random.SystemRandom().sample(starts, len(starts)):
        locks = [(folder / str(pair)).open("wb") for pair in range(port, port + count, 2)]
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for lock in locks:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for one in range(port, port + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", one))
            _HELD.extend(locks)
            return port
        for lock in locks:
            lock.close()
    raise AssertionError(f"no {count} free ports in a row")
