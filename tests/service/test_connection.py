"""HTTP/1.1 as clients really speak it, over a socket, with an application that says what it got."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config

from service import connection
from service.call import Headers
from service.connection import ANSWERED, Connection
from tests.service.spoken import CHUNKED, HEAD, LONG, answer, echo, hung_up_on, pieces, talk

OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"


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

    def test_may_be_followed_by_hundreds_of_them(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((b"GET /there HTTP/1.1\r\nhost: here\r\n" + OFFER + b"\r\n") * 1_500)
            assert {(await answer(reader))[0] for _ in range(1_500)} == {200}

        talk(Connection, client)

    def test_of_web_sockets_too(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            offer = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n" + offer + b"\r\n")
            assert (await answer(reader))[0] == 200

        talk(Connection, client)


def test_a_request_that_came_whole_says_so() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + LONG)
        assert (await answer(reader))[1]["whole"] is True

    talk(Connection, client)


REFUSAL = b"HTTP/1.1 503 \r\ncontent-length: 2\r\n\r\n{}"


class Gate:
    """Refuses what it is told to, and remembers what it was asked."""

    patience_seconds = 30.0

    def __init__(self) -> None:
        self.refusing, self.refusal = False, REFUSAL
        self.seen: list[tuple[str, int]] = []
        self.added: list[int] = []

    def look(self, path: str, length: int, _: Headers) -> bool | bytes:
        self.seen.append((path, length))
        return self.refusal if self.refusing else path == "/there"

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

    @pytest.mark.parametrize("more", [b"", b"x"])
    def test_a_refused_body_does_not_come_for_ever(self, gated: tuple[Gate, type[Connection]], more: bytes) -> None:
        """As long as the gate has patience."""
        gate, kind = gated
        gate.refusing, gate.patience_seconds = True, 0.3

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"content-length: 100000\r\n\r\n")
            assert (await answer(reader))[0] == 503
            assert await hung_up_on(reader, writer, more) == b""

        talk(type("Curt", (kind,), {"grace_seconds": 0.1}), client)

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
            HEAD + b"content-encoding: gzip\r\n" + LONG,
            HEAD + b"content-length: 5\r\ncontent-encoding: gzip\r\n\r\nabcde",
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

    def test_is_told_of_no_body_whose_request_has_its_reply(self, gated: tuple[Gate, type[Connection]]) -> None:
        """Nobody would take it off again; the reply may be waiting to be sent."""
        gate, kind = gated

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + LONG[:-1])
            await asyncio.sleep(0.05)
            writer.write(LONG[-1:])
            assert (await answer(reader))[0] == 200
            assert gate.seen
            assert not gate.added

        async def replied(scope: Scope, receive: Receive, send: Send) -> None:
            scope[ANSWERED] = True
            await echo(scope, receive, send)

        talk(kind, client, replied)

    def test_one_who_takes_no_refusals_gets_no_more_of_them(self, gated: tuple[Gate, type[Connection]]) -> None:
        gate, inner = gated
        gate.refusal, gate.refusing = b"HTTP/1.1 503 \r\ncontent-length: 10000\r\n\r\n" + b" " * 10_000, True
        made: list[Connection] = []

        class Kept(inner):  # type: ignore[misc, valid-type] # made by the fixture
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                made.append(self)

        async def client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((HEAD + LONG) * 2_000)
            while not (made and made[0].transport.is_closing()):
                await asyncio.sleep(0.01)
            (connection,) = made
            assert connection.transport.get_write_buffer_size() < 200_000

        talk(Kept, client)


def test_uvicorn_takes_these_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "gate", None)
    connection.install(Gate())
    config = Config(echo, log_config=None)
    config.load()
    assert config.http_protocol_class is Connection
