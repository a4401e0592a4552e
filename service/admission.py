"""Who is let in: what would wait too long is refused at once, since an answer that comes too late costs as much as one in time.

Work that was let in waits for its turn, and how long is estimated by what a byte of a request has cost so far:
reading it, the model, writing the answer, and refusing others meanwhile, all of it measured as processor time
of the event loop. Large requests are worked on in threads (see `service.engine`) and wait for each other only.

A burst may wait for `max_wait_seconds`, and so may clients that send the next request when the last is answered. Where
more comes than that, a queue of that length would only make every answer late: from the first refusal until nothing was
refused for a while, no more than a small part of it (`STANDING`) is let stand (the idea of CoDel, RFC 8289).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from data.errors import BentocastError

#: Requests of more bytes are worked on in a thread: about fifteen series in JSON.
LARGE_BYTES = 131_072
#: Large requests worked on at the same time.
THREADS = 2
#: Waiting for so many times its own work is still in proportion.
PATIENCE = 15.0
#: Part of the longest wait that may stand after a refusal, and for how many seconds.
STANDING, STRICT_SECONDS = 0.06, 0.1
#: Bodies of the largest size that may be half there at the same time.
UNFINISHED = 8
#: The least that a request counts for: its head costs too.
SMALLEST_BYTES = 2_048
#: Processor time of the event loop between two looks at what a byte costs.
LEARN_SECONDS = 0.02
#: Weight of the newest measurement.
SMOOTHING = 0.1


class OverloadedError(BentocastError):
    """More was asked than can be answered in time."""

    status = 503
    code = "overloaded"
    retry_after_seconds = 1


class _Queue:
    """Requests that wait for one kind of worker, and what they cost there.

    Args:
        width: how many are worked on at a time.
        cost: seconds of a byte: a guess for the first requests.
    """

    def __init__(self, width: int, cost: float) -> None:
        self.width, self.cost = width, cost
        self.waiting_bytes = 0
        self.refused_at = float("-inf")

    def learn(self, cost: float) -> None:
        """A byte was seen to cost so much."""
        self.cost += SMOOTHING * (cost - self.cost)


class Admission:
    """Keeps count of what is there and not answered yet; used from the event loop only.

    Args:
        max_wait_seconds: longest that work may wait.
        max_body_bytes: largest body that may come.
        clock: seconds, monotonic.
        loop_time: processor time of the calling thread, in seconds.
    """

    def __init__(
        self,
        max_wait_seconds: float,
        max_body_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        loop_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._max_wait = max_wait_seconds
        self._room_bytes = UNFINISHED * max_body_bytes
        self._clock, self._loop_time = clock, loop_time
        self._loop, self._threads = _Queue(1, 3e-8), _Queue(THREADS, 1e-8)
        #: Of answered requests, and of all others as if they were the smallest, since what a byte costs was learnt.
        self._done_bytes, self._learnt_at = 0, loop_time()

    def check(self, size_bytes: int) -> None:
        """See whether a request may come in.

        Raises:
            OverloadedError: it would wait too long.
        """
        self._learn()
        queue, size = self._of(size_bytes)
        own = queue.cost * size
        wait = max(0.0, queue.cost * queue.waiting_bytes / queue.width - (queue.width - 1) * own)
        longest = max(self._max_wait, PATIENCE * own)
        if wait <= longest * STANDING:
            return
        now = self._clock()
        if now - queue.refused_at < STRICT_SECONDS:
            longest *= STANDING
        if wait > longest:
            queue.refused_at = now
            self._done_bytes += SMALLEST_BYTES
            raise OverloadedError(
                f"{wait * 1000:.0f} ms of work are waiting, wanted at most {longest * 1000:.0f} ms: ask again later"
            )

    def add(self, size_bytes: int) -> None:
        """A request is there, to its last byte; `release` it when it is answered, whatever comes of it."""
        queue, size = self._of(size_bytes)
        queue.waiting_bytes += size

    def release(self, size_bytes: int, *, answered: bool = True) -> None:
        """A request that was added has its reply: the model's answer, or one that took no more than a refusal does."""
        queue, size = self._of(size_bytes)
        queue.waiting_bytes -= size
        if queue is self._loop:
            self._done_bytes += size if answered else SMALLEST_BYTES

    @contextmanager
    def admitted(self, size_bytes: int) -> Iterator[None]:
        """All three for a request that is there already.

        Raises:
            OverloadedError: see `check`.
        """
        self.check(size_bytes)
        self.add(size_bytes)
        answered = False
        try:
            yield
            answered = True
        finally:
            self.release(size_bytes, answered=answered)

    @contextmanager
    def unlearnt(self) -> Iterator[None]:
        """The loop does something meanwhile, without a pause, that says nothing of what requests cost."""
        began = self._loop_time()
        try:
            yield
        finally:
            self._learnt_at += self._loop_time() - began

    def hold(self, size_bytes: int) -> None:
        """Keep a part of a large body whose rest is still to come; `let_go` of all its parts in the end.

        Raises:
            OverloadedError: unfinished bodies take too much memory.
        """
        if size_bytes > self._room_bytes:
            raise OverloadedError(
                f"{self._room_bytes} bytes are left for large bodies that are still on their way, wanted {size_bytes}: "
                "ask again later"
            )
        self._room_bytes -= size_bytes

    def let_go(self, size_bytes: int) -> None:
        """What was held is there whole, or never will be."""
        self._room_bytes += size_bytes

    def worked(self, size_bytes: int, seconds: float) -> None:
        """A thread took so long for a large request."""
        self._threads.learn(seconds / max(1, size_bytes))

    def _of(self, size_bytes: int) -> tuple[_Queue, int]:
        """Where a request waits, and the bytes it counts for."""
        return (self._threads if size_bytes > LARGE_BYTES else self._loop), max(SMALLEST_BYTES, size_bytes)

    def _learn(self) -> None:
        """What a byte costs the loop; looked at when requests come, since what is answered together is counted by then."""
        spent = self._loop_time() - self._learnt_at
        if spent >= LEARN_SECONDS and self._done_bytes:
            # After a pause the first measurement holds all that was done besides; it counts no more than ten times.
            self._loop.learn(min(spent / self._done_bytes, 10 * self._loop.cost))
            self._learnt_at += spent
            self._done_bytes = 0
