"""What a stage cost: wall time, processor time and peak memory of this process."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Linux counts in kibibytes, macOS in bytes.
_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1_024


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Give a dictionary that holds `seconds`, `cpu_seconds` and `peak_memory_bytes` once the block has ended."""
    cost: dict[str, float] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield cost
    cost["seconds"] = round(time.perf_counter() - wall, 3)
    cost["cpu_seconds"] = round(time.process_time() - cpu, 3)
    cost["peak_memory_bytes"] = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MEMORY_UNIT)
