"""gRPC's health service: `Check`, and `Watch`, which tells of every change and ends with the server.

grpcio-health-checking has one too. When one of several watchers leaves, it forgets the others; an open watch
holds up the end of the server; a damaged message is answered with UNKNOWN.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from functools import partial

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2 as pb

from data.errors import RequestError
from service import codes
from service.arrival import Arrivals
from service.codes import Context
from service.message import parsed

NAME = "grpc.health.v1.Health"
_Status = pb.HealthCheckResponse


class Health:
    """Whether new calls are welcome, for all services alike.

    Args:
        names: of the services that are asked about, beside the server as a whole.
        arrivals: waits for messages.
    """

    def __init__(self, names: Iterable[str], arrivals: Arrivals) -> None:
        self._names, self._arrivals = {"", *names}, arrivals
        self._ready = self._ended = False
        self._changed = asyncio.Event()

    def say(self, *, ready: bool) -> None:
        """Tell all who watch."""
        self._ready = ready
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Let all who watch go."""
        self._ended = True
        self.say(ready=False)

    def handler(self) -> grpc.GenericRpcHandler:
        """For the server; as streams, since anybody may ask (see `GrpcServer`)."""
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def _check(self, _: object, context: Context) -> bytes:
        name = await self._name(context)
        if name not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return self._told(name)

    async def _watch(self, _: object, context: Context) -> AsyncIterator[bytes]:
        name = await self._name(context)
        last = None
        while True:
            changed, told = self._changed, self._told(name)
            if told != last:
                yield told
                last = told
            if self._ended:
                return
            await changed.wait()

    def _told(self, name: str) -> bytes:
        known = _Status.SERVING if self._ready else _Status.NOT_SERVING
        made: bytes = _Status(status=known if name in self._names else _Status.SERVICE_UNKNOWN).SerializeToString()
        return made

    async def _name(self, context: Context) -> str:
        """Whom a call asks about."""
        try:
            body = await self._arrivals.message(context, partial(codes.refuse, context), room=False)
            name: str = parsed(pb.HealthCheckRequest, body).service
        except RequestError as err:
            await codes.refuse(context, err)
        return name
