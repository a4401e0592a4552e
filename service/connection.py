"""HTTP/1.1 connections: patient ones (see `service.patience`) that read every request, and ask who is let in.

- An offer to change to another protocol is passed over and the request answered. Java's HttpClient and `curl --http2`
  offer HTTP/2 with every request; uvicorn passes over it too, but drops the body (Kludex/uvicorn, issue 2722).
- A request that came whole says so in its scope, so that no timer need be set while its body is read.
- What cannot be read as HTTP is refused in the shape of all errors.
- Where there is too much to do, a request is refused as soon as its head is there, and its body passed over: a task, an
  application and a body for every refusal would take half of the time that answers need.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, Protocol

import httptools
from uvicorn import config

from service.call import Headers
from service.patience import Part, Patient

#: Name of this class for uvicorn.
HERE = f"{__name__}:Connection"
#: Set in a scope whose body is there already.
WHOLE = "bentocast.whole"
#: Set in a scope whose body was added to what the worker has to do: how many bytes.
ADDED = "bentocast.added"
#: Set in a scope whose client has shown a key that is good, where one is wanted.
KNOWN = "bentocast.known"
#: Set in a scope that has its reply, sent or not.
ANSWERED = "bentocast.answered"
#: Digits of a length that may be a length at all.
MAX_DIGITS = 12
#: Keeps the fields that follow a body: none.
NOWHERE: Any = deque[tuple[bytes, bytes]](maxlen=0)


class Gate(Protocol):
    """Says who is let in; one that does not come whole is not held against those who do.

    Attributes:
        patience_seconds: how long a body may take to come, and an answer to be taken.
    """

    patience_seconds: float

    def look(self, path: str, length: int, headers: Headers) -> bool | bytes:
        """Told of a POST when its head is there: whether it is work of one who may ask for it, or the whole refusal."""

    def add(self, length: int) -> None:
        """The body of such work is there."""


def install(gate: Gate) -> None:
    """Have uvicorn use these connections; BentoML does not let its users choose."""
    config.HTTP_PROTOCOLS["auto"] = HERE
    Connection.gate = gate


class Connection(Patient):
    """One connection."""

    gate: ClassVar[Gate | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Length of the body if the request is work.
        self._work: int | None = None

    def patience(self) -> float:
        """As long as the application's, which knows its settings only after the start."""
        return self.patience_seconds if self.gate is None else self.gate.patience_seconds

    def feed(self, data: bytes) -> None:
        """Have requests read; one that offers another protocol is read again as if it had offered nothing."""
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = memoryview(rest)[offer.args[0] :]
            else:
                return
            if self.parser.get_method() == b"CONNECT":
                self.send_400_response("this is no proxy")
                return
            self._pass_over()

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        if self.parser.should_upgrade():
            return
        self.turn_to(Part.BODY)
        # After the end of a connection more may stand in what it sent before.
        refusal = b"" if self.transport.is_closing() else self._looked_at()
        self.headers = NOWHERE
        if refusal is None:
            super().on_headers_complete()
            return
        self.refused = True
        if self.flow.write_paused:
            self.transport.close()  # it asks again and again, and takes no answer
        elif refusal:
            self.transport.write(refusal)

    def on_message_complete(self) -> None:
        """Its body is there too."""
        if self.parser.should_upgrade():
            return
        self.turn_to(None)
        if self.ending:
            self.transport.close()
        elif self.refused:
            self.refused = False
            if self.parser.should_keep_alive():
                self.on_response_complete()
            else:
                self.transport.close()
        else:
            if self.gate is not None and self._work is not None and ANSWERED not in self.scope:
                self.gate.add(self._work)
                self.scope[ADDED] = self._work  # type: ignore[literal-required] # an addition of ours
            self.scope[WHOLE] = True  # type: ignore[literal-required] # an addition of ours
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return False

    def _looked_at(self) -> bytes | None:
        """Show a request to the gate, if it says how long it is and none is before it; the refusal, if it is refused."""
        self._work = None
        if self.gate is None or self.is_answering() or self.expect_100_continue or self.parser.get_method() != b"POST":
            return None
        length = self._length()
        if length is None:
            return None
        found = self.gate.look(self.url.partition(b"?")[0].decode("latin-1"), length, self.headers)
        if isinstance(found, bytes):
            return found
        if found:
            self._work = length
            self.scope[KNOWN] = True  # type: ignore[literal-required] # an addition of ours
        return None

    def _length(self) -> int | None:
        """Bytes of the body, if the head tells; of a compressed one it does not tell how many there will be to work on."""
        length = b""
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name == b"content-encoding":
                return None
        return int(length) if length.isdigit() and len(length) <= MAX_DIGITS else None

    def _pass_over(self) -> None:
        """Read a head again without its offer."""
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"".join([*head, b"\r\n"]))
