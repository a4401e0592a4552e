"""Who may ask the HTTP front, and who is let in, without a network."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from service import keys
from service.admission import LARGE_BYTES, SMALLEST_BYTES
from service.connection import Connection
from tests.service import spoken
from tests.service.front import ACTUALS, FORECAST, INFER, MODELS, PREDICT, Client, Talk, Wire, chunk, is_an_error
from tests.service.world import World


class TestAccess:
    """Who may ask for what."""

    @pytest.fixture
    def key(self, tmp_path: Path) -> tuple[str, Path]:
        key, line = keys.make("ann")
        (tmp_path / "keys").write_text(line)
        return key, tmp_path / "keys"

    API = (FORECAST, INFER, PREDICT, ACTUALS, "/forecast")
    PAGES = (MODELS, "/v2", "/v2/models/bentocast", "/v1/models/bentocast", "/schema.json")

    @pytest.mark.parametrize("path", [*API, *PAGES])
    def test_without_a_key(self, city: World, key: tuple[str, Path], path: str) -> None:
        client, method = Client.of(city, keys_file=key[1]), "POST" if path in self.API else "GET"
        for headers in ({}, {"authorization": "Bearer bc_x"}, {"x-api-key": "x"}, {"authorization": f"Basic {key[0]}"}):
            answer = client.request(method, path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="bentocast"')
            assert "this service wants an API key: send the header" in answer.text
            assert is_an_error(answer)
        for headers in ({"authorization": f"Bearer {key[0]}"}, {"x-api-key": key[0]}):
            assert client.request(method, path, headers=headers).status_code not in (401, 403)

    def test_without_a_key_the_body_is_not_read(self, city: World, key: tuple[str, Path]) -> None:
        wire = Wire(chunk(b"{}", more=False))
        assert wire.ask(Client.of(city, keys_file=key[1]))[0] == 401
        assert wire.messages

    def test_probes_need_no_key(self, city: World, key: tuple[str, Path]) -> None:
        client = Client.of(city, keys_file=key[1], metrics_access="off", docs_access="off")
        for path in ("/livez", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200

    @pytest.mark.parametrize(
        ("group", "paths"),
        [
            ("metrics_access", ["/metrics"]),
            ("docs_access", ["/", "/docs", "/openapi.json", "/page/docs.js", "/static/swagger-ui.css"]),
        ],
    )
    def test_metrics_and_pages_are_open_for_some_or_off(
        self, city: World, key: tuple[str, Path], group: str, paths: list[str]
    ) -> None:
        authorized = {"x-api-key": key[0]}
        for path in paths:
            assert Client.of(city, keys_file=key[1]).get(path).status_code == 200
            some = Client.of(city, keys_file=key[1], **{group: "key"})
            assert (some.get(path).status_code, some.get(path, headers=authorized).status_code) == (401, 200)
            off = Client.of(city, keys_file=key[1], **{group: "off"})
            hidden = off.get(path, headers=authorized)
            assert (hidden.status_code, hidden.json()) == (404, off.get("/nowhere").json())


class TestAdmission:
    """What is counted as work, and how long."""

    def test_an_answer_is_no_work_any_more_while_it_is_taken(self, client: Client, city: World) -> None:
        """A client may take its time, or not take it at all."""
        talk = Talk(client, chunk(json.dumps(city.document()).encode(), more=False))
        assert talk.ask(client)[0] == 200
        assert talk.waiting_bytes == [0, 0]

    def test_only_answers_of_the_model_tell_what_a_byte_costs(self, client: Client, city: World) -> None:
        admission, sent = client.worker.admission, json.dumps(city.document(*city.histories(5))).encode()
        admission._learnt_at = float("inf")  # nothing is learnt meanwhile
        assert Wire(chunk(b" " * LARGE_BYTES, more=False)).ask(client)[0] == 400
        assert admission._done_bytes == SMALLEST_BYTES
        assert Wire(chunk(sent, more=False)).ask(client)[0] == 200
        assert admission._done_bytes == SMALLEST_BYTES + len(sent)

    @pytest.fixture
    def keyed(self, city: World, tmp_path: Path) -> tuple[Client, bytes]:
        key, line = keys.make("ann")
        (tmp_path / "keys").write_text(line)
        return Client.of(city, keys_file=tmp_path / "keys"), key.encode()

    def test_what_a_stranger_sends_is_nobodys_work(self, keyed: tuple[Client, bytes]) -> None:
        """It is told 401 even where there is too much to do, and takes nobody's place."""
        client, key = keyed
        client.get("/livez")  # the first request of all begins the application
        assert client.app.look(FORECAST, 1_000, [(b"x-api-key", b"guessed")]) is False
        assert client.app.look(FORECAST, 1_000, [(b"x-api-key", key)]) is True
        client.worker.admission.add(LARGE_BYTES * 1_000)
        client.worker.admission._loop.waiting_bytes += 10**9
        assert client.app.look(FORECAST, 1_000, []) is False
        refusal = client.app.look(FORECAST, 1_000, [(b"x-api-key", key)])
        assert isinstance(refusal, bytes)
        assert refusal.startswith(b"HTTP/1.1 503 ")

    @pytest.mark.parametrize("known", [False, True])
    def test_a_key_is_looked_up_once(
        self, keyed: tuple[Client, bytes], city: World, monkeypatch: pytest.MonkeyPatch, *, known: bool
    ) -> None:
        """Over a socket: by the head, where it tells the length, else by the application."""
        client, key = keyed
        assert client.get("/livez").status_code == 200
        assert client.worker.keys is not None
        checked, check = list[str | None](), client.worker.keys.check

        def counted(given: str | None) -> str:
            checked.append(given)
            return check(given)

        monkeypatch.setattr(client.worker.keys, "check", counted)
        sent = json.dumps(city.document()).encode()
        body = b"content-length: %d\r\n\r\n%b" % (len(sent), sent)
        if not known:
            body = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(sent), sent)
        head = f"POST {FORECAST} HTTP/1.1\r\nhost: here\r\n".encode()

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head + b"x-api-key: " + key + b"\r\n" + body)
            assert (await spoken.answer(reader))[0] == 200
            assert checked == [key.decode()]
            writer.write(head + body)
            assert (await spoken.answer(reader))[0] == 401

        spoken.talk(type("Gated", (Connection,), {"gate": client.app}), ask, client.app)
        assert client.worker.admission._loop.waiting_bytes == 0

    def test_connections_have_the_applications_patience(self, city: World) -> None:
        client = Client.of(city, deadline_seconds=7.0)
        client.get("/livez")
        assert client.app.patience_seconds == 7.0
