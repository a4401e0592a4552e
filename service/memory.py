"""Memory that is not used goes back to the system: glibc keeps what was freed, and keeps it apart for every thread.

A request of some megabytes takes ten times as much while it is answered; a worker would look as if it still
needed that for the rest of its life.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

#: glibc's number for the most arenas; each holds freed memory of its own.
_M_ARENA_MAX = -8
ARENAS = 2


def share_arenas() -> None:
    """Have all threads take memory from a few places; to be called before there are threads."""
    _call("mallopt", _M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give to the system what was freed; takes a millisecond or two."""
    _call("malloc_trim", 0)


def _call(name: str, *numbers: int) -> None:
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), name, None)  # musl has neither
        if function is not None:
            function(*numbers)


def resident() -> int:
    """Bytes of this process in memory; where there is no /proc, the most that it ever had."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1_024)
