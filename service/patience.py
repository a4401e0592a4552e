"""Connections of uvicorn's that wait for nothing for ever, and keep nothing that has no end.

- An idle connection is kept for longer than balancers keep theirs (a minute, most of them): the other way round they send
  requests to a connection that is just being closed. uvicorn's 5 s are too short for that, and one whose client never
  says anything is kept by it for ever.
- The head of a request has to come in time and within a size, and so has its body and what may follow that, whatever was
  answered meanwhile.
- An answer has to be taken in time. A client that reads none of it would keep it in memory, and a worker from ending.
- Where an answer comes before the body and is the last one, the rest of the body is passed over first: who is hung up on
  while sending loses the answer (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from data.errors import RequestError
from service.protocols.timeseries import Timeseries


class Part(Enum):
    """What of a request is there in part."""

    HEAD = "head"
    BODY = "body"


class Outlet:
    """What an answer is written to whose request is not whole yet: closing it is up to the connection.

    Args:
        transport: of the connection.
        close: called instead of the transport's.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close


class Patient(HttpToolsProtocol):
    """One connection; those who build on it tell it by `turn_to` which part of a request is being read."""

    #: Of a head, and of what else is no body: lengths of chunks, and fields behind the last.
    max_head_bytes = 65_536
    #: Of a body that nobody wants any more.
    max_passed_bytes = 2**26
    head_seconds = 30.0
    idle_seconds = 75
    #: See `patience`.
    patience_seconds = 30.0
    #: For the rest of a body, after the application has lost its patience and said so.
    grace_seconds = 3.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.idle_seconds
        self.part: Part | None = None
        #: Whether the request was answered past the application.
        self.refused = False
        #: Whether to hang up when the body is there.
        self.ending = False
        #: Whether all of the data that is being read goes on with what was begun before it.
        self._goes_on = False
        self._loose_bytes = self._passed_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left."""
        self._unset_timer()
        self._unset_cut()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The worker ends: what was begun may be finished, but not for ever."""
        super().shutdown()
        self.loop.call_later(self._longest_seconds(), self.transport.abort)

    def pause_writing(self) -> None:
        """The client does not take its answers as fast as they are made."""
        super().pause_writing()
        if self._cut is None:
            self._cut = self.loop.call_later(self._longest_seconds(), self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken most of them; where they were the last ones, it has to take all."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._unset_cut()

    def data_received(self, data: bytes) -> None:
        """Take what came: the end of one request, several whole ones, or a byte."""
        self._unset_keepalive_if_required()
        self._goes_on = True
        try:
            self.feed(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self.part is not None:
            self._wait_for_the_rest(len(data))
        elif self._timer is None and self.timeout_keep_alive_task is None and not self.is_answering():
            self._set_timer()  # what came was nothing but ends of lines

    def feed(self, data: bytes) -> None:
        """Have requests read."""
        self.parser.feed_data(data)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self.refuse(400, msg)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.turn_to(Part.HEAD)

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._goes_on = False
        if not self.refused and not self.cycle.response_complete:
            super().on_body(body)
            return
        self._passed_bytes += len(body)
        if self._passed_bytes > self.max_passed_bytes:
            self.transport.close()

    def patience(self) -> float:
        """Seconds for a body to come and for an answer to be taken."""
        return self.patience_seconds

    def turn_to(self, part: Part | None) -> None:
        """Another part of a request begins, and its time with it."""
        self.part, self._goes_on = part, False
        if self._timer is not None:
            self._unset_timer()

    def is_answering(self) -> bool:
        """Whether a request waits for its answer, or for being sent it."""
        return self.cycle is not None and not self.cycle.response_complete

    def refuse(self, status: int, text: str) -> None:
        """Answer past the application, unless it has answered, and hang up."""
        if not self._has_answered() and not self.flow.write_paused:
            body = Timeseries().error(RequestError(text))
            length = str(len(body)).encode()
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: " + length
            self.transport.write(STATUS_LINE[status] + head + b"\r\n\r\n" + body)
        self.transport.close()

    def _has_answered(self) -> bool:
        """Whether there is an answer, or some of it, to the request whose body is being read."""
        own = self.cycle is not None and self.cycle.scope is self.scope
        return self.part is Part.BODY and (self.refused or (own and self.cycle.response_started))

    def _wait_for_the_rest(self, size: int) -> None:
        """Of a request some is there: see that it does not become too much, and that the rest comes."""
        self._loose_bytes = self._loose_bytes + size if self._goes_on else 0
        if self._loose_bytes > self.max_head_bytes:
            what = "head is" if self.part is Part.HEAD else "lengths of chunks, or fields behind its body, are"
            self.refuse(431, f"the request's {what} over {self.max_head_bytes} bytes")
        elif self._timer is None:
            self._set_timer()
            if self.part is Part.BODY and not self.refused:
                self._passed_bytes = 0
                self.cycle.transport = Outlet(self.transport, self._hang_up)  # type: ignore[assignment] # all it needs

    def _hang_up(self) -> None:
        """The application gave its last answer while the body was still coming."""
        if self.part is Part.BODY:
            self.ending = True
        else:
            self.transport.close()

    def _longest_seconds(self) -> float:
        return self.patience() + self.grace_seconds

    def _set_timer(self) -> None:
        """For the rest of what is there in part, or for a first byte."""
        if self.part is Part.BODY:
            seconds = self._longest_seconds()
        else:
            seconds = self.idle_seconds if self.part is None else self.head_seconds
        self._timer = self.loop.call_later(seconds, self._late)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.is_answering():
            self._set_timer()  # an earlier request, or this one: the application has timers of its own
        elif self.part is Part.HEAD and not self.transport.is_closing():
            self.refuse(408, f"the request's head did not come within {self.head_seconds:g} s")
        else:
            self.transport.close()

    def _unset_cut(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
