"""One worker's parts, put together: the model, the engine, the record, the metrics, and whether it may be asked.

HTTP and gRPC both come through `forecast`, so that the same request is answered, counted and recorded the
same way through every door.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.errors import BentocastError
from service.admission import LARGE_BYTES, Admission
from service.call import Asked
from service.correlation import REQUEST_ID
from service.engine import Engine
from service.forecasting import Answer
from service.histories import Question
from service.keys import Keys
from service.served import AnyAnswer, AnyQuestion, Served
from service.settings import Settings

Made = TypeVar("Made")
Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


class NoRecordError(BentocastError):
    """Actual values have nowhere to go."""

    status = 503
    code = "record_unavailable"


async def _no_record(_: list[str], __: Times, ___: Floats) -> int:
    raise NoRecordError("this service keeps no record: set BENTOCAST_RECORD=true to keep one")


@dataclass
class Worker:
    """What a worker holds.

    Attributes:
        served: the model and its names.
        settings: of the operator.
        engine: runs the model.
        admission: says who is let in.
        keys: API keys, or None if nobody needs one.
        keep: told of every question and its answer.
        put_actuals: waits until actual values are on disk, and says how many.
        schema: BentoML's description of the service, for its clients.
        ready: whether new requests are welcome.
    """

    served: Served
    settings: Settings
    engine: Engine[AnyQuestion, AnyAnswer]
    admission: Admission
    keys: Keys | None = None
    keep: Callable[[Question, Answer, str], None] = lambda _, __, ___: None
    put_actuals: Callable[[list[str], Times, Floats], Awaitable[int]] = field(default=_no_record)
    schema: Callable[[], dict[str, Any]] = dict
    ready: bool = True

    @classmethod
    def of(cls, served: Served, settings: Settings) -> Worker:
        """A worker without a record."""
        admission = Admission(settings.max_wait_seconds, settings.max_body_bytes)
        return cls(
            served=served,
            settings=settings,
            engine=Engine(served.answer, admission.worked),
            admission=admission,
            keys=Keys(settings.keys_file) if settings.keys_file else None,
        )

    def deadline(self, seconds: float | None) -> float:
        """The time by which an answer is due, on the engine's clock."""
        longest = self.settings.deadline_seconds
        return time.monotonic() + (longest if seconds is None else min(seconds, longest))

    async def forecast(
        self,
        read: Callable[[], Asked],
        write: Callable[[Asked, AnyAnswer], Made],
        size_bytes: int,
        deadline: float,
        *,
        rpc: bool = False,
    ) -> Made:
        """Answer one request.

        Args:
            read: says what is asked.
            write: shapes the answer.
            size_bytes: of the request; a large one is worked on in a thread.
            deadline: see `deadline`.
            rpc: it comes by gRPC, one call at a time (see `service.linger`), and was not let in yet.

        Raises:
            BentocastError: it cannot be answered as asked, or not in time.
        """
        request = REQUEST_ID.get()
        with self.admission.admitted(size_bytes) if rpc else nullcontext():
            if size_bytes > LARGE_BYTES:
                return await self.engine.in_thread(lambda: self._alone(read, write, request), size_bytes, deadline)
            asked = read()
            answer = await self.engine.submit(asked.question, deadline, trickles=rpc)
            self._kept(asked, answer, request)
            return write(asked, answer)

    async def aside(self, task: Callable[[], Made], size_bytes: int) -> Made:
        """Do something that is no forecast: let in like one and, if it is large, in a thread like one.

        How long it takes is no measure of forecasts, so nothing is learnt from it.

        Args:
            task: what to do.
            size_bytes: of the request.

        Raises:
            BentocastError: there is too much to do, or the task's own.
        """
        if size_bytes > LARGE_BYTES:
            with self.admission.admitted(size_bytes):
                return await self.engine.in_thread(task, None, self.deadline(None))
        self.admission.check(size_bytes)
        with self.admission.unlearnt():
            return task()

    def _alone(self, read: Callable[[], Asked], write: Callable[[Asked, AnyAnswer], Made], request: str) -> Made:
        asked = read()
        (answer,) = self.served.answer([asked.question])
        self._kept(asked, answer, request)
        return write(asked, answer)

    def _kept(self, asked: Asked, answer: AnyAnswer, request: str) -> None:
        if isinstance(asked.question, Question) and isinstance(answer, Answer):
            self.keep(asked.question, answer, request)
