"""Ctrl-C and SIGTERM at the two moments at which they would leave processes behind. Only in the main thread."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

#: That end a run.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Ctrl-C, or SIGTERM, waits until it is known what was started. Blocked signals would stay so in the child."""
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
    """A second Ctrl-C, or SIGTERM, must not leave servers behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
