"""Users for locust: each asks by a schedule of its own, whatever the answers do.

A locust user that waits for its answer before it asks again slows down with the service, and so leaves out the
requests that would have waited longest (coordinated omission). Here a user is a source of requests: independent
clients together make a Poisson process, of one a second for each user (`--rate`). A request that is due is sent at once on
a greenlet of its own, and its time counts from when it was due. `-u 200` therefore is 200 requests/s.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, ClassVar
from urllib.parse import urlsplit

import gevent
import gevent.lock
import gevent.pool
from geventhttpclient import HTTPClient
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from loadtests import asks
from loadtests.asks import Ask, Wanted
from loadtests.protocols import HTTP, Message

#: Requests of one process that may wait for their answers together; one that is due beyond that counts as failed.
UNDER_WAY = 1_000
TIMEOUT_SECONDS = 30.0
#: How long a user that ends waits for its last answers.
GRACE_SECONDS = 5.0
#: API key of a service that wants one.
KEY = "LOADTEST_KEY"
#: Where gRPC is (`host:port`) if it is not where the service says: behind a router.
GRPC = "LOADTEST_GRPC"
SEED = 0
#: Requests a second of a user, unless `--rate` says otherwise.
RATE = 1.0

Send = Callable[[Message], asks.Floats]


class NotSentError(Exception):
    """Too many requests are under way."""


class NotAnsweredError(Exception):
    """A request was still waiting at the end."""


class StatusError(Exception):
    """An answer other than 200."""


class Connection:
    """What all users of one process share: connections to one service, what its model wants, and messages.

    Args:
        host: address of the service, `http://...` or `https://...`.
        protocol: name of one.
        seed: of what is asked.
        same: what is asked, if it was made for another service before.

    Raises:
        StatusError: no bentocast service answers there, or it refuses.
    """

    def __init__(self, host: str, protocol: str, seed: int = SEED, same: list[Ask] | None = None) -> None:
        self._http = HTTPClient.from_url(
            host, concurrency=UNDER_WAY, connection_timeout=TIMEOUT_SECONDS, network_timeout=TIMEOUT_SECONDS
        )
        self._closing = contextlib.ExitStack()
        self._closing.callback(self._http.close)
        self._headers = {"x-api-key": os.environ[KEY]} if os.environ.get(KEY) else {}
        try:
            self.wanted = Wanted.of(self._get("/v1/timeseries/models")["models"][0])
            examples = [one["request"] for one in self._get("/v1/timeseries/examples")["examples"]]
        except (OSError, HTTPException, LookupError, TypeError, ValueError) as err:
            raise StatusError(f"no bentocast service answers at {host} ({type(err).__name__}: {err})") from err
        self.asks = asks.deck(self.wanted, examples, seed) if same is None else same
        self.send: Send
        if protocol == "grpc":
            self.send, encode = self._grpc(host)
        else:
            self.send, encode = self._over_http(protocol), HTTP[protocol].encode
        self.messages = [encode(ask, self.wanted.name) for ask in self.asks]

    def close(self) -> None:
        """Close the connections."""
        self._closing.close()

    def _get(self, path: str) -> Any:
        answer = self._http.get(path, headers=self._headers)
        body = bytes(answer.read())
        if answer.status_code != 200:
            raise StatusError(f"GET {path} answers {answer.status_code}: {_start(body)}")
        return json.loads(body)

    def _over_http(self, protocol: str) -> Send:
        decode = HTTP[protocol].decode

        def send(message: Message) -> asks.Floats:
            answer = self._http.post(message.path, message.body, {**message.headers, **self._headers})
            body = bytes(answer.read())
            if answer.status_code != 200:
                raise StatusError(f"{answer.status_code}: {_start(body)}")
            return decode(body, {name.lower(): value for name, value in answer.headers})

        return send

    def _grpc(self, host: str) -> tuple[Send, Callable[[Ask, str], Message]]:
        import grpc

        from loadtests.messages import Typed

        if self.wanted.grpc_port is None:
            raise StatusError(f"{host} serves no gRPC: start it without BENTOCAST_GRPC=false")
        _let_grpc_yield()
        address = urlsplit(host)
        target = os.environ.get(GRPC) or f"{address.hostname}:{self.wanted.grpc_port}"
        secure = address.scheme == "https"
        channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials()) if secure else grpc.insecure_channel(target)
        )
        self._closing.callback(channel.close)
        typed = Typed(channel)
        metadata = tuple(self._headers.items())

        def send(message: Message) -> asks.Floats:
            call = channel.unary_unary(message.path)
            return typed.decode(call(message.body, timeout=TIMEOUT_SECONDS, metadata=metadata))

        return send, typed.encode


class Forecaster(User):
    """Asks in one protocol; see the module for how."""

    abstract = True
    host = "http://127.0.0.1:3000"
    protocol: ClassVar[str]

    _under_way: ClassVar[gevent.pool.Pool] = gevent.pool.Pool(UNDER_WAY)
    _opening: ClassVar[gevent.lock.RLock] = gevent.lock.RLock()
    _open: ClassVar[dict[tuple[str, str], Connection]] = {}

    def __init__(self, environment: Environment, connection: Connection | None = None) -> None:
        super().__init__(environment)
        self._own = gevent.pool.Group()
        self._due = 0.0
        self.connection = connection

    def on_start(self) -> None:
        """Learn what the model wants, once a process, and wait for the first request to be due."""
        try:
            self.connection = self.shared(self.environment.host)
        except StatusError as err:
            self.environment.events.request.fire(
                request_type=self.protocol, name="start", response_time=0, response_length=0, exception=err, context={}
            )
            raise StopUser from err
        self._due = time.perf_counter()
        gevent.sleep(self.wait_time())

    def on_stop(self) -> None:
        """Wait for the last answers; what has none by then has failed."""
        self._own.join(timeout=GRACE_SECONDS)
        for left in list(self._own):
            message, due = left.args
            left.kill(block=False)
            self.tell(message, due, due, NotAnsweredError("no answer by the end of the test"))

    def wait_time(self) -> float:
        """Seconds until the next request is due; none if it is late."""
        options = self.environment.parsed_options
        self._due += random.expovariate(getattr(options, "rate", RATE))
        return max(0.0, self._due - time.perf_counter())

    @task
    def arrive(self) -> None:
        """Send what is due, and do not wait for it."""
        assert self.connection is not None, "on_start opens it"
        message, due = random.choice(self.connection.messages), self._due
        if self._under_way.full():
            self.tell(message, due, time.perf_counter(), NotSentError(f"{UNDER_WAY} requests wait for their answers"))
        else:
            self._own.add(self._under_way.spawn(self.ask, message, due))

    def ask(self, message: Message, due: float) -> None:
        """Send one request, check its answer, and tell locust.

        Args:
            message: the request.
            due: on the clock of `time.perf_counter`; its time counts from then.
        """
        assert self.connection is not None, "on_start opens it"
        sent = time.perf_counter()
        fault: Exception | None = None
        try:
            asks.check(self.connection.send(message), message.ask)
        except Exception as err:  # whatever a client library raises is a failed request
            fault = err
        self.tell(message, due, sent, fault)

    def tell(self, message: Message, due: float, sent: float, fault: Exception | None) -> None:
        """Tell locust of one request; `late` in the context is how many seconds after it was due it was sent."""
        self.environment.events.request.fire(
            request_type=self.protocol,
            name=_name(message.ask),
            response_time=(time.perf_counter() - due) * 1e3,
            response_length=0,
            exception=fault,
            context={"late": sent - due},
        )

    @classmethod
    def shared(cls, host: str | None) -> Connection:
        """The connection of all such users of this process, opened when it is first asked for.

        Raises:
            StatusError: no bentocast service answers at the host.
        """
        key = (host or cls.host, cls.protocol)
        with cls._opening:
            if key not in cls._open:
                cls._open[key] = Connection(*key)
            return cls._open[key]


class Native(Forecaster):
    """KServe Time Series API, JSON."""

    protocol = "native"
    weight = 6


class V2(Forecaster):
    """Open Inference Protocol, JSON."""

    protocol = "v2"
    weight = 2


class Binary(Forecaster):
    """Open Inference Protocol, binary tensors."""

    protocol = "binary"
    weight = 1


class Grpc(Forecaster):
    """gRPC, typed."""

    protocol = "grpc"
    weight = 1


USERS: dict[str, type[Forecaster]] = {user.protocol: user for user in (Native, V2, Binary, Grpc)}


def _name(ask: Ask) -> str:
    count = len(ask["inputs"])
    return "1 series" if count == 1 else f"{count} series"


@functools.cache
def _let_grpc_yield() -> None:
    """gRPC waits outside Python and would keep all greenlets waiting; it is told so once a process, before its first channel."""
    import grpc.experimental.gevent

    grpc.experimental.gevent.init_gevent()


def _start(body: bytes) -> str:
    return body[:200].decode(errors="replace")
