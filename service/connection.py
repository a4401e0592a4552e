"""HTTP/1.1 connections: uvicorn's, and what it lacks against clients that are slow, endless, or hope for more.

- The head of a request has to come in time and within a size; uvicorn would wait for it, and keep it, for ever.
- An offer to change to another protocol is passed over and the request answered. Java's HttpClient and `curl --http2`
  offer HTTP/2 with every request; uvicorn passes over it too, but drops the body (Kludex/uvicorn, issue 2722).
- A request that came whole says so in its scope, so that no timer need be set while its body is read.
- What cannot be read as HTTP is refused in the shape of all errors.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn import config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from data.errors import RequestError
from service.protocols.timeseries import Timeseries

#: Name of this class for uvicorn.
HERE = f"{__name__}:Connection"
#: Set in a scope whose body is there already.
WHOLE = "bentocast.whole"


def install() -> None:
    """Have uvicorn use these connections; BentoML does not let its users choose."""
    config.HTTP_PROTOCOLS["auto"] = HERE


class Connection(HttpToolsProtocol):
    """One connection."""

    max_head_bytes = 65_536
    head_seconds = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
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
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Its body is there too."""
        if not self.parser.should_upgrade():
            self.scope[WHOLE] = True  # type: ignore[literal-required] # an addition of ours
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return False

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
