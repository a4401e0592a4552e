"""gRPC in the worker's own loop: every method is authorized, timed, counted and refused the same way.

Messages are parsed here and not by gRPC, which would answer a damaged one with INTERNAL.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from data.errors import BentocastError, RequestError
from service import keys
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

logger = logging.getLogger("bentocast.service")


@dataclass(frozen=True)
class Method:
    """One unary method.

    Attributes:
        name: as the protocol names it.
        request: the type of its message.
        answer: what it does; the size is that of the message in bytes, the deadline on the engine's clock.
        probe: whether anybody may call it.
    """

    name: str
    request: type[Message]
    answer: Callable[[Worker, Any, int, float], Awaitable[Message]]
    probe: bool = False


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
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = [service.name for service in services]
        reflection.enable_server_reflection([*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)

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
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, status)

    async def stop(self, grace_seconds: float) -> None:
        """Take no new calls, and let those that were begun end."""
        await self._server.stop(grace_seconds)

    def _handler(self, service: Service, method: Method) -> grpc.RpcMethodHandler:
        label = f"/{service.name}/{method.name}"

        async def call(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            began = time.perf_counter()
            try:
                answer = await self._answer(method, body, context)
            except BentocastError as err:
                self._metrics.answered(label, err.status, time.perf_counter() - began)
                retry = getattr(err, "retry_after_seconds", None)
                context.set_trailing_metadata((("retry-after", str(retry)),) if retry else ())
                await context.abort(STATUS.get(err.status, grpc.StatusCode.INTERNAL), err.message)
            except Exception:
                logger.exception("%s failed", label)
                self._metrics.answered(label, 500, time.perf_counter() - began)
                await context.abort(grpc.StatusCode.INTERNAL, "the server failed, see its log")
            self._metrics.answered(label, 200, time.perf_counter() - began)
            return answer

        return grpc.unary_unary_rpc_method_handler(call)

    async def _answer(self, method: Method, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        worker = self._worker
        if worker.keys is not None and not method.probe:
            given = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
            worker.keys.check(
                keys.of_headers(
                    *(
                        value.encode("latin-1", "replace") if value else None
                        for value in map(given.get, ("authorization", "x-api-key"))
                    )
                )
            )
        try:
            request = method.request.FromString(body)
        except DecodeError as err:
            raise RequestError(f"the message is no {method.request.DESCRIPTOR.full_name}: {err}") from err
        await context.send_initial_metadata(self._metadata)
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
