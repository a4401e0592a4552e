"""HTTP/1.1 as clients really speak it, over a socket, with an application that says what it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from service import connection
from service.connection import WHOLE, Connection

OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
HEAD = b"POST /there?x=y HTTP/1.1\r\nhost: here\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
LONG = b"content-length: 5\r\n\r\nabcde"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Small(Connection):
    """Keeps no more than a test sends."""

    max_head_bytes = 1_000


class Hasty(Connection):
    """Waits no longer than a test."""

    head_seconds = 0.5


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


def talk(kind: type[Connection], client: Talk) -> None:
    """Let a client speak to a server with connections of some kind."""

    async def both() -> None:
        loop = asyncio.get_running_loop()
        config = Config(echo, log_config=None)
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


class TestAnOfferOfHttp2:
    @pytest.mark.parametrize("body", [CHUNKED, LONG])
    @pytest.mark.parametrize("size", [1, 7, 10_000])
    def test_is_passed_over_and_the_body_is_read(self, body: bytes, size: int) -> None:
        """Three times over, on one connection, in pieces."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(3):
                for piece in pieces(HEAD + OFFER + body, size):
                    writer.write(piece)
                    await asyncio.sleep(0)
                status, told = await answer(reader)
                assert (status, told["path"], told["body"]) == (200, "/there", "abcde")

        talk(Connection, client)

    def test_may_be_followed_by_the_next_request(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + OFFER + LONG + HEAD + LONG.replace(b"abcde", b"fghij"))
            assert [(await answer(reader))[1]["body"] for _ in range(2)] == ["abcde", "fghij"]

        talk(Connection, client)

    def test_of_web_sockets_too(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            offer = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n" + offer + b"\r\n")
            assert (await answer(reader))[0] == 200

        talk(Connection, client)


class TestHead:
    def test_over_the_limit(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD)
            refused = asyncio.ensure_future(answer(reader))
            while not refused.done():
                writer.write(b"more: and more\r\n")
                await asyncio.sleep(0.001)
            status, told = refused.result()
            assert (status, told["error"]["message"]) == (431, "the request's head is over 1000 bytes")

        talk(Small, client)

    @pytest.mark.parametrize("begun", [b"", b"GET / HT", HEAD])
    def test_that_does_not_come(self, begun: bytes) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(begun)
            status, told = await answer(reader)
            assert (status, told["error"]["message"]) == (408, "the request's head did not come within 0.5 s")
            assert await reader.read() == b""

        talk(Hasty, client)

    def test_that_comes_in_time_has_no_hurry_with_its_body(self) -> None:
        """Which is timed elsewhere."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + LONG[:-1])
            await asyncio.sleep(2 * Hasty.head_seconds)
            writer.write(LONG[-1:])
            assert await answer(reader) == (200, {"path": "/there", "body": "abcde", "whole": False})

        talk(Hasty, client)

    @pytest.mark.parametrize(
        "sent", [b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"]
    )
    def test_of_another_protocol(self, sent: bytes) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(sent)
            status, told = await answer(reader)
            assert (status, list(told["error"])) == (400, ["code", "message", "param", "type"])

        talk(Connection, client)


def test_a_request_that_came_whole_says_so() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + LONG)
        assert (await answer(reader))[1]["whole"] is True

    talk(Connection, client)


REFUSAL = b"HTTP/1.1 503 \r\ncontent-length: 2\r\n\r\n{}"


class Gate:
    """Refuses what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.refusing = False
        self.seen: list[tuple[str, int]] = []
        self.added: list[int] = []

    def look(self, path: str, length: int) -> bool | bytes:
        self.seen.append((path, length))
        return REFUSAL if self.refusing else path == "/there"

    def add(self, length: int) -> None:
        self.added.append(length)


@pytest.fixture
def gated() -> tuple[Gate, type[Connection]]:
    gate = Gate()
    return gate, type("Gated", (Connection,), {"gate": gate})


class TestGate:
    """Who is not let in is told by the head, and the connection lives on."""

    @pytest.mark.parametrize("size", [1, 7, 10_000])
    def test_a_refused_body_is_passed_over(self, gated: tuple[Gate, type[Connection]], size: int) -> None:
        gate, kind = gated

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for refusing in (True, False, True, True, False):
                gate.refusing = refusing
                for piece in pieces(HEAD + LONG, size):
                    writer.write(piece)
                    await asyncio.sleep(0)
                status, told = await answer(reader)
                assert (status, told.get("body")) == ((503, None) if refusing else (200, "abcde"))
            assert gate.seen == [("/there", 5)] * 5
            assert gate.added == [5, 5]

        talk(kind, client)

    def test_it_is_told_before_the_body_is_there(self, gated: tuple[Gate, type[Connection]]) -> None:
        gate, kind = gated

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            gate.refusing = True
            writer.write(HEAD + b"content-length: 100000\r\n\r\n")
            assert (await answer(reader))[0] == 503
            writer.write(b"x" * 100_000)
            gate.refusing = False
            writer.write(HEAD + LONG)
            assert (await answer(reader))[1]["body"] == "abcde"

        talk(kind, client)

    def test_one_who_wants_no_other_answer_is_hung_up_on(self, gated: tuple[Gate, type[Connection]]) -> None:
        gate, kind = gated

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            gate.refusing = True
            writer.write(HEAD + b"connection: close\r\n" + LONG)
            assert (await answer(reader))[0] == 503
            assert await reader.read() == b""

        talk(kind, client)

    def test_a_body_that_never_ends_is_not_held_against_others(self, gated: tuple[Gate, type[Connection]]) -> None:
        gate, kind = gated

        async def client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"content-length: 100000\r\n\r\nabc")
            await asyncio.sleep(0.05)
            assert gate.seen
            assert not gate.added

        talk(kind, client)

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /there HTTP/1.1\r\nhost: here\r\n\r\n",
            HEAD + CHUNKED,
            b"POST /there HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n",
            HEAD + b"content-length: 0000000000000000000005\r\n\r\nabcde",
        ],
    )
    def test_is_not_asked_of_what_is_no_work_or_has_no_length(
        self, gated: tuple[Gate, type[Connection]], head: bytes
    ) -> None:
        gate, kind = gated

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            gate.refusing = True
            writer.write(head)
            if b"expect" in head:
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(b"x")
            assert (await answer(reader))[0] == 200
            assert not gate.seen

        talk(kind, client)


def test_uvicorn_takes_these_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "gate", None)
    connection.install(Gate())
    config = Config(echo, log_config=None)
    config.load()
    assert config.http_protocol_class is Connection
