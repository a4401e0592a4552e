"""gRPC's reflection: clients without a stub, such as grpcurl, ask what is served and how its messages look.

The same under its two names; new clients ask for `v1` first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, aio

from data.errors import RequestError
from service.message import parsed

NAMES = (SERVICE_NAME, SERVICE_NAME.replace("v1alpha", "v1"))


def handlers(services: Sequence[str]) -> tuple[grpc.GenericRpcHandler, ...]:
    """For the server.

    Args:
        services: full names of what is served, whose messages are in the default pool.
    """
    servicer = aio.ReflectionServicer([*services, SERVICE_NAME])

    async def told(bodies: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for answer in servicer.ServerReflectionInfo(_parsed(bodies, context), context):
            yield answer.SerializeToString()

    methods = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(told)}
    return tuple(grpc.method_handlers_generic_handler(name, methods) for name in NAMES)


async def _parsed(
    bodies: AsyncIterator[bytes], context: grpc.aio.ServicerContext
) -> AsyncIterator[pb.ServerReflectionRequest]:
    async for body in bodies:
        try:
            yield parsed(pb.ServerReflectionRequest, body)
        except RequestError as err:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, err.message)
