"""Bodies of requests as they come: no larger than the limit, in time, of a type that may be read, unpacked.

What is large and not whole yet is counted (see `Admission.hold`), and so is what a compressed body becomes, until it is
answered: to send it costs its client nothing, so there may be as many of them as can be kept.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Iterator
from typing import Any

from starlette.types import Receive, Scope

from data.errors import RequestError
from service.admission import LARGE_BYTES, Admission
from service.connection import MAX_DIGITS, WHOLE

#: Set in a scope whose body was compressed: bytes of it that are held (see `Admission.hold`), to be let go of in the end.
HELD = "bentocast.held"
#: Unpacked in one go.
STEP_BYTES = 2**20


class TooLargeError(RequestError):
    """A body over the limit."""

    status = 413
    code = "request_too_large"


class MediaTypeError(RequestError):
    """A body of a type that is never read."""

    status = 415
    code = "unsupported_media_type"


class SlowError(RequestError):
    """A body that did not come in time."""

    status = 408
    code = "request_timeout"


class ClientGoneError(Exception):
    """Nobody is left to be answered."""


async def read(scope: Scope, receive: Receive, admission: Admission, most: int, seconds: float) -> bytes:
    """A body, decompressed.

    Args:
        scope: of the request; whoever answers it looks for `HELD`.
        receive: gives the body's parts.
        admission: keeps count of what is not whole yet.
        most: bytes that are allowed.
        seconds: in which it has to come.

    Raises:
        BentocastError: it is too large, too slow, packed in an unknown way, or damaged; or there are too many of its like.
        ClientGoneError: the client has left.
    """
    coding = b""
    for name, value in scope["headers"]:
        if name == b"content-length" and not _is_at_most(value, most):
            raise TooLargeError(f"the body is over {most} bytes: send several requests")
        if name == b"content-encoding":
            coding = value.strip().lower()
    reading = _read(receive, most, admission)
    # A timer costs as much as reading a small body does.
    body = await (reading if scope.get(WHOLE) else _in_time(reading, seconds))
    return body if coding in (b"", b"identity") else await _unpacked(scope, body, coding, most, admission)


def check_media_type(media_type: bytes, *, wants_json: bool) -> None:
    """See that a body may be read at all.

    Raises:
        MediaTypeError: it is of a type that runs code when it is read, or not JSON where JSON is wanted.
    """
    kind = media_type.partition(b";")[0].strip().lower()
    if b"pickle" in kind or kind.startswith(b"multipart/"):
        raise MediaTypeError("content-type: pickles and forms are never read here, wanted application/json")
    if wants_json and kind != b"application/json":
        raise MediaTypeError("content-type: wanted application/json")


def unpack(body: bytes, coding: bytes, most: int) -> Iterator[tuple[bytes, bool]]:
    """The parts of a gzip or deflate body, no further than the limit, and whether each is the last.

    Raises:
        MediaTypeError: another coding.
        RequestError: damaged.
        TooLargeError: larger than the limit.
    """
    if coding not in (b"gzip", b"deflate"):
        raise MediaTypeError("content-encoding: wanted gzip, deflate or none")
    unpacker, left = zlib.decompressobj(zlib.MAX_WBITS | (16 if coding == b"gzip" else 0)), most
    while not unpacker.eof:
        wanted = min(STEP_BYTES, left + 1)
        try:
            made = unpacker.decompress(body, wanted)
        except zlib.error as err:
            raise RequestError(f"body: it is not {coding.decode()}: {err}") from err
        body, left = unpacker.unconsumed_tail, left - len(made)
        if left < 0:
            raise TooLargeError(f"the body is over {most} bytes when unpacked: send several requests")
        if not unpacker.eof and len(made) < wanted:
            raise RequestError(f"body: its {coding.decode()} ends too early")
        if unpacker.unused_data:
            raise RequestError(f"body: something follows its {coding.decode()}")
        yield made, unpacker.eof


async def _unpacked(scope: Scope, body: bytes, coding: bytes, most: int, admission: Admission) -> bytes:
    """Unpacked in a thread, since it may become large, however small it is; large ones are held until they are answered."""
    steps = unpack(body, coding, most)
    parts, size, last = list[bytes](), 0, False
    scope[HELD] = 0
    while not last:
        part, last = await asyncio.to_thread(next, steps)
        parts.append(part)
        size += len(part)
        if size > LARGE_BYTES:
            admission.hold(size - scope[HELD])
            scope[HELD] = size
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _in_time(reading: Awaitable[bytes], seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await reading
    except TimeoutError as err:
        raise SlowError(f"the body did not come within {seconds:g} s: send it faster") from err


async def _read(receive: Receive, most: int, admission: Admission) -> bytes:
    """All parts of a body, as long as they are no larger than the limit together."""
    parts, size, held, more = [], 0, 0, True
    try:
        while more:
            message = await receive()
            parts.append(_part(message))
            size += len(parts[-1])
            if size > most:
                raise TooLargeError(f"the body is over {most} bytes: send several requests")
            more = message.get("more_body", False)
            if more and size > LARGE_BYTES:
                admission.hold(size - held)
                held = size
    finally:
        admission.let_go(held)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _part(message: Any) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    body: bytes = message.get("body", b"")
    return body


def _is_at_most(value: bytes, most: int) -> bool:
    """Whether a header is a whole number up to a limit; one of thousands of digits is not even read."""
    return value.isdigit() and len(value) <= MAX_DIGITS and int(value) <= most
