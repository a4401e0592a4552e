"""Ctrl-C, SIGTERM and SIGHUP (a terminal that closes) end a run; two moments at which they would leave processes behind.

Only in the main thread.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

#: That end a run.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed() -> None:
    """Let each of them raise, so that what was started is ended; but whoever used `nohup` wants to outlive the terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    signal.signal(signal.SIGTERM, _exit)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _exit)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A signal waits until it is known what was started. Blocked signals would stay so in the child."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda which, _: came.append(which)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for which in came:
            signal.raise_signal(which)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A second signal must not leave servers behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
