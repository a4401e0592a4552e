"""Work in order: requests that wait together are answered by one pass of the model, and too many are refused at once.

A small request is read, computed and written on the event loop: handing it to a thread costs more than
the work. Requests that arrive while the loop is busy are taken together, without waiting for more: the
batch is as large as the load makes it. A large request is worked on in a thread, so that the loop stays
free for the small ones and for probes.

What would wait longer than `max_wait_seconds`, and longer than four times its own work, is refused before
it is queued: an answer that comes too late costs as much as one in time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from data.errors import BentocastError

#: Rows of the model that are taken in one pass on the event loop: about ten milliseconds.
MAX_BATCH_ROWS = 3_072
#: Requests of more bytes are worked on in a thread: about fifteen series in JSON.
LARGE_BYTES = 131_072
#: Large requests worked on at the same time.
THREADS = 2
#: Waiting for so many times its own work is still in proportion.
PATIENCE = 4.0
#: Weight of the newest measurement in the mean cost of a row.
SMOOTHING = 0.1


class OverloadedError(BentocastError):
    """More was asked than can be answered in time."""

    status = 503
    code = "overloaded"
    retry_after_seconds = 1


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
        max_wait_seconds: longest that work waits before it is refused.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Work]], list[Made]],
        max_wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._max_wait = max_wait_seconds
        self._clock = clock
        self._queue: deque[tuple[Work, asyncio.Future[Made], float]] = deque()
        self._queued_rows = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="forecast")
        self._in_threads = 0.0
        #: Seconds a row takes, and seconds a byte of a large request takes: means of what was measured.
        self._row_seconds = 3e-6
        self._byte_seconds = 1e-8

    @property
    def queued_rows(self) -> int:
        """Rows that wait on the event loop."""
        return self._queued_rows

    def look(self, size_bytes: int) -> None:
        """Refuse a request of a size before its body is read.

        Raises:
            OverloadedError: it would wait too long.
        """
        if size_bytes > LARGE_BYTES:
            self._admit(*self._thread_cost(size_bytes))
        else:
            self._admit(self._queued_rows * self._row_seconds, 0.0)

    def submit(self, work: Work, deadline: float) -> asyncio.Future[Made]:
        """Queue small work for the next batch.

        Args:
            work: what to answer.
            deadline: on the engine's clock; work that is still queued by then gets a DeadlineError.

        Raises:
            OverloadedError: it would wait too long.
        """
        self._admit(self._queued_rows * self._row_seconds, work.rows * self._row_seconds)
        loop = asyncio.get_running_loop()
        if not self._queue:
            loop.call_soon(self._drain)
        future: asyncio.Future[Made] = loop.create_future()
        self._queue.append((work, future, deadline))
        self._queued_rows += work.rows
        return future

    async def in_thread(self, task: Callable[[], Result], size_bytes: int, deadline: float) -> Result:
        """Do all of a large request away from the event loop.

        Args:
            task: reads, computes and writes.
            size_bytes: of the request, from which its cost is estimated.
            deadline: on the engine's clock; a task that has not begun by then is not begun.

        Raises:
            OverloadedError: it would wait too long.
            DeadlineError: no thread was free in time.
        """
        wait, cost = self._thread_cost(size_bytes)
        self._admit(wait, cost)

        def work() -> tuple[Result, float]:
            began = self._clock()
            if began > deadline:
                raise DeadlineError("no thread was free in time: ask for less, or allow more time")
            return task(), self._clock() - began

        self._in_threads += cost
        try:
            made, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._in_threads -= cost
        self._byte_seconds += SMOOTHING * (seconds / max(1, size_bytes) - self._byte_seconds)
        return made

    def close(self) -> None:
        """End the threads; work that has not begun is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _thread_cost(self, size_bytes: int) -> tuple[float, float]:
        """Seconds that a large request would wait for a thread, and that it takes."""
        cost = size_bytes * self._byte_seconds
        return max(0.0, self._in_threads / THREADS - cost), cost

    def _admit(self, wait: float, own: float) -> None:
        if wait > self._max_wait and wait > PATIENCE * own:
            raise OverloadedError(
                f"{wait * 1000:.0f} ms of work are waiting, wanted at most {self._max_wait * 1000:.0f} ms: ask again later"
            )

    def _drain(self) -> None:
        """Answer what waits, as much as one pass may hold; the rest follows after the loop has looked around."""
        batch, futures = self._take()
        if self._queue:
            asyncio.get_running_loop().call_soon(self._drain)
        if not batch:
            return
        began = self._clock()
        made = self._each(batch)
        rows = sum(work.rows for work in batch)
        self._row_seconds += SMOOTHING * ((self._clock() - began) / max(1, rows) - self._row_seconds)
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
            self._queued_rows -= work.rows
            if future.done():  # the client has left
                continue
            if now > deadline:
                future.set_exception(DeadlineError("the request waited too long: ask for less, or allow more time"))
                continue
            batch.append(work)
            futures.append(future)
            rows += work.rows
        return batch, futures
