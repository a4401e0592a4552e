"""The HTTP face: every request comes through here, in front of BentoML's own layers.

BentoML's middleware (tracing, metrics, access log) costs more than a forecast and labels metrics by raw
path, which lets a stranger grow them without bound. So this application stands before it, answers every
path itself, and leaves to BentoML the life of the worker.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from data.errors import BentocastError, NotFoundError, RequestError
from service import body as bodies
from service import connection, correlation, endpoints, keys
from service.body import HELD, ClientGoneError
from service.call import Call, Headers, Reply
from service.connection import ADDED, ANSWERED, KNOWN, Connection
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
#: Status of what was asked for, and the one that is counted when nobody is left to be told.
OK, CLIENT_GONE = 200, 499

logger = logging.getLogger("bentocast.service")


class MethodError(RequestError):
    """A path that is served, asked in a way that is not."""

    status = 405
    code = "method_not_allowed"


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
        #: See `connection.Gate`.
        self.patience_seconds = Connection.patience_seconds

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
        await self._answer(scope, receive, send)

    def look(self, path: str, length: int, headers: Headers) -> bool | bytes:
        """See `connection.Gate`."""
        found = self._routes and self._routes.find(path)
        if not found or not found[0].is_work or length > self._worker.settings.max_body_bytes:
            return False
        try:
            self._check_key(headers)
            self._worker.admission.check(length)
        except keys.UnauthorizedError:
            return False  # told by `_admit`, like all who may not ask: what a stranger sends is nobody's work
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
        endpoint, reply = await self._made(scope, receive)
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
        self.patience_seconds = self._worker.settings.deadline_seconds

    async def _made(self, scope: Scope, receive: Receive) -> tuple[Endpoint | None, Reply]:
        """The answer. From then on it is no longer work, whenever the client takes it, or if it never does."""
        status = CLIENT_GONE
        try:
            endpoint, reply = await self._answered(scope, receive)
            status = reply.status
        finally:
            scope[ANSWERED] = True
            self._worker.admission.let_go(scope.get(HELD, 0))
            if ADDED in scope:
                self._worker.admission.release(scope[ADDED], answered=status == OK)
        return endpoint, reply

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
            self._admit(endpoint, headers, known=KNOWN in scope)
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

    def _admit(self, endpoint: Endpoint, headers: Headers, *, known: bool) -> None:
        """Refuse who may not ask, before anything of the body is read."""
        settings = self._worker.settings
        access = {"metrics": settings.metrics_access, "docs": settings.docs_access}.get(endpoint.group, "open")
        if access == "off":
            raise NotFoundError("not found: see /docs for what is served here")
        if not known and (endpoint.group == "api" or access == "key"):
            self._check_key(headers)
        for name, value in headers:
            if name == b"content-type":
                bodies.check_media_type(value, wants_json=endpoint.wants_json)
                return
        if endpoint.wants_json:
            bodies.check_media_type(b"", wants_json=True)

    def _check_key(self, headers: Headers) -> None:
        known = self._worker.keys
        if known is not None:
            given = {name: value for name, value in headers if name in (b"authorization", b"x-api-key")}
            known.check(keys.of_headers(given.get(b"authorization"), given.get(b"x-api-key")))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        worker, settings = self._worker, self._worker.settings
        return await bodies.read(scope, receive, worker.admission, settings.max_body_bytes, settings.deadline_seconds)


def _handler(endpoint: Endpoint, method: str) -> Handler:
    handler = endpoint.handler(method)
    if handler is None:
        raise MethodError(f"{cut(method, MAX_SHOWN)} is not allowed here, wanted {endpoint.allow}")
    return handler


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
