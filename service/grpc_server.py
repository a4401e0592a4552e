"""gRPC in the worker's own loop: every method is authorized, timed, counted and refused the same way."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import Message

from data.errors import BentocastError
from service import codes, correlation, health, keys
from service.admission import LARGE_BYTES
from service.arrival import Arrivals, Refuse
from service.codes import Context
from service.health import Health
from service.message import parsed
from service.metrics import Metrics
from service.reflection import Reflection
from service.settings import Settings
from service.worker import Worker

#: What is counted when nobody is left to be told, as HTTP counts it, and when the client's own time was over.
CLIENT_GONE, TIME_OVER = 499, 504
#: A client that leaves with no more than this left of its time leaves because of it: its clock runs ahead of ours.
TIME_OVER_SECONDS = 0.1

logger = logging.getLogger("bentocast.service")


@dataclass(frozen=True)
class Method:
    """One unary method.

    Attributes:
        name: as the protocol names it.
        request: the type of its message.
        answer: what it does; the size is that of the message in bytes, the deadline on the engine's clock.
        probe: whether anybody may call it.
        is_work: whether it runs the model.
    """

    name: str
    request: type[Message]
    answer: Callable[[Worker, Any, int, float], Awaitable[Message]]
    probe: bool = False
    is_work: bool = False


@dataclass(frozen=True)
class Service:
    """A gRPC service: its full name and its methods."""

    name: str
    methods: Sequence[Method]


class GrpcServer:
    """The server of one worker.

    Args:
        worker: what answers.
        metrics: told of every call.
        services: what is spoken.
    """

    def __init__(self, worker: Worker, metrics: Metrics, services: Sequence[Service]) -> None:
        settings = worker.settings
        self._worker, self._metrics = worker, metrics
        self._server = grpc.aio.server(
            options=[
                # All workers of a service share the port.
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", 16_384),
                ("grpc.max_concurrent_streams", 256),
            ]
        )
        self._metadata = tuple(worker.served.headers.items())
        self._arrivals = Arrivals(worker.admission, settings.max_body_bytes, settings.deadline_seconds)
        for service in services:
            handlers = {method.name: self._handler(service, method) for method in service.methods}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, handlers),))
        names = [service.name for service in services]
        self._health = Health(names, self._arrivals)
        self._reflection = Reflection([*names, health.NAME], self._arrivals, self._allow)
        self._server.add_generic_rpc_handlers((self._health.handler(), *self._reflection.handlers()))

    async def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: the port cannot be had.
        """
        settings = self._worker.settings
        address = f"{f'[{settings.host}]' if ':' in settings.host else settings.host}:{settings.grpc_at}"
        if settings.tls_cert is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, credentials(settings))
        await self._server.start()
        await self.say(ready=True)

    async def say(self, *, ready: bool) -> None:
        """Tell health checks whether new calls are welcome."""
        self._health.say(ready=ready)

    async def stop(self, grace_seconds: float) -> None:
        """Take no new calls, and let those that were begun end."""
        self._health.end()
        await self._reflection.end()
        await self._server.stop(grace_seconds)

    def _handler(self, service: Service, method: Method) -> grpc.RpcMethodHandler:
        label = f"/{service.name}/{method.name}"
        if method.is_work:
            self._metrics.expect(label)

        async def call(_: object, context: Context) -> bytes:
            began = time.perf_counter()
            # At the end and not at the beginning, which would be a second message on the wire.
            context.set_trailing_metadata(self._metadata)
            refuse = partial(self._refuse, context, label, began)
            try:
                answer = await self._answer(method, context, refuse)
            except grpc.aio.AbortError:
                raise  # refused while its message was on its way, and counted there
            except asyncio.CancelledError:
                self._metrics.answered(label, _left_with(context), time.perf_counter() - began)
                raise
            except BentocastError as err:
                await refuse(err)
            except Exception:
                logger.exception("%s failed", label)
                await refuse(BentocastError("the server failed, see its log"))
            self._metrics.answered(label, 200, time.perf_counter() - began)
            return answer

        # On the wire it is a unary call all the same. Of one that is declared so, gRPC would read the message, up to the
        # largest, before it asks anybody whether the client may send one.
        return grpc.stream_unary_rpc_method_handler(call)

    async def _refuse(self, context: Context, label: str, began: float, err: BentocastError) -> NoReturn:
        """End a call with an error, and count it."""
        self._metrics.answered(label, err.status, time.perf_counter() - began)
        retry = getattr(err, "retry_after_seconds", None)
        if retry:
            context.set_trailing_metadata((*self._metadata, ("retry-after", str(math.ceil(retry)))))
        await codes.refuse(context, err)

    async def _answer(self, method: Method, context: Context, refuse: Refuse) -> bytes:
        worker = self._worker
        given = _texts(context)
        correlation.take((name.encode(), value.encode()) for name, value in given.items())
        if not method.probe:
            self._check(given)
        body = await self._arrivals.message(context, refuse, room=not method.probe)
        if len(body) > LARGE_BYTES:
            request = await asyncio.to_thread(parsed, method.request, body)
        else:
            request = parsed(method.request, body)
        answer = await method.answer(worker, request, len(body), worker.deadline(context.time_remaining()))
        made: bytes = answer.SerializeToString()
        return made

    def _allow(self, context: Context) -> None:
        """See that a call has a key, if one is wanted.

        Raises:
            UnauthorizedError: it has none.
        """
        self._check(_texts(context))

    def _check(self, given: Mapping[str, str]) -> None:
        if self._worker.keys is not None:
            self._worker.keys.check(
                keys.of_headers(
                    *(value.encode() if value else None for value in map(given.get, ("authorization", "x-api-key")))
                )
            )


def _texts(context: Context) -> dict[str, str]:
    """The metadata that is text."""
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}


def _left_with(context: Context) -> int:
    """What to count for a client that did not wait for its answer."""
    left = context.time_remaining()
    return CLIENT_GONE if left is None or left > TIME_OVER_SECONDS else TIME_OVER


def credentials(settings: Settings) -> grpc.ServerCredentials:
    """The server's certificate, and whose clients' certificates it wants."""
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    authority = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
    return grpc.ssl_server_credentials(
        [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
        root_certificates=authority,
        require_client_auth=authority is not None,
    )
