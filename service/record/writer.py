"""Takes what waits to the database, in groups: one turn after the other, in a thread that it knows nothing of."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from data.errors import ConfigError, RequestError
from service.record.actuals import ActualsQueue, Call, rows
from service.record.entries import ForecastEntry, ForecastQueue, encode_all
from service.record.errors import RefusedRowsError
from service.record.health import Health
from service.record.pace import in_slices
from service.record.samples import SampleEntry, encode
from service.record.settings import RecordSettings

#: How often old rows are looked for, when there were none left.
_SWEEP_SECONDS = 60.0
#: Forecasts that cannot be stored are reported no more often than this.
_COMPLAINT_SECONDS = 60.0

logger = logging.getLogger("bentocast.record")


class Store(Protocol):
    """Where rows go; `service.record.database.Database` keeps them."""

    def check(self) -> None:
        """See that it works."""

    def write_forecasts(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add forecasts."""

    def write_samples(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add sampled requests."""

    def write_actuals(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add or replace actual values."""

    def delete_older(self, than: float, limit: int) -> bool:
        """Delete some old rows; whether there may be more."""

    def close(self) -> None:
        """Let go of it."""


class Writer:
    """What one thread does for the record.

    Attributes:
        written: forecasts on disk.
        refused: forecasts that cannot be stored, ever.
        last_write: when something was last written, in seconds since 1970, UTC; 0 if never.
    """

    def __init__(
        self,
        store: Store,
        forecasts: ForecastQueue,
        actuals: ActualsQueue,
        settings: RecordSettings,
        clock: Callable[[], float] = time.monotonic,
        samples: deque[SampleEntry] | None = None,
    ) -> None:
        self._samples = deque() if samples is None else samples
        self.written = 0
        self.refused = 0
        self.last_write = 0.0
        self.health = Health(settings.address)
        self._store = store
        self._forecasts = forecasts
        self._actuals = actuals
        self._settings = settings
        self._clock = clock
        self._at_work_since: float | None = None
        self._sweep_at = float("-inf")
        self._complain_at = float("-inf")

    def begin(self) -> None:
        """See whether the database works; if not, it is tried again at every turn.

        Raises:
            ConfigError: it holds tables that this code does not know.
        """
        try:
            self._store.check()
        except ConfigError:
            raise
        except Exception as err:
            self.health.failed(err, self._clock(), 0)

    def turn(self) -> float:
        """Write one group of actual values and one of forecasts, delete some old rows; seconds until the next turn."""
        now = self._clock()
        if not self.health.good and now < self.health.retry_at:
            return self.health.retry_at - now
        self._at_work_since = now
        try:
            more = self._work(now)
        except Exception as err:
            now = self._clock()
            self.health.failed(err, now, len(self._forecasts))
            return self.health.retry_at - now
        finally:
            self._at_work_since = None
        self.health.works(self._clock(), self._forecasts.dropped + self.refused)
        return 0.0 if more else self._settings.flush_seconds

    @property
    def stuck(self) -> bool:
        """Whether a turn takes longer than a client waits: a database that neither answers nor breaks off."""
        since = self._at_work_since
        return since is not None and self._clock() - since > self._settings.acknowledge_seconds

    def _work(self, now: float) -> bool:
        if not self.health.good:
            self._store.check()
        self._write_actuals()
        more = self._write_forecasts()
        self._write_samples()
        return self._sweep(now) or more

    def _write_actuals(self) -> None:
        calls = self._actuals.group()
        try:
            self._take(calls)
        except RefusedRowsError:
            for call in calls:
                try:
                    self._take([call])
                except RefusedRowsError as err:
                    call.refuse(RequestError(f"actual values: the database cannot store them: {err}", param="values"))

    def _take(self, calls: list[Call]) -> None:
        if calls:
            self._store.write_actuals(rows(calls))
            self._actuals.done(calls)
            self.last_write = time.time()

    def _write_samples(self) -> None:
        """Write what waits; a sample that cannot be kept is lost, there will be others."""
        while self._samples:
            try:
                self._store.write_samples([encode(self._samples.popleft())])
            except (RefusedRowsError, ValueError) as err:
                logger.warning("record: a sampled request cannot be stored and is dropped: %s", err)

    def _write_forecasts(self) -> bool:
        """Write a batch, one by one if the database cannot store one of them; whether another batch is full."""
        entries = self._forecasts.first(self._settings.batch_entries)
        try:
            self._keep(entries)
        except RefusedRowsError:
            for entry in entries:
                try:
                    self._keep([entry])
                except RefusedRowsError as err:
                    self._forecasts.done(1)
                    self._refuse(str(err))
        return len(self._forecasts) >= self._settings.batch_entries

    def _keep(self, entries: list[ForecastEntry]) -> None:
        rows, faults = [], []
        for some in in_slices(entries):
            for made in encode_all(some):
                if isinstance(made, Exception):
                    faults.append(f"{type(made).__name__}: {made}")
                else:
                    rows.append(made)
        if rows:
            self._store.write_forecasts(rows)
            self.written += len(rows)
            self.last_write = time.time()
        self._forecasts.done(len(entries))
        for fault in faults:
            self._refuse(fault)

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        if self._clock() >= self._complain_at:
            self._complain_at = self._clock() + _COMPLAINT_SECONDS
            logger.error("record: a forecast cannot be stored and is dropped: %s", reason)

    def _sweep(self, now: float) -> bool:
        """Delete some rows that are past their time: twice as many as a turn writes, so that it keeps up."""
        if now < self._sweep_at:
            return False
        oldest = time.time() - self._settings.retention_seconds
        more = self._store.delete_older(oldest, 2 * self._settings.batch_entries)
        self._sweep_at = now if more else now + _SWEEP_SECONDS
        return more
