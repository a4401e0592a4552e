"""What goes from the service into the record, and what the record says of itself into the metrics.

The record is opened in a thread while the service answers already: its library takes as long to import as
half of the worker. What is forecast until then waits here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from data.errors import BentocastError
from service.forecasting import Answer
from service.histories import Question
from service.record import ForecastEntry, Recorder, RecordSettings, RecordStats, RecordUnavailableError
from service.record.samples import MAX_BYTES, SampleEntry, beginning
from service.served import Served

#: Forecasts kept until the record is open; of more, the oldest are dropped and counted.
MOST_WAITING = 10_000
#: From one attempt to open the record to the next.
RETRY_SECONDS = 30.0

logger = logging.getLogger("bentocast.service")


class Keeper:
    """Keeps a worker's forecasts and actual values.

    Args:
        served: the model.
        settings: of the record.
        registry: where the metrics are kept.
    """

    def __init__(self, served: Served, settings: RecordSettings, registry: CollectorRegistry = REGISTRY) -> None:
        self._served, self._settings = served, settings
        self._step_seconds = served.forecaster.card.declaration.series.step_seconds
        self._recorder: Recorder | None = None
        self._waiting: deque[ForecastEntry] = deque()
        self._fault = ""
        self._requests = map("{}-{:x}".format, itertools.repeat(secrets.token_hex(4)), itertools.count())
        self._metrics = RecordMetrics(registry)
        self._sample_at = math.inf if settings.sample_seconds is None else 0.0

    async def open(self) -> None:
        """Open the record, however often it takes; until then log and metrics tell of it, and forecasts go on."""
        while (recorder := await self._opened()) is None:
            await asyncio.sleep(RETRY_SECONDS)
        self._recorder = recorder
        while self._waiting:
            recorder.put_many((self._waiting.popleft(),))

    async def _opened(self) -> Recorder | None:
        """The record, or None if it cannot be opened now; each reason is logged once, not at each attempt."""
        try:
            return await asyncio.to_thread(Recorder.open, self._settings)
        except Exception as err:
            fault = err.message if isinstance(err, BentocastError) else self._settings.address.explain(err)
            if fault != self._fault:
                logger.error("the record is not kept, and tried again every %g s: %s", RETRY_SECONDS, fault)  # noqa: TRY400 - the message says it all
            self._fault = fault
            self._metrics.unopened()
            return None

    def keep(self, question: Question, answer: Answer, request: str = "") -> None:
        """Hand over the forecasts of one request; costs a few microseconds a series.

        Args:
            question: what was asked.
            answer: to it.
            request: its name; it gets one if there is none.
        """
        served, now, request = self._served, time.time(), request or next(self._requests)
        origins = answer.starts - np.timedelta64(self._step_seconds, "s")
        entries = [
            ForecastEntry(
                request,
                name,
                served.model,
                served.model_version,
                served.bento,
                now,
                origins[place],
                self._step_seconds,
                answer.mean[place],
                dict(zip(answer.levels, answer.quantiles[:, place], strict=True)),
            )
            for place, name in enumerate(question.names)
        ]
        if self._recorder is None:
            self._wait(entries)
        else:
            self._recorder.put_many(entries)
            if now >= self._sample_at:
                self._sample(self._recorder, question, answer, request, now)

    def _wait(self, entries: Sequence[ForecastEntry]) -> None:
        """Keep forecasts until the record is open; if there is no room, the oldest are dropped and counted."""
        self._waiting.extend(entries)
        over = max(0, len(self._waiting) - MOST_WAITING)
        for _ in range(over):
            self._waiting.popleft()
        self._metrics.lost(over)

    def _sample(self, recorder: Recorder, question: Question, answer: Answer, request: str, now: float) -> None:
        """Keep one series of a request as it came, with the features that were made of it, unless it is large."""
        self._sample_at = now + (self._settings.sample_seconds or math.inf)
        if answer.rows is None or not question.sent:
            return
        served, design = self._served, self._served.forecaster.design
        place = secrets.randbelow(len(question.sent))
        history = question.sent[place]
        past = {name: history.past_covariates[name] for name in design.past}
        cut = beginning(history.values, past, design.context)
        if cut is None:
            return
        entry = SampleEntry(
            request_id=request,
            series=history.name,
            model_name=served.model,
            model_version=served.model_version,
            bento=served.bento,
            created_at=now,
            origin=answer.starts[place] - np.timedelta64(self._step_seconds, "s"),
            step_seconds=self._step_seconds,
            values=history.values[cut:],
            past={name: values[cut:] for name, values in past.items()},
            future={name: history.future_covariates[name][: question.steps] for name in design.future},
            inputs=answer.rows.inputs.reshape(len(question.names), design.horizon, -1)[place],
            scale=float(answer.rows.scale[place]),
        )
        if entry.size_bytes <= MAX_BYTES:
            recorder.put_sample(entry)

    async def put_actuals(self, series: list[str], times: NDArray[np.datetime64], values: NDArray[np.float64]) -> int:
        """Wait until actual values are on disk.

        Raises:
            RecordUnavailableError: the record is not open yet, or does not take them.
        """
        if self._recorder is None:
            raise RecordUnavailableError("the record is not open: send them again", retry_after_seconds=1)
        return await self._recorder.put_actuals(series, times, values)

    def tick(self) -> None:
        """Bring the record's counters to the page of metrics."""
        if self._recorder is None:
            self._metrics.wait(len(self._waiting))
        else:
            self._metrics.tell(self._recorder.stats())

    async def close(self, timeout_seconds: float) -> None:
        """Write what waits; what waits for a record that never opened is dropped and counted."""
        if self._recorder is None:
            self._metrics.lost(len(self._waiting))
            self._waiting.clear()
        else:
            await asyncio.to_thread(self._recorder.close, timeout_seconds)
        self.tick()


class RecordMetrics:
    """How the record fares."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._last = RecordStats(0, 0, 0, 0, 0.0, healthy=True)
        self._written = Counter("record_forecasts_written_total", "Forecasts on disk", registry=registry)
        self._dropped = Counter("record_forecasts_dropped_total", "Forecasts that were not kept", registry=registry)
        self._failed = Counter("record_failed_writes_total", "Attempts that failed", registry=registry)
        self._queued = Gauge(
            "record_forecasts_queued", "Forecasts that wait", registry=registry, multiprocess_mode="livesum"
        )
        self._healthy = Gauge(
            "record_healthy", "1 if the database takes what is written", registry=registry, multiprocess_mode="livemin"
        )
        self._healthy.set(1)

    def unopened(self) -> None:
        """The record could not be opened."""
        self._healthy.set(0)

    def wait(self, count: int) -> None:
        """So many forecasts wait for the record to be opened."""
        self._queued.set(count)

    def lost(self, count: int) -> None:
        """So many forecasts were dropped before the record was open."""
        self._dropped.inc(count)

    def tell(self, stats: RecordStats) -> None:
        """Add what is new."""
        last, self._last = self._last, stats
        self._written.inc(stats.written - last.written)
        self._dropped.inc(stats.dropped - last.dropped)
        self._failed.inc(stats.failed_writes - last.failed_writes)
        self._queued.set(stats.queued)
        self._healthy.set(float(stats.healthy))
