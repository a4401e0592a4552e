"""Copies of gRPC requests are recorded under the name of the original, so that the answers are compared pair by pair."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import grpc
import pytest

from deploy.router.routing import WHOLE, Mirror, Routing
from tests.deploy.fleet import DEADLINE_SECONDS, Deployment, wait_for
from tests.deploy.upstreams import METHOD, routed, upstream
from tests.service.doors import GrpcForecast, Wanted
from tests.service.world import World

NEW = "bentocast:same"


def test_a_copy_of_a_grpc_request_has_the_name_of_the_original(tmp_path: Path) -> None:
    of_old: list[str] = []
    of_new: list[str] = []
    with upstream("old", of_old) as old, upstream("new", of_new) as new:
        routing = Routing({"old": (old,), "new": (new,)}, {"old": WHOLE}, Mirror("new", 1.0))
        with routed(tmp_path, routing) as to, grpc.insecure_channel(to.address) as channel:
            for _ in range(20):
                assert channel.unary_unary(METHOD)(b"", timeout=10) == b"old"
            channel.unary_unary(METHOD)(b"", timeout=10, metadata=[("x-request-id", "given-by-the-client")])
            wait_for(lambda: len(of_new) >= 21, "not all are copied")
    assert of_new == of_old
    assert len(set(of_old)) == 21
    assert "given-by-the-client" not in of_old, "two clients may give the same"


@pytest.mark.services
def test_answers_by_grpc_are_paired(deployment: Deployment, city: World) -> None:
    door = GrpcForecast()
    request = door.request(Wanted([city.history()], levels=(0.1, 0.9))).SerializeToString()
    asked, late = 0, time.monotonic() + DEADLINE_SECONDS
    with (
        grpc.insecure_channel(f"127.0.0.1:{deployment.port}") as channel,
        deployment.start("shadow", NEW) as driven,
    ):
        ask = channel.unary_unary(f"/{door.method}")
        while driven.poll() is None and time.monotonic() < late:
            ask(request, timeout=30)
            asked += 1
            time.sleep(0.01)
        _, told = driven.communicate(timeout=10)
    assert driven.returncode == 0, told
    with sqlite3.connect(deployment.folder / "record.db") as record:
        rows = record.execute("SELECT bento, request_id FROM forecasts").fetchall()
    of_old, of_new = ({name for bento, name in rows if bento == tag} for tag in (deployment.store.tag, NEW))
    assert len(of_old) > 100
    assert "" not in of_old | of_new
    assert of_new <= of_old
    assert len(of_new) >= 100
