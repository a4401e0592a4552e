"""Bodies at the HTTP front: their sizes, times, types and codings, and the room that they take, without a network."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from typing import Any

import pytest
from starlette.types import Message

from service.admission import LARGE_BYTES
from service.body import STEP_BYTES
from tests.service.front import ACTUALS, FORECAST, INFER, MODELS, PREDICT, Client, Talk, Wire, chunk
from tests.service.world import World


class TestBody:
    def test_in_pieces(self, client: Client, city: World) -> None:
        """Chunked, so without a content-length, one byte at a time."""
        sent = json.dumps(city.document()).encode()
        pieces = [chunk(sent[at : at + 1]) for at in range(len(sent))]
        status, answer = Wire(*pieces, chunk(b"", more=False)).ask(client)
        assert (status, answer["status"]) == (200, "completed")

    def test_over_the_limit_is_read_no_further(self, city: World) -> None:
        client = Client.of(city, max_body_bytes=2**14)
        wire = Wire(*[chunk(b" " * 2**10) for _ in range(1_000)])
        status, answer = wire.ask(client)
        error = {
            "code": "request_too_large",
            "message": "the body is over 16384 bytes: send several requests",
            "param": None,
            "type": "invalid_request_error",
        }
        assert (status, answer) == (413, {"error": error})
        assert 1_000 - len(wire.messages) == 17

    def test_that_is_large_and_unfinished_takes_room_from_its_like_only(self, city: World) -> None:
        client = Client.of(city)
        room = client.worker.admission._room_bytes
        client.worker.admission._room_bytes = 2**18
        large = [chunk(b" " * 2**16) for _ in range(8)]
        status, answer = Wire(*large, chunk(b"{}", more=False)).ask(client)
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        assert client.worker.admission._room_bytes == 2**18
        sent = json.dumps(city.document()).encode()
        assert Wire(chunk(sent[:5]), chunk(sent[5:], more=False)).ask(client)[0] == 200
        client.worker.admission._room_bytes = room
        status, answer = Wire(*large, chunk(b"{}", more=False)).ask(client)
        assert (status, answer["error"]["message"]) == (400, "inputs is missing")
        assert client.worker.admission._room_bytes == room

    def test_of_just_the_limit_is_read(self, city: World) -> None:
        wire = Wire(chunk(b" " * (2**14 - 2)), chunk(b"{}", more=False))
        status, answer = wire.ask(Client.of(city, max_body_bytes=2**14), content_length=str(2**14))
        assert (status, answer["error"]["message"]) == (400, "inputs is missing")

    @pytest.mark.parametrize("length", ["16385", "9" * 5_000, "-1", "1e3", "x"])
    def test_with_a_length_over_the_limit_is_not_read_at_all(self, city: World, length: str) -> None:
        wire = Wire(chunk(b"{}", more=False))
        assert wire.ask(Client.of(city, max_body_bytes=2**14), content_length=length)[0] == 413
        assert wire.messages

    def test_in_one_piece_over_the_limit_without_a_length(self, city: World) -> None:
        wire = Wire(chunk(b" " * 20_000 + b"{}", more=False))
        assert wire.ask(Client.of(city, max_body_bytes=2**14))[0] == 413

    @pytest.mark.parametrize("begun", [[], [chunk(b"{")], [chunk(b""), chunk(b"{")]])
    def test_that_does_not_come_in_time(self, city: World, begun: list[Message]) -> None:
        """Also one of which nothing ever comes."""
        status, answer = Wire(*begun).ask(Client.of(city, deadline_seconds=0.05))
        assert status == 408
        error = answer["error"]
        assert error["code"] == "request_timeout"
        assert error["message"] == "the body did not come within 0.05 s: send it faster"

    @pytest.mark.parametrize("begun", [[], [chunk(b"{")]])
    def test_of_a_client_that_leaves_is_no_fault_of_ours(
        self, client: Client, caplog: pytest.LogCaptureFixture, begun: list[Message]
    ) -> None:
        wire = Wire(*begun, {"type": "http.disconnect"})
        with caplog.at_level(logging.INFO):
            assert wire.ask(client) == (0, None)
        assert not caplog.records
        labels = {"endpoint": FORECAST, "http_response_code": "499", "service_name": "bentocast"}
        labels |= {"service_version": "abc123", "runner_name": "bentocast"}
        assert client.registry.get_sample_value("bentoml_service_request_total", labels) == 1

    def test_of_a_get_is_not_waited_for(self, client: Client) -> None:
        assert Wire().ask(client, MODELS, "GET")[0] == 200


class TestMediaTypes:
    @pytest.mark.parametrize(
        "kind",
        [
            "application/vnd.bentoml+pickle",
            "application/x-pickle",
            "APPLICATION/PICKLE; a=b",
            "multipart/form-data; boundary=x",
        ],
    )
    @pytest.mark.parametrize("path", [FORECAST, INFER, PREDICT, ACTUALS, "/forecast"])
    def test_what_runs_code_when_it_is_read_is_never_read(self, client: Client, path: str, kind: str) -> None:
        wire = Wire(chunk(b"x", more=False))
        status, answer = wire.ask(client, path, content_type=kind)
        error = answer["error"]
        message = error if isinstance(error, str) else error["message"]
        assert status == 415
        assert message == "content-type: pickles and forms are never read here, wanted application/json"
        assert wire.messages

    @pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
    def test_actuals_come_from_no_web_page(self, client: Client, kind: str) -> None:
        """A page may send anything but JSON to another host without asking it first."""
        headers = {"content_type": kind} if kind else {}
        status, answer = Wire(chunk(b"{}", more=False)).ask(client, ACTUALS, **headers)
        assert (status, answer["error"]["message"]) == (415, "content-type: wanted application/json")

    @pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
    def test_actuals_come_as_json(self, client: Client, kind: str) -> None:
        assert Wire(chunk(b"{}", more=False)).ask(client, ACTUALS, content_type=kind)[0] == 400


class TestCompression:
    @pytest.mark.parametrize(
        ("coding", "pack"),
        [
            ("gzip", gzip.compress),
            ("GZip", gzip.compress),
            (" gzip ", gzip.compress),
            ("deflate", zlib.compress),
            ("identity", bytes),
            ("", bytes),
        ],
    )
    def test_is_undone(self, client: Client, city: World, coding: str, pack: Any) -> None:
        body = pack(json.dumps(city.document()).encode())
        status, answer = Wire(chunk(body, more=False)).ask(client, content_encoding=coding)
        assert (status, answer["status"]) == (200, "completed")

    @pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "x"])
    def test_of_another_kind(self, client: Client, coding: str) -> None:
        status, answer = Wire(chunk(b"{}", more=False)).ask(client, content_encoding=coding)
        assert (status, answer["error"]["message"]) == (415, "content-encoding: wanted gzip, deflate or none")

    @pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
    def test_that_hides_a_mountain_is_unpacked_no_further_than_the_limit(
        self, city: World, coding: str, pack: Any
    ) -> None:
        client = Client.of(city, max_body_bytes=2**14)
        bomb = pack(b" " * 2**23)
        assert len(bomb) < 2**14
        status, answer = Wire(chunk(bomb, more=False)).ask(client, content_encoding=coding)
        assert status == 413
        assert answer["error"]["message"] == "the body is over 16384 bytes when unpacked: send several requests"
        just = pack(b" " * (2**14 - 2) + b"{}")
        assert Wire(chunk(just, more=False)).ask(client, content_encoding=coding)[0] == 400

    @pytest.mark.parametrize(
        ("coding", "body", "text"),
        [
            ("gzip", b"{}", "body: it is not gzip: "),
            ("gzip", b"", "body: its gzip ends too early"),
            ("gzip", gzip.compress(b"{}", mtime=0)[:-5], "body: its gzip ends too early"),
            ("gzip", zlib.compress(b"{}"), "body: it is not gzip: "),
            ("deflate", gzip.compress(b"{}", mtime=0), "body: it is not deflate: "),
            ("deflate", zlib.compress(b"{}")[:-1], "body: its deflate ends too early"),
            ("gzip", gzip.compress(b"{}", mtime=0) + b"more", "body: something follows its gzip"),
        ],
    )
    def test_that_is_damaged(self, client: Client, coding: str, body: bytes, text: str) -> None:
        status, answer = Wire(chunk(body, more=False)).ask(client, content_encoding=coding)
        assert status == 400
        assert answer["error"]["message"].startswith(text)

    def test_takes_room_for_what_it_becomes_until_it_is_answered(
        self, city: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its own length is nothing to go by."""
        client = Client.of(city)
        room, client.worker.admission._room_bytes = client.worker.admission._room_bytes, 2 * STEP_BYTES
        small, large = (gzip.compress(b" " * steps * STEP_BYTES + b"{}") for steps in (1, 4))
        assert len(large) < LARGE_BYTES
        status, answer = Wire(chunk(large, more=False)).ask(client, content_encoding="gzip")
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        assert client.worker.admission._room_bytes == 2 * STEP_BYTES
        assert Wire(chunk(small, more=False)).ask(client, content_encoding="gzip")[0] == 400
        client.worker.admission._room_bytes = room
        forecast, left = client.worker.forecast, list[int]()

        async def noting(*given: Any) -> Any:
            left.append(client.worker.admission._room_bytes)
            return await forecast(*given)

        monkeypatch.setattr(client.worker, "forecast", noting)
        wire = Talk(client, chunk(large, more=False))
        assert wire.ask(client, content_encoding="gzip")[0] == 400
        assert (left, wire.room_bytes) == ([room - 4 * STEP_BYTES - 2], [room, room])
        assert client.worker.admission._room_bytes == room


class TestDeadline:
    def test_of_a_client_that_does_not_wait(self, client: Client, city: World) -> None:
        answer = client.post(FORECAST, json=city.document(), headers={"x-envoy-expected-rq-timeout-ms": "0"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert answer.json()["error"]["message"] == "the request waited too long: ask for less, or allow more time"

    @pytest.mark.parametrize("wanted", ["60000", "1" + "0" * 5_000, "soon", "-1", "1.5", "\u00b2", ""])
    def test_that_is_none_or_far_away(self, client: Client, city: World, wanted: str) -> None:
        headers = [(b"x-envoy-expected-rq-timeout-ms", wanted.encode("latin-1"))]
        assert client.post(FORECAST, json=city.document(), headers=headers).status_code == 200
