"""Clients that are slow, endless or silent, over a socket: each is waited for, none for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from service.connection import Connection
from tests.service.spoken import HEAD, LONG, answer, hung_up_on, said, talk

#: Larger than what the systems on both sides keep for a client that does not read.
LARGE_BYTES = 2**25
END_OF_CHUNKS = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
UNENDING = b"content-length: 1000000\r\n\r\nabc"


class Small(Connection):
    """Keeps no more than a test sends."""

    max_head_bytes = 1_000


class Hasty(Connection):
    """Waits no longer than a test."""

    gate = None
    head_seconds = 0.5
    patience_seconds = 0.4
    grace_seconds = 0.1


async def say(send: Send, status: int, body: bytes = b"{}") -> None:
    """Answer."""
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def early(_: Scope, __: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await say(send, 401)


async def large(_: Scope, receive: Receive, send: Send) -> None:
    """Answers with more than is taken by itself."""
    await receive()
    await say(send, 200, b" " * LARGE_BYTES)


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

    def test_of_many_requests_together_is_no_large_one(self) -> None:
        """Each piece ends within a head."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sent = (HEAD + LONG) * 100
            for place in range(0, len(sent), 701):
                writer.write(sent[place : place + 701])
                await asyncio.sleep(0.001)
            assert [(await answer(reader))[0] for _ in range(100)] == [200] * 100

        talk(Small, client)

    @pytest.mark.parametrize("begun", [b"GET / HT", HEAD])
    def test_that_does_not_come(self, begun: bytes) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(begun)
            status, told = await answer(reader)
            assert (status, told["error"]["message"]) == (408, "the request's head did not come within 0.5 s")
            assert await reader.read() == b""

        talk(Hasty, client)

    def test_that_comes_in_time_has_no_hurry_with_its_body(self) -> None:
        """Which has a time of its own."""

        class Quick(Connection):
            head_seconds = 0.2

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + LONG[:-1])
            await asyncio.sleep(2 * Quick.head_seconds)
            writer.write(LONG[-1:])
            assert await answer(reader) == (200, {"path": "/there", "body": "abcde", "whole": False})

        talk(Quick, client)

    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\n\r\n",
            b"GET ://: HTTP/1.1\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\n\r\n",
        ],
    )
    @pytest.mark.parametrize("before", [b"", HEAD + LONG])
    def test_of_another_protocol(self, sent: bytes, before: bytes) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if before:
                writer.write(before)
                assert (await answer(reader))[0] == 200
            writer.write(sent)
            status, told = await answer(reader)
            assert (status, list(told["error"])) == (400, ["code", "message", "param", "type"])

        talk(Connection, client)


