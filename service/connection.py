"""HTTP/1.1 connections: uvicorn's, and what it lacks against clients that are slow, endless, or hope for more.

- An idle connection is kept for longer than balancers keep theirs (a minute, most of them): the other way round they send
  requests to a connection that is just being closed. uvicorn's 5 s are too short for that, too.
- The head of a request has to come in time and within a size; uvicorn would wait for it, and keep it, for ever.
- An offer to change to another protocol is passed over and the request answered. Java's HttpClient and `curl --http2`
  offer HTTP/2 with every request; uvicorn passes over it too, but drops the body (Kludex/uvicorn, issue 2722).
- A request that came whole says so in its scope, so that no timer need be set while its body is read.
- What cannot be read as HTTP is refused in the shape of all errors.
- Where there is too much to do, a request is refused as soon as its head is there, and its body passed over: a task, an
  application and a body for every refusal would take half of the time that answers need.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Protocol

import httptools
from uvicorn import config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from data.errors import RequestError
from service.protocols.timeseries import Timeseries

#: Name of this class for uvicorn.
HERE = f"{__name__}:Connection"
#: Set in a scope whose body is there already.
WHOLE = "bentocast.whole"
#: Set in a scope whose body was added to what the worker has to do: how many bytes.
ADDED = "bentocast.added"
#: Digits of a length that may be a length at all.
MAX_DIGITS = 12


class Gate(Protocol):
    """Says who is let in; one that does not come whole is not held against those who do."""

    def look(self, path: str, length: int) -> bool | bytes:
        """Told of a POST when its head is there: whether it is work, or the whole refusal."""

    def add(self, length: int) -> None:
        """The body of such work is there."""


def install(gate: Gate) -> None:
    """Have uvicorn use these connections; BentoML does not let its users choose."""
    config.HTTP_PROTOCOLS["auto"] = HERE
    Connection.gate = gate


class Connection(HttpToolsProtocol):
    """One connection."""

    max_head_bytes = 65_536
    head_seconds = 30.0
    idle_seconds = 75
    gate: ClassVar[Gate | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.idle_seconds
        self._in_head = False
        self._refused = False
        #: Length of the body if the request is work.
        self._work: int | None = None
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left."""
        self._unset_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came: the end of one request, several whole ones, or a byte."""
        self._unset_keepalive_if_required()
        begun = self._in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        self._head_bytes = self._head_bytes + len(data) if begun and self._in_head else 0
        if self._head_bytes > self.max_head_bytes:
            self._refuse(431, f"the request's head is over {self.max_head_bytes} bytes")
        elif self._in_head:
            self._set_timer()
        else:
            self._unset_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, msg)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        if self.parser.should_upgrade():
            return
        refusal = self._looked_at()
        if refusal is None:
            super().on_headers_complete()
        else:
            self._refused = True
            self.transport.write(refusal)

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Its body is there too."""
        if self._refused:
            self._refused = False
            if self.parser.should_keep_alive():
                self.on_response_complete()
            else:
                self.transport.close()
        elif not self.parser.should_upgrade():
            if self.gate is not None and self._work is not None and not self.cycle.response_complete:
                self.gate.add(self._work)
                self.scope[ADDED] = self._work  # type: ignore[literal-required] # an addition of ours
            self.scope[WHOLE] = True  # type: ignore[literal-required] # an addition of ours
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return False

    def _looked_at(self) -> bytes | None:
        """Show a request to the gate, if it says how long it is and none is before it; the refusal, if it is refused."""
        self._work = None
        alone = self.cycle is None or self.cycle.response_complete
        if self.gate is None or not alone or self.expect_100_continue or self.parser.get_method() != b"POST":
            return None
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        if not length.isdigit() or len(length) > MAX_DIGITS:
            return None
        found = self.gate.look(self.url.partition(b"?")[0].decode("latin-1"), int(length))
        if isinstance(found, bytes):
            return found
        self._work = int(length) if found else None
        return None

    def _pass_over(self, rest: bytes) -> None:
        """Read a request again as if it had offered nothing."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("this is no proxy")
            return
        head = [method, b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self._late)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._set_timer()  # an earlier request is still being answered
        elif not self.transport.is_closing():
            self._refuse(408, f"the request's head did not come within {self.head_seconds:g} s")

    def _refuse(self, status: int, text: str) -> None:
        """Answer past the application, and hang up."""
        body = Timeseries().error(RequestError(text))
        length = str(len(body)).encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: " + length
        self.transport.write(STATUS_LINE[status] + head + b"\r\n\r\n" + body)
        self.transport.close()
