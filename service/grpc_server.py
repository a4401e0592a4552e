"""gRPC in the worker's own loop: every method is authorized, timed, counted and refused the same way."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from data.errors import BentocastError
from service import correlation, health, keys, reflection
from service.faults import cut
from service.health import Health
from service.message import parsed
from service.metrics import Metrics
from service.settings import Settings
from service.worker import Worker

STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

#: Characters of an error; a client takes some kilobytes of metadata and no more.
MAX_DETAILS = 1_000

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
        for service in services:
            handlers = {method.name: self._handler(service, method) for method in service.methods}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, handlers),))
        names = [service.name for service in services]
        self._health = Health(names)
        told = reflection.handlers([*names, health.NAME])
        self._server.add_generic_rpc_handlers((self._health.handler(), *told))

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
        await self._server.stop(grace_seconds)

    def _handler(self, service: Service, method: Method) -> grpc.RpcMethodHandler:
        label = f"/{service.name}/{method.name}"
        if method.is_work:
            self._metrics.expect(label)

        async def call(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            began = time.perf_counter()
            # At the end and not at the beginning, which would be a second message on the wire.
            context.set_trailing_metadata(self._metadata)
            try:
                answer = await self._answer(method, body, context)
            except BentocastError as err:
                self._metrics.answered(label, err.status, time.perf_counter() - began)
                retry = getattr(err, "retry_after_seconds", None)
                if retry:
                    context.set_trailing_metadata((*self._metadata, ("retry-after", str(retry))))
                status = STATUS.get(err.status, grpc.StatusCode.INTERNAL)
                await context.abort(status, cut(err.message, MAX_DETAILS))
            except Exception:
                logger.exception("%s failed", label)
                self._metrics.answered(label, 500, time.perf_counter() - began)
                await context.abort(grpc.StatusCode.INTERNAL, "the server failed, see its log")
            self._metrics.answered(label, 200, time.perf_counter() - began)
            return answer

        return grpc.unary_unary_rpc_method_handler(call)

    async def _answer(self, method: Method, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        worker = self._worker
        given = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        correlation.take((name.encode(), value.encode()) for name, value in given.items())
        if worker.keys is not None and not method.probe:
            worker.keys.check(
                keys.of_headers(
                    *(value.encode() if value else None for value in map(given.get, ("authorization", "x-api-key")))
                )
            )
        request = parsed(method.request, body)
        answer = await method.answer(worker, request, len(body), worker.deadline(context.time_remaining()))
        made: bytes = answer.SerializeToString()
        return made


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
