"""Freed memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from service import memory

#: In a process of its own: what other tests left behind is not seen.
PROGRAM = """
from pathlib import Path
from service import memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

memory.share_arenas()
before = resident()
kept = [bytearray(1000) for _ in range(100_000)]
full = resident()
last = kept.pop()
del kept
memory.give_back()
print(before, full, resident(), len(last))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_gives_back_what_lies_below_what_is_in_use() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, full, after, _ = map(int, done.stdout.split())
    assert full - before > 90_000_000
    assert after - before < 0.2 * (full - before)


def test_resident_memory_grows_by_what_is_taken() -> None:
    before = memory.resident()
    taken = bytearray(100_000_000)
    taken[::4096] = b"x" * len(taken[::4096])
    assert 90_000_000 < memory.resident() - before < 150_000_000
