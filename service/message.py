"""Protobuf messages of clients."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from data.errors import RequestError

M = TypeVar("M", bound=Message)


def parsed(kind: type[M], body: bytes) -> M:
    """A message out of its bytes.

    gRPC would parse it too, and answer a damaged one with INTERNAL or UNKNOWN, as if it were our fault.

    Raises:
        RequestError: it is damaged, or of another type.
    """
    try:
        made: M = kind.FromString(body)
    except DecodeError as err:
        raise RequestError(f"the message is no {kind.DESCRIPTOR.full_name}: {err}") from err
    return made
