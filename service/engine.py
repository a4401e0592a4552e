"""Work in order: requests that wait together are answered by one pass of the model.

A small request is read, computed and written on the event loop: handing it to a thread costs more than
the work. Requests that arrive while the loop is busy are taken together, without waiting for more: the
batch is as large as the load makes it. A large request is worked on in a thread, so that the loop stays
free for the small ones and for probes. `service.admission` keeps both queues short.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from data.errors import BentocastError
from service.admission import THREADS
from service.linger import Linger

#: Rows of the model that are taken in one pass on the event loop: about ten milliseconds.
MAX_BATCH_ROWS = 1_024


class DeadlineError(BentocastError):
    """The answer would come too late."""

    status = 504
    code = "deadline_exceeded"


class Sized(Protocol):
    """Work that knows how many rows of the model it takes."""

    @property
    def rows(self) -> int:
        """Rows of the model's input."""


Work = TypeVar("Work", bound=Sized)
Made = TypeVar("Made")
Result = TypeVar("Result")


class Engine(Generic[Work, Made]):
    """Runs work in batches on the event loop, or alone in a thread.

    Args:
        run: answers many pieces of work in one pass, in order.
        worked: told how many bytes a large request had, and how many seconds it took.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Work]], list[Made]],
        worked: Callable[[int, float], None] = lambda _, __: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._worked = worked
        self._clock = clock
        self._queue: deque[tuple[Work, asyncio.Future[Made], float]] = deque()
        self._linger = Linger()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="forecast")

    def submit(self, work: Work, deadline: float, *, trickles: bool = False) -> asyncio.Future[Made]:
        """Queue small work for the next batch.

        Args:
            work: what to answer.
            deadline: on the engine's clock; work that is still queued by then gets a DeadlineError.
            trickles: it comes by a way that hands over one request at a time, see `service.linger`.
        """
        loop = asyncio.get_running_loop()
        if not self._queue:
            wait = self._linger.seconds(self._clock()) if trickles else 0.0
            loop.call_later(wait, self._drain) if wait else loop.call_soon(self._drain)
        future: asyncio.Future[Made] = loop.create_future()
        self._queue.append((work, future, deadline))
        return future

    async def in_thread(self, task: Callable[[], Result], size_bytes: int | None, deadline: float) -> Result:
        """Do all of a large request away from the event loop.

        Args:
            task: reads, computes and writes.
            size_bytes: of the request; None if how long it takes says nothing of others.
            deadline: on the engine's clock; a task that has not begun by then is not begun.

        Raises:
            DeadlineError: no thread was free in time.
        """

        def work() -> tuple[Result, float]:
            began = self._clock()
            if began > deadline:
                raise DeadlineError("no thread was free in time: ask for less, or allow more time")
            return task(), self._clock() - began

        made, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        if size_bytes is not None:
            self._worked(size_bytes, seconds)
        return made

    def close(self) -> None:
        """End the threads; work that has not begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _drain(self) -> None:
        """Answer what waits, as much as one pass may hold; the rest follows after the loop has looked around."""
        batch, futures = self._take()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._drain)
        if not batch:
            return
        began = self._clock()
        made = self._each(batch)
        self._linger.passed(len(batch), began, self._clock())
        for future, answer in zip(futures, made, strict=True):
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _each(self, batch: list[Work]) -> list[Made | Exception]:
        """An answer or an error for each: where one pass fails, each alone, so that nobody suffers for another."""
        try:
            return list(self._run(batch))
        except Exception as err:
            return [err] if len(batch) == 1 else [answer for work in batch for answer in self._each([work])]

    def _take(self) -> tuple[list[Work], list[asyncio.Future[Made]]]:
        now = self._clock()
        batch: list[Work] = []
        futures: list[asyncio.Future[Made]] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0][0].rows <= MAX_BATCH_ROWS):
            work, future, deadline = self._queue.popleft()
            if future.done():  # the client has left
                continue
            if now > deadline:
                future.set_exception(DeadlineError("the request waited too long: ask for less, or allow more time"))
                continue
            batch.append(work)
            futures.append(future)
            rows += work.rows
        return batch, futures
