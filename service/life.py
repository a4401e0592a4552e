"""The life of a worker: its parts are made, started, drained and ended here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from data.forecaster import Forecaster
from service.call import Call
from service.histories import Limits
from service.metrics import Metrics
from service.protocols.timeseries import Timeseries
from service.served import Served
from service.settings import Settings
from service.worker import Worker

#: Seconds between bringing what was counted in memory to the page of metrics.
TICK_SECONDS = 0.25

logger = logging.getLogger("bentocast.service")


class Life:
    """A worker and what runs beside it."""

    def __init__(self, worker: Worker, metrics: Metrics) -> None:
        self.worker, self.metrics = worker, metrics
        self._grpc: Any = None
        self._ticking: asyncio.Task[None] | None = None

    @classmethod
    def of(
        cls, settings: Settings, folder: Path, labels: dict[str, str], bento: str, schema: Callable[[], dict[str, Any]]
    ) -> Life:
        """Load the model.

        Args:
            settings: of the operator.
            folder: where the model lies.
            labels: of the model: its version and lineage.
            bento: tag of what is served.
            schema: BentoML's description of the service.

        Raises:
            ModelError: a file is missing or damaged.
        """
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
        return cls(worker, metrics)

    async def start(self) -> None:
        """Open gRPC, and begin to count."""
        if self.worker.settings.grpc:
            from service.grpc_server import GrpcServer
            from service.protocols import grpc_bentoml, grpc_forecast, grpc_inference

            services = (grpc_inference.SERVICE, grpc_forecast.SERVICE, grpc_bentoml.SERVICE)
            self._grpc = GrpcServer(self.worker, self.metrics, services)
            await self._grpc.start()
        self._ticking = asyncio.create_task(self._tick())

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
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
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
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.metrics.tick()
