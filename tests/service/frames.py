"""HTTP/2 by hand, for calls that no gRPC client would make."""

from __future__ import annotations

import re
import socket
import struct

from tests.service.live import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW = 0, 1, 3, 4, 6, 8
END_STREAM, END_HEADERS = 1, 4
#: How long to look for an answer to what may get none.
LOOK_SECONDS = 0.5


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def head(path: str, *more: tuple[bytes, bytes], **changed: bytes) -> bytes:
    """The headers of a call, uncompressed, on stream 1."""
    fields = {b":method": b"POST", b":scheme": b"http", b":path": path.encode(), b":authority": b"here"}
    fields |= {b"te": b"trailers", b"content-type": b"application/grpc"}
    fields |= {name.encode().replace(b"_", b":", 1): value for name, value in changed.items()}
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in (*fields.items(), *more))
    return frame(HEADERS, END_HEADERS, 1, block)


def message(body: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """A message with its length before it, as the last data of the stream."""
    size = len(body) if length is None else length
    return frame(DATA, END_STREAM, 1, bytes([flag]) + struct.pack(">I", size) + body)


def status(live: Server, *frames: bytes, preface: bytes = PREFACE + frame(SETTINGS, 0, 0, b"")) -> int | None:
    """gRPC's status code, or None if there was no answer for a while or the connection was closed."""
    got = b""
    with socket.create_connection(("127.0.0.1", live.port + 1), timeout=LOOK_SECONDS) as connection:
        try:
            connection.sendall(preface + b"".join(frames))
            while chunk := connection.recv(65_536):
                got += chunk
                found = re.search(rb"grpc-status[\x01\x02](\d+)", got)
                if found is not None:
                    return int(found[1])
        except (ConnectionError, TimeoutError):
            pass
    return None


def _text(value: bytes) -> bytes:
    """A string of HPACK, of at most 253 bytes."""
    return (bytes([len(value)]) if len(value) < 127 else bytes([127, len(value) - 127])) + value
