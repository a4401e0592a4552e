"""The record as the service sees it: hand over forecasts at no cost, and actual values for a promise."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.record.actuals import Actuals, ActualsQueue
from service.record.entries import Floats, ForecastEntry, ForecastQueue
from service.record.errors import RecordUnavailableError
from service.record.health import fix
from service.record.samples import MOST_WAITING, SampleEntry
from service.record.settings import RecordSettings
from service.record.writer import Store, Writer


@dataclass(frozen=True)
class RecordStats:
    """How the record fares in this process.

    Attributes:
        written: forecasts on disk.
        dropped: forecasts that never will be: the queue was full, they cannot be stored, or the record was closed.
        failed_writes: attempts at which the database did not work.
        queued: forecasts that wait.
        last_write_timestamp: when something was last written, in seconds since 1970, UTC; 0 if never.
        healthy: whether the last attempt succeeded, and the one at work does not hang.
    """

    written: int
    dropped: int
    failed_writes: int
    queued: int
    last_write_timestamp: float
    healthy: bool


class Recorder:
    """Writes to the record from a thread of its own; all methods but `close` return at once, from any thread."""

    def __init__(self, store: Store, settings: RecordSettings) -> None:
        self._settings = settings
        self._store = store
        self._forecasts = ForecastQueue(settings.queue_entries, settings.queue_bytes, settings.batch_entries)
        self._actuals = ActualsQueue()
        self._samples: deque[SampleEntry] = deque(maxlen=MOST_WAITING)
        self._writer = Writer(store, self._forecasts, self._actuals, settings, samples=self._samples)
        self._wake = threading.Event()
        self._ends_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="bentocast-record", daemon=True)

    @classmethod
    def open(cls, settings: RecordSettings) -> Self:
        """Connect, make the tables that are missing, and start to write.

        A database that is out of reach is no error: it is tried again for as long as the recorder is open.

        Raises:
            ConfigError: the database's driver is missing, or its tables are of a version that is not known here.
        """
        from service.record.database import Database

        recorder = cls(Database.make(settings.address), settings)
        recorder.start()
        return recorder

    def start(self) -> None:
        """See whether the database works, and start the thread."""
        self._writer.begin()
        self._thread.start()

    def put(self, entry: ForecastEntry) -> None:
        """Hand over a forecast. Never waits, never raises; if there is no room, it is dropped and counted."""
        self.put_many((entry,))

    def put_many(self, entries: Sequence[ForecastEntry]) -> None:
        """Hand over forecasts, as `put`."""
        if self._forecasts.put(entries):
            self._wake.set()

    def put_sample(self, entry: SampleEntry) -> None:
        """Hand over a sampled request. Never waits, never raises; the oldest that waits is dropped if there are many."""
        self._samples.append(entry)

    async def put_actuals(self, series: list[str], times: NDArray[np.datetime64], values: Floats) -> int:
        """Write actual values, and replace those that are there for the same series and time.

        Args:
            series: names, one for each value.
            times: shape (n,), datetime64[s].
            values: shape (n,), NaN where it is known that there is no value.

        Returns:
            How many: all of them are on disk.

        Raises:
            RequestError: a name, time or value is not one that the record takes.
            RecordUnavailableError: the database did not take them in time; none of them may be relied on.
        """
        future = self.submit(Actuals.checked(series, times, values))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._settings.acknowledge_seconds)
        except TimeoutError:
            raise self._unavailable(len(series)) from None

    def submit(self, actuals: Actuals) -> Future[int]:
        """The core of `put_actuals`, for callers without an event loop; cancel the future to withdraw.

        Raises:
            RecordUnavailableError: the record is closed, is full, or has not worked for some time.
        """
        broken_since = self._writer.health.broken_since
        if broken_since is not None and time.monotonic() - broken_since > self._settings.acknowledge_seconds:
            raise self._unavailable(len(actuals.series))
        future = self._actuals.put(actuals)
        self._wake.set()
        return future

    def stats(self) -> RecordStats:
        """Counters, readable at any time from any thread."""
        writer = self._writer
        return RecordStats(
            written=writer.written,
            dropped=self._forecasts.dropped + writer.refused,
            failed_writes=writer.health.failures,
            queued=len(self._forecasts),
            last_write_timestamp=writer.last_write,
            healthy=writer.health.good and not writer.stuck,
        )

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, for at most `timeout` seconds; what is left is dropped and counted, or refused."""
        self._ends_at = time.monotonic() + timeout
        self._wake.set()
        self._thread.join(timeout)
        self._forecasts.close()
        self._actuals.close()

    def _run(self) -> None:
        pause = 0.0
        while not self._over():
            self._wake.wait(pause)
            self._wake.clear()
            pause = self._writer.turn()
            if self._ends_at is not None:
                pause = 0.0 if self._writer.health.good else min(pause, max(0.0, self._ends_at - time.monotonic()))
        self._store.close()

    def _over(self) -> bool:
        if self._ends_at is None:
            return False
        return time.monotonic() >= self._ends_at or not (len(self._forecasts) or len(self._actuals) or self._samples)

    def _unavailable(self, count: int) -> RecordUnavailableError:
        health = self._writer.health
        why = f"{health.reason}: {fix(health.reason)}" if health.reason and not health.good else "it is busy"
        return RecordUnavailableError(
            f"record {self._settings.address.shown} did not take {count} actual values within "
            f"{self._settings.acknowledge_seconds:g} s: {why}; send them again",
            retry_after_seconds=max(1.0, round(health.retry_at - time.monotonic(), 1)),
        )
