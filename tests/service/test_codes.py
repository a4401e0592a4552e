"""Our errors as gRPC tells them: also to a client that has just left."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from data.errors import BentocastError, NotFoundError, RequestError
from service import codes


class AbortedError(Exception):
    """What gRPC ends a call with."""


class Call:
    """The part of gRPC's context that is used here."""

    def __init__(self, raised: Exception) -> None:
        self.raised = raised
        self.told: tuple[Any, ...] = ()

    async def abort(self, *told: object) -> None:
        self.told = told
        raise self.raised


def refused(call: Call, err: BentocastError) -> None:
    asyncio.run(codes.refuse(call, err))


def test_status_and_text_are_told() -> None:
    call = Call(AbortedError())
    with pytest.raises(AbortedError):
        refused(call, NotFoundError("no model 'x'"))
    assert call.told == (grpc.StatusCode.NOT_FOUND, "no model 'x'")


def test_a_long_text_is_cut() -> None:
    call = Call(AbortedError())
    with pytest.raises(AbortedError):
        refused(call, RequestError("x" * 10_000))
    assert len(call.told[1]) <= codes.MAX_DETAILS


def test_a_client_that_has_just_left_is_no_fault_of_ours() -> None:
    """gRPC's core knows of it before the call is told so, and what is sent then fails."""
    with pytest.raises(asyncio.CancelledError):
        refused(Call(grpc.aio.InternalError()), RequestError("no"))
