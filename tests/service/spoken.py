"""A server with connections of ours and an application of the test's, and a client that speaks by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from service.connection import WHOLE, Connection

HEAD = b"POST /there?x=y HTTP/1.1\r\nhost: here\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
LONG = b"content-length: 5\r\n\r\nabcde"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Say what was asked."""
    whole, body, more = scope.get(WHOLE, False), b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    told = json.dumps({"path": scope["path"], "body": body.decode(), "whole": whole}).encode()
    head = [(b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": told})


def talk(kind: type[Connection], client: Talk, app: ASGIApp = echo) -> None:
    """Let a client speak to a server with connections of some kind; all that was asked has ended in the end."""

    async def both() -> None:
        loop = asyncio.get_running_loop()
        config = Config(app, log_config=None)
        config.load()
        state = ServerState()
        server = await loop.create_server(lambda: kind(config, state, {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            await asyncio.wait_for(client(reader, writer), 20)
        finally:
            writer.close()
            server.close()
            await asyncio.gather(*state.tasks)
            await server.wait_closed()

    asyncio.run(both())


async def answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    (length,) = (int(line.partition(":")[2]) for line in lines if line.startswith("content-length"))
    return int(lines[0].split()[1]), json.loads(await reader.readexactly(length))


def pieces(sent: bytes, size: int) -> list[bytes]:
    return [sent[place : place + size] for place in range(0, len(sent), size)]


async def said(reader: asyncio.StreamReader) -> bytes:
    """All until the other side closes, or resets the connection because more was sent to it."""
    told = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(2**16):
            told += more
    return told


async def hung_up_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, more: bytes) -> bytes:
    """Send something again and again until the other side closes; what it said."""
    told = asyncio.ensure_future(said(reader))
    for turn in count():
        assert turn < 3_000, "it takes everything"
        if told.done():
            break
        writer.write(more)
        await asyncio.sleep(0.001)
    return told.result()
