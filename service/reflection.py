"""gRPC's reflection: clients without a stub, such as grpcurl, ask what is served and how its messages look.

The same under its two names; new clients ask for `v1` first.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, aio

from data.errors import BentocastError, RequestError
from service import codes
from service.arrival import Arrivals, NoMessageError
from service.codes import Context
from service.keys import UnauthorizedError
from service.message import parsed

NAMES = (SERVICE_NAME, SERVICE_NAME.replace("v1alpha", "v1"))
#: A stream on which nothing comes is ended; tools ask again on a new one.
IDLE_SECONDS = 5.0


class EndingError(BentocastError):
    """A stream that is open at the end."""

    status = 503


class Reflection:
    """Tells what is served.

    Args:
        services: full names of what is served, whose messages are in the default pool.
        arrivals: waits for messages.
        allow: raises UnauthorizedError for a call that may not ask.
    """

    def __init__(self, services: Sequence[str], arrivals: Arrivals, allow: Callable[[Context], None]) -> None:
        self._servicer = aio.ReflectionServicer([*services, SERVICE_NAME])
        self._arrivals, self._allow = arrivals, allow
        self._open: set[Context] = set()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """For the server."""
        methods = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(self._told)}
        return tuple(grpc.method_handlers_generic_handler(name, methods) for name in NAMES)

    async def end(self) -> None:
        """Let all who ask go."""
        for context in list(self._open):
            with contextlib.suppress(grpc.aio.BaseError):  # an abort is one by itself
                await codes.refuse(context, EndingError("this worker is about to end: ask another one"))

    async def _told(self, _: object, context: Context) -> AsyncIterator[bytes]:
        try:
            self._allow(context)
            self._open.add(context)
            async for answer in self._servicer.ServerReflectionInfo(self._asked(context), context):
                yield answer.SerializeToString()
        except (UnauthorizedError, RequestError) as err:
            await codes.refuse(context, err)
        finally:
            self._open.discard(context)

    async def _asked(self, context: Context) -> AsyncIterator[pb.ServerReflectionRequest]:
        refuse = partial(codes.refuse, context)
        with contextlib.suppress(NoMessageError):  # the stream's end
            while True:
                body = await self._arrivals.message(context, refuse, room=False, seconds=IDLE_SECONDS)
                yield parsed(pb.ServerReflectionRequest, body)