class TestNothing:
    """Connections on which nothing comes."""

    class Idle(Hasty):
        head_seconds, idle_seconds = 0.2, 0.5  # type: ignore[assignment] # uvicorn wants whole seconds

    @pytest.mark.parametrize("line", [b"", b"\r\n"])
    def test_are_closed_without_a_word_and_later_than_balancers_do(self, line: bytes) -> None:
        """Ends of lines are nothing too."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            began = asyncio.get_running_loop().time()
            assert await hung_up_on(reader, writer, line) == b""
            assert asyncio.get_running_loop().time() - began >= 0.5

        talk(self.Idle, client)

    def test_also_after_an_answer(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + LONG)
            assert (await answer(reader))[0] == 200
            assert await hung_up_on(reader, writer, b"\r\n") == b""

        talk(self.Idle, client)


class TestBehindABody:
    """Fields may follow a body in chunks."""

    @pytest.mark.parametrize("more", [b"a: b\r\n" * 100, b"a" * 500, b"a: " + b"b" * 500])
    def test_fields_without_an_end(self, more: bytes) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + END_OF_CHUNKS)
            told = await hung_up_on(reader, writer, more)
            assert told.startswith(b"HTTP/1.1 431 ")
            assert b"the request's lengths of chunks, or fields behind its body, are over 1000 bytes" in told

        talk(Small, client)

    def test_a_length_of_a_chunk_without_an_end(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n3;")
            assert (await hung_up_on(reader, writer, b"x" * 100)).startswith(b"HTTP/1.1 431 ")

        talk(Small, client)

    def test_fields_without_an_end_after_the_answer(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + END_OF_CHUNKS)
            assert (await answer(reader))[0] == 401
            assert await hung_up_on(reader, writer, b"a: b\r\n" * 100) == b""

        talk(Small, client, early)

    def test_fields_are_passed_over(self) -> None:
        seen: list[Any] = []

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(2):
                writer.write(HEAD + END_OF_CHUNKS)
                await asyncio.sleep(0.01)
                writer.write(b"late: field\r\n\r\n")
                assert (await answer(reader))[0] == 200

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body"):
                pass
            seen.append([name for name, _ in scope["headers"]])
            await say(send, 200)

        talk(Small, client, app)
        assert seen == [[b"host", b"transfer-encoding"]] * 2


class TestRestOfABody:
    """Whose answer is there already."""

    @pytest.mark.parametrize("more", [b"", b"x"])
    def test_does_not_come_for_ever(self, more: bytes) -> None:
        """Not in no bytes, and not in many small ones."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + UNENDING)
            assert (await answer(reader))[0] == 401
            assert await hung_up_on(reader, writer, more) == b""

        talk(Hasty, client, early)

    def test_is_not_taken_beyond_a_limit(self) -> None:
        class Light(Connection):
            max_passed_bytes = 100_000

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n")
            assert (await answer(reader))[0] == 401
            assert await hung_up_on(reader, writer, b"400\r\n" + b"x" * 1_024 + b"\r\n") == b""

        talk(Light, client, early)

    def test_may_come_before_the_next_request(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(3):
                writer.write(HEAD + b"content-length: 500000\r\n\r\n")
                assert (await answer(reader))[0] == 401
                writer.write(b"x" * 500_000)

        talk(Hasty, client, early)

    def test_is_passed_over_where_no_other_request_follows(self) -> None:
        """Or who is still sending would be reset and lose the answer."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            size = 4 * 2**20
            writer.write(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % size)
            await asyncio.sleep(0.1)
            writer.write(b"x" * size)
            await writer.drain()
            await asyncio.sleep(0.1)
            assert (await answer(reader))[0] == 401
            assert await reader.read() == b""

        talk(Connection, client, early)

    def test_that_never_comes_does_not_keep_the_last_answer_open(self) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"connection: close\r\n" + UNENDING)
            assert (await answer(reader))[0] == 401
            assert await reader.read() == b""

        talk(Hasty, client, early)


class TestAnswers:
    """That are not taken."""

    def test_are_thrown_away(self) -> None:
        """Also the one to a second request, that waits for the first to be taken."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((HEAD + LONG) * 2)
            await asyncio.sleep(1.5)
            assert len(await said(reader)) < LARGE_BYTES

        talk(Hasty, client, large)

    def test_that_are_taken_in_time_leave_the_connection_as_it_was(self) -> None:
        class Calm(Hasty):
            patience_seconds = 1.5

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for pause in (Calm.patience_seconds + 2 * Calm.grace_seconds, 0.0):
                writer.write(HEAD + LONG)
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(LARGE_BYTES)
                await asyncio.sleep(pause)

        talk(Calm, client, large)


class TestShutdown:
    def test_waits_for_no_client_and_no_application_for_ever(self) -> None:
        made: list[Connection] = []

        class Kept(Hasty):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                made.append(self)

        async def stuck(_: Scope, receive: Receive, __: Send) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + LONG)
            await asyncio.sleep(0.05)
            (connection,) = made
            connection.shutdown()
            assert connection.cycle.keep_alive is False
            assert await reader.read() == b""

        talk(Kept, client, stuck)
