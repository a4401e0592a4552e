"""Our errors as gRPC tells them."""

from __future__ import annotations

import asyncio
from typing import NoReturn, TypeAlias

import grpc
import grpc.aio

from data.errors import BentocastError
from service.faults import cut

#: By the status that HTTP would answer.
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
#: Characters of an error; a client takes some kilobytes of metadata and no more.
MAX_DETAILS = 1_000

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


async def refuse(context: Context, err: BentocastError) -> NoReturn:
    """End a call with an error.

    Raises:
        AbortError: always; gRPC knows it.
        CancelledError: but for a client that left, or whose time was over, an instant before.
    """
    try:
        await context.abort(STATUS.get(err.status, grpc.StatusCode.INTERNAL), cut(err.message, MAX_DETAILS))
    except grpc.aio.InternalError:  # which gRPC would log as a fault of ours
        raise asyncio.CancelledError from None
    raise AssertionError("a call that is aborted goes on")
