"""moto's server, with a record of requests that can be played again.

Requests come on several threads, and a large one is written to the record in several pieces: as moto is, they may
stand in each other.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

from moto.moto_api._internal.recorder.models import Recorder
from moto.server import main

if __name__ == "__main__":
    lock, record = threading.Lock(), Recorder._record_request

    @functools.wraps(record)
    def alone(*args: Any, **kwargs: Any) -> None:
        """As moto does, one at a time."""
        with lock:
            record(*args, **kwargs)

    Recorder._record_request = alone  # type: ignore[method-assign]
    main(sys.argv[1:])
