"""The life of a worker: its parts are made, started, drained and ended here."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from data.forecaster import Forecaster
from service import memory
from service.call import Call
from service.histories import Limits
from service.keeping import Keeper
from service.metrics import Metrics
from service.protocols.timeseries import Timeseries
from service.record import RecordSettings
from service.served import Served
from service.settings import Settings
from service.worker import Worker

#: Seconds between bringing what was counted in memory to the page of metrics.
TICK_SECONDS = 0.5
#: Ticks between giving freed memory back.
TRIM_TICKS = 10
#: Longest that the end of a worker waits for the record.
RECORD_SECONDS = 5.0

logger = logging.getLogger("bentocast.service")


class Life:
    """A worker and what runs beside it."""

    def __init__(self, worker: Worker, metrics: Metrics, keeper: Keeper | None) -> None:
        self.worker, self.metrics = worker, metrics
        self._keeper = keeper
        self._grpc: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._faults: dict[str, str] = {}

    @classmethod
    def of(
        cls,
        settings: Settings,
        folder: Path,
        labels: dict[str, str],
        bento: str,
        schema: Callable[[], dict[str, Any]],
        record: RecordSettings | None,
    ) -> Life:
        """Load the model.

        Args:
            settings: of the operator.
            folder: where the model lies.
            labels: of the model: its version and lineage.
            bento: tag of what is served.
            schema: BentoML's description of the service.
            record: where the record is kept, if there is one.

        Raises:
            ModelError: a file is missing or damaged.
        """
        memory.share_arenas()
        served = Served(
            forecaster=Forecaster.load(folder),
            model="bentocast",
            model_version=labels["mlflow_version"],
            bento=bento,
            lineage=labels,
            limits=Limits(settings.max_series, settings.max_values),
        )
        metrics = Metrics(served)
        worker = Worker.of(replace(served, watch=metrics.model.watch), settings)
        worker.schema = schema
        keeper = Keeper(served, record) if record else None
        if keeper is not None:
            worker.keep, worker.put_actuals = keeper.keep, keeper.put_actuals
        return cls(worker, metrics, keeper)

    async def start(self) -> None:
        """Open gRPC and the record, and begin to count."""
        if self.worker.settings.grpc:
            from service.grpc_server import GrpcServer
            from service.protocols import grpc_bentoml, grpc_forecast, grpc_inference

            services = (grpc_inference.SERVICE, grpc_forecast.SERVICE, grpc_bentoml.SERVICE)
            self._grpc = GrpcServer(self.worker, self.metrics, services)
            await self._grpc.start()
        self._tasks = [asyncio.create_task(self._tick())]
        if self._keeper is not None:
            self._tasks.append(asyncio.create_task(self._keeper.open()))

    async def drain(self) -> None:
        """Say to all who ask that this worker is about to end; whoever asks for a forecast still gets it."""
        logger.info("told to end: not ready from now on, ending in %g s", self.worker.settings.drain_seconds)
        self.worker.ready = False
        if self._grpc is not None:
            await self._grpc.say(ready=False)

    async def stop(self) -> None:
        """End what `start` began."""
        if self._grpc is not None:
            await self._grpc.stop(self.worker.settings.deadline_seconds)
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._keeper is not None:
            await self._keeper.close(RECORD_SECONDS)
        self.metrics.tick()
        self.worker.engine.close()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a request of the Time Series API that is in memory already."""
        door, served = Timeseries(), self.worker.served
        asked = door.read(Call((), msgspec.json.encode(body)), served)
        (answer,) = served.answer([asked.question])
        made: dict[str, Any] = msgspec.json.decode(door.write(asked, answer, served).body)
        return made

    async def _tick(self) -> None:
        for turn in itertools.count():
            await asyncio.sleep(TICK_SECONDS)
            self._do(self.metrics.tick)
            if self._keeper is not None:
                self._do(self._keeper.tick)
            if turn % TRIM_TICKS == 0:
                await asyncio.to_thread(self._do, memory.give_back)

    def _do(self, part: Callable[[], object]) -> None:
        """Do a part of a turn. One that fails is told of once for each fault, and done again at the next turn."""
        name = part.__qualname__
        try:
            part()
        except Exception as err:
            if self._faults.get(name) != (fault := repr(err)):
                logger.exception("%s failed; it is tried again every %g s", name, TICK_SECONDS)
            self._faults[name] = fault
        else:
            self._faults.pop(name, None)
