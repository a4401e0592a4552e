"""The HTTP face: every request comes through here, in front of BentoML's own layers.

BentoML's middleware (tracing, metrics, access log) costs more than a forecast and labels metrics by raw
path, which lets a stranger grow them without bound. So this application stands before it, answers every
path itself, and leaves to BentoML the life of the worker.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from data.errors import BentocastError, NotFoundError, RequestError
from service import connection, correlation, endpoints, keys
from service.admission import LARGE_BYTES, Admission
from service.call import Call, Headers, Reply
from service.connection import ADDED, MAX_DIGITS, WHOLE
from service.faults import MAX_SHOWN, cut
from service.metrics import Metrics
from service.routes import Endpoint, Handler, Routes
from service.worker import Worker

#: Label of all paths that are not served here.
ELSEWHERE = "other"
PLAIN_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
#: Sent while the worker drains, so that the next request goes to another one.
CLOSING = ((b"connection", b"close"),)
#: Status that is counted when nobody is left to be told.
CLIENT_GONE = 499

logger = logging.getLogger("bentocast.service")


class TooLargeError(RequestError):
    """A body over the limit."""

    status = 413
    code = "request_too_large"


class MethodError(RequestError):
    """A path that is served, asked in a way that is not."""

    status = 405
    code = "method_not_allowed"


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


class Front:
    """The application.

    Args:
        inner: BentoML's application, which starts and ends the worker.
        worker: gives the worker's parts, once it has started.
        metrics: likewise.
    """

    def __init__(self, inner: ASGIApp, worker: Callable[[], Worker], metrics: Callable[[], Metrics]) -> None:
        connection.install(self)
        self._inner = inner
        self._parts = worker, metrics
        #: None until the first request: the worker has started by then.
        self._routes: Routes | None = None
        self._worker: Worker
        self._metrics: Metrics
        self._headers: Headers = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on what is not HTTP."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        if self._routes is None:
            self._begin()
        try:
            await self._answer(scope, receive, send)
        finally:
            if ADDED in scope:
                self._worker.admission.release(scope[ADDED])

    def look(self, path: str, length: int) -> bool | bytes:
        """See `connection.Gate`."""
        found = self._routes and self._routes.find(path)
        if not found or not found[0].is_work or length > self._worker.settings.max_body_bytes:
            return False
        try:
            self._worker.admission.check(length)
        except BentocastError as err:
            reply = refused(found[0], err)
            self._metrics.refused(found[0].template, reply.status)
            closing = () if self._worker.ready else CLOSING
            own = (b"content-type", reply.media_type), (b"content-length", str(len(reply.body)).encode())
            head = b"".join(b"%b: %b\r\n" % header for header in (*own, *reply.headers, *self._headers, *closing))
            return b"%b%b\r\n%b" % (STATUS_LINE[reply.status], head, reply.body)
        return True

    def add(self, length: int) -> None:
        """See `connection.Gate`."""
        self._worker.admission.add(length)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        endpoint, reply = await self._answered(scope, receive)
        if reply.status != CLIENT_GONE:
            closing = () if self._worker.ready else CLOSING
            await send(
                {
                    "type": "http.response.start",
                    "status": reply.status,
                    "headers": [
                        (b"content-type", reply.media_type),
                        (b"content-length", str(len(reply.body)).encode()),
                        *reply.headers,
                        *self._headers,
                        *closing,
                    ],
                }
            )
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})
        label = ELSEWHERE if endpoint is None else endpoint.template
        self._metrics.answered(label, reply.status, time.perf_counter() - began)

    def _begin(self) -> None:
        """Take the worker's parts, once, and make the table of paths."""
        worker, metrics = self._parts
        self._worker, self._metrics = worker(), metrics()
        table = endpoints.table(self._worker, self._metrics)
        for endpoint in table:
            if endpoint.is_work:
                self._metrics.expect(endpoint.template)
        self._routes = Routes(table)
        own = tuple((name.encode(), value.encode()) for name, value in self._worker.served.headers.items())
        self._headers = PLAIN_HEADERS + own

    async def _answered(self, scope: Scope, receive: Receive) -> tuple[Endpoint | None, Reply]:
        assert self._routes is not None
        found = self._routes.find(scope["path"])
        if found is None:
            return None, self._nowhere(scope["path"])
        endpoint, model, version = found
        try:
            handler = _handler(endpoint, scope["method"])
            headers = scope["headers"]
            correlation.take(headers)
            self._admit(endpoint, headers)
            body = await self._body(scope, receive) if scope["method"] in ("POST", "PUT", "PATCH") else b""
            if endpoint.is_work and ADDED not in scope:  # its length was not known before
                self._worker.admission.check(len(body))
                self._worker.admission.add(len(body))
                scope[ADDED] = len(body)
            return endpoint, await handler(Call(headers, body, model, version))
        except BentocastError as err:
            return endpoint, refused(endpoint, err)
        except ClientGoneError:
            return endpoint, Reply(b"", CLIENT_GONE)
        except Exception:
            logger.exception("%s %s failed", scope["method"], endpoint.template)
            fault = BentocastError("the server failed, see its log")
            return endpoint, refused(endpoint, fault)

    def _nowhere(self, path: str) -> Reply:
        """A path that is not served: the way there, if it is one with a slash too many, else 404."""
        assert self._routes is not None
        if path != "/" and path.endswith("/") and self._routes.find(path.rstrip("/")) is not None:
            # Quoted again: a path may hold the end of a line.
            location = quote(path.rstrip("/"), safe="/:", errors="surrogatepass").encode()
            return Reply(b"", 307, b"text/plain", ((b"location", location),))
        fault = NotFoundError("not found: see /docs for what is served here")
        return Reply(endpoints.TIMESERIES.error(fault), fault.status)

    def _admit(self, endpoint: Endpoint, headers: Headers) -> None:
        """Refuse who may not ask, before anything of the body is read."""
        worker = self._worker
        settings = worker.settings
        access = {"metrics": settings.metrics_access, "docs": settings.docs_access}.get(endpoint.group, "open")
        if access == "off":
            raise NotFoundError("not found: see /docs for what is served here")
        if worker.keys is not None and (endpoint.group == "api" or access == "key"):
            given = {name: value for name, value in headers if name in (b"authorization", b"x-api-key")}
            worker.keys.check(keys.of_headers(given.get(b"authorization"), given.get(b"x-api-key")))
        for name, value in headers:
            if name == b"content-type":
                check_media_type(value, wants_json=endpoint.wants_json)
                return
        if endpoint.wants_json:
            check_media_type(b"", wants_json=True)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The body, no larger than the limit, in time, and decompressed."""
        settings = self._worker.settings
        most, coding = settings.max_body_bytes, b""
        for name, value in scope["headers"]:
            if name == b"content-length" and not _is_at_most(value, most):
                raise TooLargeError(f"the body is over {most} bytes: send several requests")
            if name == b"content-encoding":
                coding = value.strip().lower()
        reading = _read(receive, most, self._worker.admission)
        # A timer costs as much as reading a small body does.
        body = await (reading if scope.get(WHOLE) else _in_time(reading, settings.deadline_seconds))
        if coding in (b"", b"identity"):
            return body
        # However small it is, it may become large.
        return await asyncio.to_thread(decompressed, body, coding, most)


def _handler(endpoint: Endpoint, method: str) -> Handler:
    handler = endpoint.handler(method)
    if handler is None:
        raise MethodError(f"{cut(method, MAX_SHOWN)} is not allowed here, wanted {endpoint.allow}")
    return handler


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


def decompressed(body: bytes, coding: bytes, most: int) -> bytes:
    """A gzip or deflate body, no further than the limit.

    Raises:
        MediaTypeError: another coding.
        RequestError: damaged.
        TooLargeError: larger than the limit.
    """
    if coding not in (b"gzip", b"deflate"):
        raise MediaTypeError("content-encoding: wanted gzip, deflate or none")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | (16 if coding == b"gzip" else 0))
    try:
        made = unpacker.decompress(body, most + 1)
    except zlib.error as err:
        raise RequestError(f"body: it is not {coding.decode()}: {err}") from err
    if len(made) > most:
        raise TooLargeError(f"the body is over {most} bytes when unpacked: send several requests")
    if not unpacker.eof:
        raise RequestError(f"body: its {coding.decode()} ends too early")
    if unpacker.unused_data:
        raise RequestError(f"body: something follows its {coding.decode()}")
    return made


def refused(endpoint: Endpoint, err: BentocastError) -> Reply:
    """An error in the shape of the protocol that was spoken, with what the client may do next."""
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(err, MethodError):
        headers.append((b"allow", endpoint.allow.encode()))
    if isinstance(err, keys.UnauthorizedError):
        headers.append((b"www-authenticate", b'Bearer realm="bentocast"'))
    retry = getattr(err, "retry_after_seconds", None)
    if retry is not None:
        headers.append((b"retry-after", str(math.ceil(retry)).encode()))
    return Reply(endpoint.door.error(err), err.status, headers=tuple(headers))


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
