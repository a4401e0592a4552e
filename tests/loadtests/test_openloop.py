from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from loadtests.serving import openloop
from loadtests.serving.openloop import Offered, answered, offer, request, schedule

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
REQUEST = request("/v1/x", b"{}", ("content-type: application/json",))


@contextmanager
def server(answer: bytes, seconds: float = 0.0) -> Iterator[int]:
    """A server that works on one request after another, each for some seconds."""
    loop, started, port = asyncio.new_event_loop(), threading.Event(), 0
    writers: list[asyncio.StreamWriter] = []

    async def serve() -> None:
        nonlocal port
        lock = asyncio.Lock()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            try:
                while True:
                    await reader.readexactly(len(REQUEST))
                    async with lock:
                        await asyncio.sleep(seconds)
                    writer.write(answer)
                    if b"close" in answer:
                        break
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            writer.close()

        listening = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        started.set()
        await ended.wait()
        listening.close()

    ended = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_schedule_has_the_rate_and_rises() -> None:
    times = schedule(1_000.0, 10.0, seed=1)
    assert 9_600 < times.size < 10_400
    assert np.all(np.diff(times) >= 0)
    assert 0 <= times[0] < times[-1] < 10.0


def test_schedule_is_that_of_independent_clients() -> None:
    """Of a Poisson process, the gaps' spread is their mean, and another seed gives other times."""
    gaps = np.diff(schedule(1_000.0, 10.0, seed=1))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert schedule(10.0, 10.0, seed=2).tolist() != schedule(10.0, 10.0, seed=3).tolist()
    assert schedule(10.0, 10.0, seed=2).tolist() == schedule(10.0, 10.0, seed=2).tolist()


def test_request() -> None:
    assert REQUEST == (
        b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize("whole", [OK, BUSY, CLOSING])
def test_an_answer_is_there_with_its_last_byte(whole: bytes) -> None:
    assert [answered(whole[:end]) for end in range(len(whole))] == [None] * len(whole)
    assert answered(whole) == int(whole[9:12])


def test_an_answer_of_unknown_length() -> None:
    with pytest.raises(ValueError, match="an answer without content-length cannot be followed"):
        answered(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_every_request_is_answered() -> None:
    with server(OK) as port:
        made = offer(port, REQUEST, np.linspace(0, 0.3, 100), 1.0, connections=4)
    assert made.statuses == {"200": 100}
    assert (made.due, made.in_time) == (100, 100)


def test_latency_counts_from_when_a_request_was_due() -> None:
    """Ten requests at once, one connection, 20 ms each: the last one waits for all before it."""
    with server(OK, seconds=0.02) as port:
        made = offer(port, REQUEST, np.zeros(10), 1.5, connections=1)
    assert made.statuses == {"200": 10}
    assert made.p99() >= 0.2
    assert min(made.latencies[200]) < made.p99() / 2


def test_what_the_server_is_too_slow_for_is_not_sent_after_the_end() -> None:
    with server(OK, seconds=0.05) as port:
        made = offer(port, REQUEST, np.linspace(0, 0.1, 50), 0.2, connections=2)
    assert made.unsent > 30
    assert sum(made.statuses.values()) == made.due == 50
    assert made.in_time < len(made.latencies[200])


def test_refusals_are_timed_apart() -> None:
    with server(BUSY) as port:
        made = offer(port, REQUEST, np.linspace(0, 0.1, 20), 0.2, connections=2)
    assert made.statuses == {"503": 20}
    assert 0 < made.slowest_refusal() < 10
    assert math.isnan(made.p99())


def test_a_closed_connection_is_opened_again() -> None:
    with server(CLOSING) as port:
        made = offer(port, REQUEST, np.linspace(0, 0.3, 20), 0.4, connections=2)
    assert made.statuses["200"] > 2
    assert sum(made.statuses.values()) == 20


def test_nobody_listens() -> None:
    with server(OK) as port:
        pass
    with pytest.raises(ConnectionError, match=f"nothing answers on port {port}"):
        offer(port, REQUEST, np.zeros(1), 0.1)


def test_a_late_generator_says_so() -> None:
    assert Offered(1.0, 1, lag_p99=0.01).kept
    assert not Offered(1.0, 1, lag_p99=openloop.KEPT_SECONDS * 1.01).kept


@pytest.fixture(autouse=True)
def _garbage_is_collected_again() -> Iterator[None]:
    import gc

    yield
    assert gc.isenabled()
