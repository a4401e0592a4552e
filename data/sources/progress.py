"""How far a download is, for whoever waits longer than two seconds for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Never, Self, TextIO

from tqdm import tqdm

QUIET_SECONDS, LINE_EVERY_SECONDS = 2.0, 5.0


class Meter:
    """Shows a bar on a terminal, a line every few seconds elsewhere, nothing before two seconds are over."""

    def __init__(self, what: str, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock.

        Args:
            what: name of what is awaited.
            stream: where to write; None for silence.
            clock: seconds.
        """
        self._what, self._stream, self._clock = what, stream, clock
        self._next = clock() + QUIET_SECONDS
        self._bar: tqdm[Never] | None = None

    def __enter__(self) -> Self:
        """Give the meter itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal tidy."""
        if self._bar is not None:
            self._bar.close()

    def report(self, done_bytes: int, total_bytes: int | None) -> None:
        """Tell how many bytes there are, and how many there will be if that is known."""
        if self._stream is None or self._clock() < self._next:
            return
        if self._stream.isatty():
            self._draw(done_bytes, total_bytes, self._stream)
            return
        self._next = self._clock() + LINE_EVERY_SECONDS
        of = f" of {total_bytes / 1e6:.1f}" if total_bytes is not None else ""
        self._stream.write(f"{self._what}: {done_bytes / 1e6:.1f}{of} MB\n")
        self._stream.flush()

    def _draw(self, done_bytes: int, total_bytes: int | None, stream: TextIO) -> None:
        if self._bar is None:
            self._bar = tqdm(desc=self._what, file=stream, unit="B", unit_scale=True, initial=done_bytes)
        self._bar.total = total_bytes
        self._bar.update(done_bytes - self._bar.n)
