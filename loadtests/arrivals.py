"""Load of one round from a locust user: offered by a schedule (open loop), or as much as comes back (closed loop)."""

from __future__ import annotations

import gc
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.monkey
import gevent.pool
import numpy as np
from locust.env import Environment
from numpy.typing import NDArray

from loadtests.asks import Ask
from loadtests.users import GRACE_SECONDS, TIMEOUT_SECONDS, USERS, Connection, Forecaster

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Different faults that are told apart; a service may put something new into each of its messages.
KINDS = 50
#: gevent's own timers wake up to 1.2 ms late, a quarter of a short answer's time; a thread that sleeps does by 0.1 ms.
_sleep = gevent.monkey.get_original("time", "sleep")


@dataclass
class Told:
    """What became of some requests.

    Attributes:
        latencies: of right answers, seconds from when a request was due; of `Source.saturate` those within its time.
        late: of all, seconds from when it was due to when it was sent.
        faults: other requests by what was wrong.
        unanswered: requests that were given up.
        seconds: that were measured: to the last answer, of `Source.saturate` its time.
        spent: processor seconds of this process meanwhile.
    """

    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    seconds: float = 0.0
    spent: float = 0.0

    @classmethod
    def joined(cls, pieces: Sequence[Told]) -> Told:
        """One after another, as one."""
        return cls(
            latencies=[took for one in pieces for took in one.latencies],
            late=[late for one in pieces for late in one.late],
            faults=sum((one.faults for one in pieces), Counter()),
            unanswered=sum(one.unanswered for one in pieces),
            seconds=sum(one.seconds for one in pieces),
            spent=sum(one.spent for one in pieces),
        )

    @property
    def generator(self) -> float:
        """Share of one core that this process used."""
        return self.spent / self.seconds if self.seconds else 0.0

    @property
    def asked(self) -> int:
        """Requests."""
        return len(self.late) + self.unanswered

    @property
    def failed(self) -> int:
        """Requests without a right answer."""
        return self.faults.total() + self.unanswered

    @property
    def right(self) -> int:
        """Requests with a right answer, whenever it came."""
        return self.asked - self.failed

    @property
    def worst(self) -> str:
        """The fault that came most often."""
        return self.faults.most_common(1)[0][0] if self.faults else "no answer in time"

    def within(self, limit_seconds: float) -> int:
        """Right answers that came in time."""
        return sum(took <= limit_seconds for took in self.latencies)

    def percentile(self, share: float) -> float:
        """Of the latencies, in seconds; NaN without one."""
        return float(np.quantile(self.latencies, share)) if self.latencies else float("nan")


class Source:
    """A locust user of one service, told when to ask what.

    Args:
        host: address of the service.
        protocol: name of one.
        seed: of what is asked.
        same: what is asked, if it was made for another service before.
    """

    def __init__(self, host: str, protocol: str, seed: int, same: list[Ask] | None = None) -> None:
        hub = gevent.get_hub()
        if KeyboardInterrupt not in hub.NOT_ERROR:
            hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)  # Ctrl-C is told by whoever runs this, once
        kind = USERS[protocol]
        self._environment = Environment(user_classes=[kind], host=host)
        self._told = Told()
        self._environment.events.request.add_listener(self._hear)  # type: ignore[no-untyped-call]
        self.connection = Connection(host, protocol, seed, same)
        self._user: Forecaster = kind(self._environment, self.connection)

    def close(self) -> None:
        """Close the connections."""
        self.connection.close()

    def offer(self, times: Floats, picks: Ints) -> Told:
        """Send each request when it is due, whatever the answers do.

        Args:
            times: rising, seconds from now.
            picks: which of the connection's messages, for each.
        """
        flights = gevent.pool.Group()
        messages, threads = self.connection.messages, gevent.get_hub().threadpool

        def run() -> None:
            begin = time.perf_counter()
            for moment, pick in zip(times.tolist(), picks.tolist(), strict=True):
                wait = begin + moment - time.perf_counter()
                if wait > 0:
                    threads.apply(_sleep, (wait,))
                flights.add(gevent.spawn(self._user.ask, messages[pick], begin + moment))
            flights.join(timeout=TIMEOUT_SECONDS + GRACE_SECONDS)
            self._told.unanswered = len(flights)
            flights.kill()

        return self._during(run)

    def saturate(self, connections: int, seconds: float, picks: Ints) -> Told:
        """Ask on some connections, each again as soon as it is answered.

        An answer counts if it came within the time: a straggler at the end must not set the throughput.
        """
        messages = self.connection.messages
        in_time = 0

        def run() -> None:
            nonlocal in_time
            end, following = time.perf_counter() + seconds, itertools.cycle(picks.tolist())

            def again() -> None:
                while (now := time.perf_counter()) < end:
                    self._user.ask(messages[next(following)], now)

            asking = [gevent.spawn(again) for _ in range(connections)]
            gevent.sleep(end - time.perf_counter())
            in_time = len(self._told.latencies)
            gevent.joinall(asking)

        told = self._during(run)
        del told.latencies[in_time:]
        told.spent *= seconds / told.seconds
        told.seconds = seconds
        return told

    def _during(self, run: Callable[[], None]) -> Told:
        told = self._told = Told()
        with _no_collection():
            begin, spent = time.perf_counter(), time.process_time()
            run()
            told.seconds = time.perf_counter() - begin
            told.spent = time.process_time() - spent
        return told

    def _hear(self, *, response_time: float, exception: Exception | None, context: dict[str, Any], **_: object) -> None:
        self._told.late.append(context["late"])
        if exception is None:
            self._told.latencies.append(response_time / 1e3)
            return
        fault = f"{type(exception).__name__}: {exception}"[:200]
        known = fault in self._told.faults or len(self._told.faults) < KINDS
        self._told.faults[fault if known else "others"] += 1


def poisson(rate: float, seconds: float, draw: np.random.Generator) -> Floats:
    """Times at which independent clients ask, rising, seconds from now.

    Args:
        rate: requests/s.
        seconds: of the schedule.
        draw: of chance.
    """
    return np.sort(draw.uniform(0.0, seconds, draw.poisson(rate * seconds)))


def picks(count: int, of: int, draw: np.random.Generator) -> Ints:
    """Which messages to send: shuffled decks one after another, so that each round has the same mix."""
    decks = [draw.permutation(of) for _ in range(-(-count // of))]
    return np.concatenate([*decks, np.empty(0, dtype=np.int64)])[:count].astype(np.int64)


@contextmanager
def _no_collection() -> Iterator[None]:
    """A collection of garbage would show in the latencies; what is there to stay is looked at once."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
