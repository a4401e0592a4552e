"""What the HTTP face hands to a protocol and gets back: a call, the question it asks, a reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from data.errors import BentocastError
from service.served import AnyAnswer, AnyQuestion, Served

Headers = Sequence[tuple[bytes, bytes]]


class Call(NamedTuple):
    """One HTTP request, its body read.

    Attributes:
        headers: names in lower case.
        body: as it came, or decoded if it was compressed.
        model: the model that the path names, if it names one.
        version: the version that the path names, if it names one.
    """

    headers: Headers
    body: bytes
    model: str | None = None
    version: str | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name), None)


class Asked(NamedTuple):
    """A question, and what the protocol needs to shape the answer."""

    question: AnyQuestion
    note: Any = None


class Reply(NamedTuple):
    """An answer, ready to send."""

    body: bytes
    status: int = 200
    media_type: bytes = b"application/json"
    headers: Headers = ()


class Door(Protocol):
    """A protocol that asks for forecasts. All three are pure: no I/O, and they may run in a thread."""

    def read(self, call: Call, served: Served) -> Asked:
        """What the call asks.

        Raises:
            BentocastError: the call cannot be answered as asked.
        """

    def write(self, asked: Asked, answer: AnyAnswer, served: Served) -> Reply:
        """The answer in the protocol's shape."""

    def error(self, err: BentocastError) -> bytes:
        """An error in the protocol's shape, as JSON."""
