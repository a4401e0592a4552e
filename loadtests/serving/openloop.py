"""Load in open loop: requests leave by a schedule, whatever the answers do.

A closed loop slows down with the server and so hides what clients wait for in an overload. Here a
latency counts from the time at which a request was due, not from when a connection was free for it
(no coordinated omission), and the generator says how far behind its own schedule it was.
"""

from __future__ import annotations

import asyncio
import collections
import gc
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from loadtests.serving.ratios import percentile

Floats = NDArray[np.float64]

#: Connections, each with one request at a time; a request that is due when all are busy waits for one.
CONNECTIONS = 512
#: How long answers are waited for after the last request was due.
GRACE_SECONDS = 30.0
#: A schedule is kept if 99 % of all requests were handled this soon after they were due.
KEPT_SECONDS = 0.05
#: Stand for a status: the server closed the connection, or could not be connected to.
RESET, REFUSED = -1, -2
STATUSES = {RESET: "reset", REFUSED: "refused"}


@dataclass
class Offered:
    """What became of a schedule.

    Attributes:
        seconds: of the schedule.
        due: requests in it.
        latencies: by status, seconds from when a request was due to its last byte.
        in_time: answers with 200 before the schedule's end.
        unsent: requests still waiting for a connection at the schedule's end, then dropped.
        unanswered: requests without an answer at the end of the grace.
        lag_p99: seconds that the generator itself was late.
    """

    seconds: float
    due: int
    latencies: dict[int, list[float]] = field(default_factory=dict)
    in_time: int = 0
    unsent: int = 0
    unanswered: int = 0
    lag_p99: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether the generator kept its schedule."""
        return self.lag_p99 <= KEPT_SECONDS

    @property
    def statuses(self) -> dict[str, int]:
        """Requests by status, and those that have none."""
        counts = {STATUSES.get(status, str(status)): len(took) for status, took in sorted(self.latencies.items())}
        counts |= {"not sent": self.unsent, "no answer": self.unanswered}
        return {status: count for status, count in counts.items() if count}

    def p99(self, status: int = 200) -> float:
        """Of the latencies of one status, in seconds."""
        return percentile(self.latencies.get(status, []), 0.99)

    def slowest_refusal(self) -> float:
        """Seconds until the last 429 or 503; NaN without one."""
        refused = self.latencies.get(429, []) + self.latencies.get(503, [])
        return max(refused, default=float("nan"))


def schedule(rate: float, seconds: float, seed: int) -> Floats:
    """Times at which requests are due, as independent clients send them (a Poisson process), rising."""
    draw = np.random.default_rng(seed)
    count = draw.poisson(rate * seconds)
    return np.sort(draw.uniform(0.0, seconds, count))


def offer(port: int, request: bytes, times: Floats, seconds: float, *, connections: int = CONNECTIONS) -> Offered:
    """Send one request at each of some times.

    Args:
        port: of a server on this machine.
        request: head and body.
        times: rising, seconds from the start.
        seconds: of the schedule.
        connections: requests under way at the same time.

    Raises:
        ConnectionError: nothing listens there.
    """
    gc.collect()
    gc.disable()
    try:
        return _run(_Generator(port, request, times, seconds, connections).run())
    finally:
        gc.enable()


def request(path: str, body: bytes, headers: tuple[str, ...]) -> bytes:
    """An HTTP/1.1 request, ready to be sent."""
    head = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", *headers, f"content-length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _run(work: Coroutine[Any, Any, Offered]) -> Offered:
    """On uvloop's event loop, which is there because the service wants it."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self.due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes
        self._generator.free(self)

    def send(self, due: float) -> None:
        assert self._transport is not None
        self.due = due
        self._transport.write(self._generator.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        status = answered(self._received)
        if status is None or self.due is None:
            return
        due, self.due = self.due, None
        closing = b"\r\nconnection: close" in bytes(self._received[:1_024]).lower()
        self._received.clear()
        self._generator.record(due, status)
        if closing:
            self.close()
        else:
            self._generator.free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.due is not None:
            self._generator.record(self.due, RESET)
        self._generator.lost(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def answered(received: bytes | bytearray) -> int | None:
    """Status of an answer that is there to its last byte, or None.

    Raises:
        ValueError: the answer does not say how long it is.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[: end + 2]).lower()
    place = head.find(b"\r\ncontent-length:")
    if place < 0:
        raise ValueError(f"an answer without content-length cannot be followed: {head[:200]!r}")
    length = int(head[place + 17 : head.find(b"\r\n", place + 2)])
    return int(head[9:12]) if len(received) >= end + 4 + length else None


class _Generator:
    """Sends by the schedule and keeps count."""

    def __init__(self, port: int, request: bytes, times: Floats, seconds: float, connections: int) -> None:
        self.request = request
        self._port, self._times, self._count = port, times.tolist(), connections
        self._offered = Offered(seconds, len(self._times))
        self._idle: list[_Connection] = []
        self._waiting: collections.deque[float] = collections.deque()
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._sending = True
        self._began = 0.0

    async def run(self) -> Offered:
        self._loop = asyncio.get_running_loop()
        for _ in range(self._count):
            await self._connect()
        if not self._open:
            raise ConnectionError(f"nothing answers on port {self._port}")
        self._began = self._loop.time()
        self._offered.lag_p99 = percentile(await self._arrivals(), 0.99)
        await asyncio.sleep(max(0.0, self._offered.seconds - self._now()))
        self._sending = False
        self._offered.unsent = len(self._waiting)
        self._waiting.clear()
        await self._wait_for_answers()
        self._offered.unanswered = self._under_way
        for connection in list(self._open):
            connection.due = None
            connection.close()
        return self._offered

    async def _arrivals(self) -> list[float]:
        """Let every request arrive when it is due; returns how late each was noticed."""
        lags: list[float] = []
        for due in self._times:
            wait = due - self._now()
            if wait > 0:
                await asyncio.sleep(wait)
            elif len(lags) % 64 == 0:
                await asyncio.sleep(0)  # behind: answers must be read all the same
            lags.append(max(0.0, self._now() - due))
            if self._idle:
                self._send(self._idle.pop(), due)
            else:
                self._waiting.append(due)
        return lags

    async def _wait_for_answers(self) -> None:
        end = self._loop.time() + GRACE_SECONDS
        while self._under_way and self._loop.time() < end:
            await asyncio.sleep(0.01)

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:
            if self._sending and self._waiting:
                self._offered.latencies.setdefault(REFUSED, []).append(self._now() - self._waiting.popleft())

    def free(self, connection: _Connection) -> None:
        """A connection can take the next request."""
        self._open.add(connection)
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def record(self, due: float, status: int) -> None:
        """A request is over."""
        now = self._now()
        self._under_way -= 1
        self._offered.latencies.setdefault(status, []).append(now - due)
        self._offered.in_time += status == 200 and now <= self._offered.seconds

    def lost(self, connection: _Connection) -> None:
        """A connection is gone; another takes its place as long as requests are sent."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._sending:
            task = self._loop.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _send(self, connection: _Connection, due: float) -> None:
        self._under_way += 1
        connection.send(due)

    def _now(self) -> float:
        return self._loop.time() - self._began
