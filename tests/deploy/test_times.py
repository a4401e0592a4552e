"""What requests took, as a real Envoy counts it: by version, finer than a millisecond, and of whole answers alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from deploy.router import envoy
from deploy.router.counters import Counters
from deploy.router.router import Router, Settings
from deploy.router.routing import WHOLE, Choice, Endpoint, Mirror, Routing
from tests.deploy.upstreams import METHOD, Routed, routed, running, upstream
from tests.ports import free_ports

MANY = 30
INF = float("inf")
#: Envoy's histograms are a flush later than its counters.
LATEST_SECONDS = 5.0


def between(one: Endpoint, other: Endpoint, **more: Any) -> Routing:
    """All users go to one version, but for those who ask for the other."""
    asks = (Choice("x-version", "other", "other"),)
    return Routing({"one": (one,), "other": (other,)}, {"one": WHOLE}, choices=asks, **more)


def ask(to: Routed, many: int, **headers: str) -> list[int]:
    """Statuses of so many answers."""
    with requests.Session() as session:
        return [
            session.get(to.url, headers={f"x-{name}": value for name, value in headers.items()}).status_code
            for _ in range(many)
        ]


def taken(to: Routed, version: str, many: int, *, mirrored: bool = False) -> Counters:
    """What was counted of a version, once so many times were."""
    late = time.monotonic() + LATEST_SECONDS
    while True:
        (found,) = (one[version] for one in to.router.counted([version], mirrored=mirrored).values())
        if found.within.get(INF, 0) >= many or time.monotonic() > late:
            return found
        time.sleep(0.05)


def test_three_milliseconds_and_a_third_more_are_told_apart(tmp_path: Path) -> None:
    """In whole milliseconds they are the same."""
    with (
        upstream("one", seconds=0.0030) as one,
        upstream("other", seconds=0.0039) as other,
        routed(tmp_path, between(one, other)) as to,
    ):
        ask(to, MANY)
        ask(to, MANY, version="other")
        quick, slow = (taken(to, version, MANY) for version in ("one", "other"))
    edges = [edge for edge in quick.within if 0.0031 < edge < 0.0039]
    assert len(edges) >= 3
    assert quick.within[max(edges)] > 0
    assert {slow.within[edge] for edge in edges} == {0}


def test_both_protocols_are_counted_and_copies_apart(tmp_path: Path) -> None:
    with (
        upstream("one") as one,
        upstream("other") as other,
        routed(tmp_path, between(one, other, mirror=Mirror("other", 1.0))) as to,
        grpc.insecure_channel(to.address) as channel,
    ):
        ask(to, MANY)
        for _ in range(MANY):
            channel.unary_unary(METHOD)(b"", timeout=10)
        own, copies = taken(to, "one", 2 * MANY), taken(to, "other", 2 * MANY, mirrored=True)
        others = taken(to, "other", 0)
    assert (own.requests, own.within[INF]) == (2 * MANY, 2 * MANY)
    assert (copies.requests, copies.within[INF]) == (2 * MANY, 2 * MANY)
    assert own.within.keys() == copies.within.keys()
    assert others == Counters()


def test_what_is_refused_is_counted_of_users_and_of_copies(tmp_path: Path) -> None:
    with (
        upstream("one") as one,
        upstream("other", status=404) as other,
        routed(tmp_path, between(one, other, mirror=Mirror("other", 1.0))) as to,
        grpc.insecure_channel(to.address) as channel,
    ):
        assert set(ask(to, MANY)) == {200}
        assert set(ask(to, MANY, version="other")) == {404}
        for _ in range(3):
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                channel.unary_unary("/upstream/Nothing")(b"", metadata=[("x-version", "other")], timeout=10)
        chosen, copies = taken(to, "other", MANY + 3), taken(to, "other", MANY, mirrored=True)
        (own,) = to.router.counted(["one"]).values()
    assert (chosen.requests, chosen.errors, chosen.refused) == (MANY + 3, 0, MANY + 3)
    assert (copies.requests, copies.errors, copies.refused) == (MANY, 0, MANY)
    assert own["one"].refused == 0


def test_what_got_no_answer_has_no_time(tmp_path: Path) -> None:
    with (
        upstream("one") as one,
        upstream("other", breaks=True) as other,
        routed(tmp_path, between(one, other)) as to,
    ):
        assert set(ask(to, 3, version="other")) == {503}
        ask(to, 1)
        assert taken(to, "one", 1).within[INF] == 1
        found = taken(to, "other", 0)
    assert (found.requests, found.errors, found.within) == (3, 3, {})


def test_a_request_that_is_tried_again_has_one_time(tmp_path: Path) -> None:
    with (
        upstream("one") as one,
        upstream("one", breaks=True) as broken,
        routed(tmp_path, Routing({"one": (one, broken)}, {"one": WHOLE})) as to,
    ):
        assert set(ask(to, MANY)) == {200}
        (admin,) = to.router.admins.values()
        assert admin.stat("cluster.one-http.upstream_rq_retry") > 0
        assert taken(to, "one", MANY).within[INF] == MANY


def test_times_on_either_side_of_an_edge_are_told_apart(tmp_path: Path) -> None:
    """Of all edges: Envoy is given the times by a header."""
    with upstream("one") as one:
        admin = free_ports()
        router = Router(tmp_path, Settings(port=free_ports(), admin_ports=(admin,)))
        router.write(Routing({"one": (one,)}, {"one": WHOLE}), 1)
        start = tmp_path / f"envoy-{admin}.yaml"
        start.write_text(start.read_text().replace(envoy.TOOK, "%REQ(x-took)%"))
        with running(router) as to:
            edges = envoy.edges_us()
            for edge in edges:
                ask(to, 1, took=f"{edge - 0.5:.0f}")
                ask(to, 1, took=f"{edge + 0.5:.0f}")
            found = taken(to, "one", 2 * len(edges))
    assert list(found.within) == [pytest.approx(edge / 1e6) for edge in edges] + [INF]
    assert list(found.within.values()) == [2 * place + 1 for place in range(len(edges))] + [2 * len(edges)]
