"""Messages of gRPC that do not come: no key, no room, no time."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from data.errors import BentocastError
from service import arrival, keys
from service.admission import UNFINISHED, Admission
from service.arrival import Arrivals
from service.proto import forecast_pb2
from tests.service import frames
from tests.service.frames import DATA, frame, head
from tests.service.test_grpc_server import Line, served, until
from tests.service.world import World

MODEL = "/forecast.v1.ForecastService/GetModel"
PROBE = "/inference.GRPCInferenceService/ServerReady"
MEBIBYTE = 2**20
#: gRPC's numbers.
INVALID, EXCEEDED, UNAVAILABLE, UNAUTHENTICATED = 3, 4, 14, 16
KEY, LINE = keys.make("ann")


class Call:
    """A call by hand, of which the head and the beginning of a message are sent."""

    def __init__(self, line: Line, path: str, *fields: tuple[bytes, bytes], size: int = 1_000, sent: int = 10) -> None:
        self._socket = socket.create_connection(("127.0.0.1", line.worker.settings.grpc_at), timeout=30)
        self._socket.sendall(frames.PREFACE + frame(frames.SETTINGS, 0, 0, b"") + head(path, *fields))
        self.send(bytes([0]) + size.to_bytes(4, "big") + bytes(sent))

    def send(self, data: bytes, *, last: bool = False) -> None:
        self._socket.sendall(frame(DATA, frames.END_STREAM if last else 0, 1, data))

    def answer(self) -> tuple[int, str]:
        """Status and text, when they come."""
        got = b""
        while (found := re.search(rb"grpc-status[\x01\x02](\d+)", got)) is None:
            chunk = self._socket.recv(65_536)
            assert chunk, "it hung up without an answer"
            got += chunk
        self._socket.close()
        return int(found[1]), got.decode("latin-1")


@pytest.fixture(scope="module")
def line(city: World) -> Iterator[Line]:
    with served(city, deadline_seconds=1.5, max_body_bytes=MEBIBYTE) as made:
        yield made


def room(line: Line) -> int:
    return line.worker.admission._room_bytes


class TestKey:
    def test_is_looked_at_before_the_message(self, city: World, tmp_path: Path) -> None:
        """Else anybody fills the memory with messages that never end."""
        (tmp_path / "keys").write_text(LINE)
        with served(city, keys_file=tmp_path / "keys") as line:
            status, text = Call(line, MODEL, size=32 * MEBIBYTE).answer()
            assert (status, "this service wants an API key" in text) == (UNAUTHENTICATED, True)
            assert line.counted(MODEL[1:], 401) == 1


class TestLate:
    def test_message_takes_room_and_gives_it_back(self, line: Line) -> None:
        call = Call(line, MODEL, size=forecast_pb2.GetModelRequest().ByteSize() + 2, sent=1)
        until(lambda: room(line) == (UNFINISHED - 1) * MEBIBYTE)
        call.send(b"\0", last=True)
        assert call.answer()[0] == INVALID
        until(lambda: room(line) == UNFINISHED * MEBIBYTE)

    def test_message_finds_no_room(self, line: Line) -> None:
        begun = [Call(line, MODEL) for _ in range(UNFINISHED)]
        until(lambda: room(line) == 0)
        status, text = Call(line, MODEL).answer()
        assert status == UNAVAILABLE
        assert "0 bytes are left for large bodies that are still on their way, wanted 1048576: ask again later" in text
        assert "retry-after" in text
        assert line.counted(MODEL[1:], 503) == 1
        told = {call.answer()[0] for call in begun}
        assert told == {EXCEEDED}
        until(lambda: room(line) == UNFINISHED * MEBIBYTE)

    def test_message_has_so_much_time(self, line: Line) -> None:
        status, text = Call(line, MODEL).answer()
        assert (status, "the message did not come within 1.5 s: send it faster" in text) == (EXCEEDED, True)
        assert line.counted(MODEL[1:], 408)

    @pytest.mark.parametrize("path", [PROBE, "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"])
    def test_message_of_a_probe_gets_no_room(self, line: Line, path: str) -> None:
        status, text = Call(line, path).answer()
        assert (status, "the message did not come within 0.5 s: send it faster" in text) == (EXCEEDED, True)
        assert room(line) == UNFINISHED * MEBIBYTE

    def test_reflection_is_ended(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("service.reflection.IDLE_SECONDS", 0.1)
        status, text = Call(line, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo").answer()
        assert (status, "the message did not come within 0.1 s: send it faster" in text) == (EXCEEDED, True)


class TestNone:
    @pytest.mark.parametrize("path", [MODEL, PROBE, "/grpc.health.v1.Health/Check"])
    def test_message_at_all(self, line: Line, path: str) -> None:
        call = Call.__new__(Call)
        call._socket = socket.create_connection(("127.0.0.1", line.worker.settings.grpc_at), timeout=30)
        call._socket.sendall(frames.PREFACE + frame(frames.SETTINGS, 0, 0, b"") + head(path))
        call.send(b"", last=True)
        status, text = call.answer()
        assert (status, "the call ended without a message, wanted one of the method's own type" in text) == (
            INVALID,
            True,
        )


class Slow:
    """A call whose message comes when it is told to."""

    def __init__(self) -> None:
        self.coming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def read(self) -> Any:
        return await self.coming


class TestWait:
    """Without a socket."""

    def arrivals(self) -> Arrivals:
        return Arrivals(Admission(0.1, 10), 10, 60)

    async def never(self, _: BentocastError) -> Any:
        raise AssertionError("it is refused")

    def test_of_a_loop_that_was_held_up_itself_refuses_nobody(self) -> None:
        async def hold_up() -> bytes:
            call: Any = Slow()
            asked = asyncio.ensure_future(self.arrivals().message(call, self.never, room=False, seconds=0.01))
            await asyncio.sleep(0)
            time.sleep(0.01 + 2 * arrival.HELD_UP_SECONDS)
            await asyncio.sleep(0)
            call.coming.set_result(b"x")
            return await asked

        assert asyncio.run(hold_up()) == b"x"

    def test_that_ends_as_it_is_refused_is_not(self) -> None:
        """The message came while the refusal was on its way: the handler has the call."""

        async def race() -> bytes:
            call: Any = Slow()
            made = self.arrivals()
            asked = asyncio.ensure_future(made.message(call, self.never, room=False, seconds=0))
            call.coming.set_result(b"x")
            body = await asked
            await asyncio.gather(*made._refusals)
            return body

        assert asyncio.run(race()) == b"x"

    def test_of_a_client_that_is_gone_ends_in_silence(self) -> None:
        async def gone(_: BentocastError) -> Any:
            raise grpc.aio.InternalError("gone")

        async def refuse() -> None:
            call: Any = Slow()
            made = self.arrivals()
            asked = asyncio.ensure_future(made.message(call, gone, room=False, seconds=0))
            while not made._refusals:
                await asyncio.sleep(0)
            await asyncio.gather(*made._refusals)
            call.coming.set_result(grpc.aio.EOF)
            with pytest.raises(arrival.NoMessageError):
                await asked

        asyncio.run(refuse())
