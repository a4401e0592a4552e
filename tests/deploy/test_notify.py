"""A webhook hears how a rollout ended; one that does not answer changes nothing."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from deploy.journal import Rollout
from deploy.rollouts import notify

ROLLOUT = Rollout(3, 10.0, 70.0, "canary", "b:one", "b:two", {}, "rolled back", "fail: errors: 5 of 100", "")


@pytest.fixture
def heard() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """An address, and what is posted to it."""
    bodies: list[dict[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204 if self.path == "/hook" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


def test_it_is_told(heard: tuple[str, list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, bodies = heard
    said: list[str] = []
    monkeypatch.setenv(notify.URL, f"{address}/hook")
    notify.tell(ROLLOUT, said.append)
    (body,) = bodies
    assert body["text"] == "canary of b:two: rolled back: fail: errors: 5 of 100"
    assert (body["rollout"], body["state"], body["ended"]) == (3, "rolled back", 70.0)
    assert said == []


def test_one_that_refuses(heard: tuple[str, list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv(notify.URL, f"{heard[0]}/secret-token")
    notify.tell(ROLLOUT, said.append)
    assert said == ["the webhook in DEPLOY_WEBHOOK was not told: HTTPError"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/hook", "chat.example"])
def test_one_that_is_not_there(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv(notify.URL, address)
    notify.tell(ROLLOUT, said.append)
    assert len(said) == 1
    assert address not in said[0]


def test_nobody_wants_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.delenv(notify.URL, raising=False)
    notify.tell(ROLLOUT, said.append)
    assert said == []
