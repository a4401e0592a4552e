"""HTTP by hand, for requests that no client would send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.service.live import Server

TIMEOUT_SECONDS = 30


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection.

    Args:
        live: the service.
    """

    def __init__(self, live: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", live.port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send pieces, each in a packet of its own; the other side may hang up in between."""
        for piece in pieces:
            self._socket.sendall(piece)

    def half_close(self) -> None:
        """Say that nothing more will come."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self) -> Got | None:
        """The next answer, or None if the other side hung up."""
        try:
            line = self._file.readline()
            if not line:
                return None
            headers = {}
            while (field := self._file.readline().strip()) != b"":
                name, _, value = field.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            body = self._file.read(int(headers.get("content-length", "0")))
        except ConnectionError:
            return None
        return Got(int(line.split()[1]), headers, body)


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request."""
    size = len(body) if length is None else length
    fields = "".join(f"{header}\r\n" for header in (f"content-length: {size}", *headers))
    return f"POST {path} HTTP/1.1\r\nhost: here\r\n{fields}\r\n".encode() + body


def chunked(path: str, chunks: Iterable[bytes], *headers: str) -> list[bytes]:
    """A request whose length is not known beforehand, in pieces."""
    fields = "".join(f"{header}\r\n" for header in ("transfer-encoding: chunked", *headers))
    head = f"POST {path} HTTP/1.1\r\nhost: here\r\n{fields}\r\n".encode()
    return [head, *(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks), b"0\r\n\r\n"]


def ask(live: Server, *pieces: bytes) -> Got:
    """The answer to one request on a connection of its own."""
    with Wire(live) as wire:
        wire.send(*pieces)
        got = wire.answer()
    assert got is not None, "it hung up without an answer"
    return got
