"""Verdicts as programs ask for them: a real server, over HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from data.rollout import Judgement
from data.verdict import Check, Outcome, Verdict
from deploy.journal import Journal
from deploy.verdicts import journaled, server
from deploy.verdicts.prometheus import Prometheus
from tests.deploy.counted import EDGES, phase
from tests.ports import free_ports

NOW = 2_000_000_000.0
TIMED = {
    "stable": "bentocast:a",
    "candidate": "bentocast:b",
    "phases": [{"weight": 0.5, "began": -600, "ended": 0}],
}


@contextlib.contextmanager
def serving(judge: server.Judge) -> Iterator[httpx.Client]:
    """A client of a server."""
    port = free_ports()
    running = uvicorn.Server(server.settings(judge, "127.0.0.1", port))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive(), "it did not start"
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A deployment with a journal."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPLOY_HOME", str(folder))
        patch.delenv("DEPLOY_JOURNAL_URL", raising=False)
        yield folder


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[httpx.Client]:
    with serving(server.Judge(Judgement(), None, journaled.last, now=lambda: NOW)) as made:
        yield made


def counted(refused: int = 0, **changes: Any) -> dict[str, Any]:
    """Counts of two versions that are alike, or not; the candidate refuses so many requests of each phase."""
    phases = []
    for one in (phase(6_000, 0.25, (0.001, 0.001), **changes), phase(6_000, 0.5, (0.001, 0.001), **changes)):
        sides = {
            side: {
                "requests": getattr(one.requests, name),
                "errors": getattr(one.errors, name),
                "refused": refused if side == "candidate" else 0,
                "over": {f"{edge:.9g}": getattr(count, name) for edge, count in one.over.items()},
            }
            for side, name in (("candidate", "canary"), ("stable", "stable"))
        }
        phases.append({"weight": one.weight, **sides})
    return {"phases": phases, "edges": [float(f"{edge:.9g}") for edge in EDGES]}


@pytest.mark.parametrize(
    ("body", "outcome", "value"),
    [
        (counted() | {"answers": {"worse": 0, "other": 300}}, "pass", 1),
        (counted(slower=2.0), "fail", -1),
        (counted(refused=100), "fail", -1),
        (counted(part=0.5), "error", -1),
        (counted() | {"answers": {"worse": 0, "other": 5}}, "inconclusive", 0),
    ],
)
def test_counts_that_are_brought(client: httpx.Client, body: dict[str, Any], outcome: str, value: int) -> None:
    answer = client.post("/verdict", json=body)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["outcome"], told["value"]) == (outcome, value)
    assert [check["name"] for check in told["checks"]][:4] == ["split", "errors", "refused", "slowness"]
    assert told["text"].startswith(f"{outcome.upper()}: split: ")


@pytest.mark.parametrize(
    ("expect", "status"), [("pass", 409), ("fail", 200), ("fail,error", 200), ("inconclusive", 409)]
)
def test_a_status_for_those_who_go_by_it(client: httpx.Client, expect: str, status: int) -> None:
    answer = client.post("/verdict", params={"expect": expect}, json=counted(slower=2.0))
    assert answer.status_code == status
    assert answer.json()["outcome"] == "fail"


def test_limits_that_are_brought(client: httpx.Client) -> None:
    """Keys that are left out stay as deploy.judgement has them."""
    body = counted(slower=2.0) | {"judgement": {"slowness": {"tolerated": 2.5, "excluded": 4.0}}}
    answer = client.post("/verdict", json=body).json()
    assert answer["outcome"] == "pass"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "the body: the file: got "),
        (json.dumps(TIMED | {"stable": "x"}).encode(), 400, "stable: got 'x', wanted a Bento's tag, or `by`"),
        (json.dumps(TIMED).encode(), 502, "nobody said where Prometheus is: set DEPLOY_PROMETHEUS"),
        (b" " * 70_000, 413, "the body: got more than 65,536 bytes"),
        (
            json.dumps({"phases": [{"weight": 0.5, "stable": {"requests": 1, "errors": 2}, "candidate": {"requests": 1}}]})
            .encode(),
            400,
            "phase 1: got 2 errors of the stable version",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(client: httpx.Client, body: bytes, status: int, text: str) -> None:
    answer = client.post("/verdict", content=body)
    assert answer.status_code == status
    told = answer.json()
    assert (told["outcome"], told["value"]) == ("error", -1)
    assert text in told["text"]


def test_a_body_that_does_not_come(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.2)
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as slow:
        slow.sendall(b"POST /verdict HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        assert slow.recv(64).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("query", "text"), [("expect=good", "expect: got 'good'"), ("rollout=-1", "rollout: got '-1'")]
)
def test_questions_that_make_no_sense(client: httpx.Client, query: str, text: str) -> None:
    answer = client.get(f"/verdict?{query}") if "rollout" in query else client.post(f"/verdict?{query}", json=counted())
    assert answer.status_code == 400
    assert answer.json()["text"].startswith(text)


def test_a_prometheus_that_is_not_there() -> None:
    judge = server.Judge(Judgement(), Prometheus("http://127.0.0.1:9"), journaled.last, now=lambda: NOW)
    with serving(judge) as client:
        answer = client.post("/verdict", json=TIMED)
    assert answer.status_code == 502
    assert answer.json()["outcome"] == "error"
    assert "Prometheus at http://127.0.0.1:9 cannot be read" in answer.json()["text"]


def test_health(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200


def test_no_rollouts(client: httpx.Client, home: Path) -> None:
    answer = client.get("/verdict")
    assert answer.status_code == 404
    assert answer.json()["outcome"] == "error"
    assert f"no rollouts here: {home} has no journal" in answer.json()["text"]
    assert not (home / "journal.db").exists()


def test_the_rollout_under_way(client: httpx.Client, home: Path) -> None:
    journal = Journal(f"sqlite:///{home}/journal.db")
    number = journal.begin("canary", "b:one", "b:two", {}, {}, 1.0)
    assert client.get("/verdict").json()["checks"][0]["text"] == "nothing was counted yet"
    verdict = Verdict.of([Check(name="errors", outcome=Outcome.PASS, text="errors: none", numbers={"canary": 5.0})])
    journal.look(number, {}, {"verdict": verdict.model_dump(mode="json")}, 2.0)
    told = client.get("/verdict").json()
    assert (told["outcome"], told["value"], told["text"]) == ("pass", 1, "PASS: errors: none")
    assert told["rollout"] == {
        "id": number, "strategy": "canary", "stable": "b:one", "candidate": "b:two", "state": "running",
    }  # fmt: skip
    journal.end(number, "promoted", "", 3.0)
    assert client.get("/verdict").status_code == 404
    assert client.get("/verdict", params={"rollout": number}).json()["outcome"] == "pass"
    assert "there is no rollout 99" in client.get("/verdict?rollout=99").json()["text"]
    journal.close()
