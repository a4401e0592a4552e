"""What goes into Envoy's files, checked by Envoy itself, and what comes out of its statistics."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.deployment import Sticky
from data.rollout import STEP
from deploy.faults import RouterError
from deploy.rollouts.meter import Meter
from deploy.router import counters, envoy
from deploy.router.counters import Counters
from deploy.router.router import Router, Settings
from deploy.router.routes import configuration
from deploy.router.routing import WHOLE, Choice, Endpoint, Mirror, Routing
from tests.deploy.upstreams import routed, upstream
from tests.ports import free_ports

ONE, OTHER = Endpoint(21000, 21001), Endpoint(21002, 21003)
BOTH = {"a": (ONE,), "b": (OTHER,)}


@pytest.mark.parametrize(
    "routing",
    [
        Routing({"a": (ONE,)}, {"a": WHOLE}),
        Routing(BOTH, {"a": WHOLE - 1, "b": 1}),
        Routing(BOTH | {"a_baseline": (Endpoint(21004, 21005),)}, {"a": 8_000, "a_baseline": 1_000, "b": 1_000}),
        Routing(BOTH, {"a": WHOLE}, mirror=Mirror("b", 0.25)),
        Routing(BOTH, {"a": WHOLE}, choices=(Choice("x-group", "b", "b"),)),
        Routing(BOTH, {"a": WHOLE}, mirror=Mirror("b", 1.0), choices=(Choice("x-preview", "candidate", "b"),)),
        Routing(BOTH, {"a": WHOLE - 1, "b": 1}, sticky=Sticky(header="x-user")),
        Routing(BOTH, {"a": WHOLE}, choices=(Choice("x-group", "b", "b"),), sticky=Sticky(cookie="who")),
    ],
    ids=["one", "weights", "baseline", "mirror", "header", "preview", "sticky header", "sticky cookie"],
)
def test_envoy_takes_it(routing: Routing, tmp_path: Path) -> None:
    Router(tmp_path, Settings(port=18_080, admin_ports=(18_081, 18_082), access_log=True)).write(routing, 1)
    assert (tmp_path / "envoy-18082.yaml").exists()


def test_who_asks_for_a_version_is_not_copied_to_it() -> None:
    """What only the candidate is asked would be held against it, or for it, without anything to compare it with."""
    preview = Choice("x-preview", "candidate", "b")
    made = configuration(Routing(BOTH, {"a": WHOLE}, mirror=Mirror("b", 1.0), choices=(preview,)))
    chosen, others = (
        [one for one in made["virtual_hosts"][0]["routes"] if ("headers" in one["match"]) == by_header]
        for by_header in (True, False)
    )
    assert [one["route"]["weighted_clusters"]["clusters"][0]["name"] for one in chosen] == ["b-grpc", "b-http"]
    assert not any("request_mirror_policies" in one["route"] for one in chosen)
    assert all("request_mirror_policies" in one["route"] for one in others)
    assert len(others) == 2


STARTER = """
import json, subprocess, sys, time
print(subprocess.Popen(json.loads(sys.argv[1]), start_new_session=True, stderr=subprocess.DEVNULL).pid, flush=True)
time.sleep(600)
"""


def test_envoy_outlives_whoever_started_it(tmp_path: Path) -> None:
    """With its hot restart, it asks the system for a SIGTERM when its parent ends: a keeper's death would end all service."""
    admin = free_ports()
    router = Router(tmp_path, Settings(port=free_ports(), admin_ports=(admin,)))
    router.write(Routing({"a": (ONE,)}, {"a": WHOLE}), 1)
    asked = [sys.executable, "-c", STARTER, json.dumps(router.command(admin))]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        envoy_ = psutil.Process(int(starter.stdout.readline()))
        try:
            router.wait_until_up(lambda _: "")
            starter.kill()
            starter.wait()
            with pytest.raises(psutil.TimeoutExpired):
                envoy_.wait(2)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                envoy_.kill()


@pytest.mark.parametrize(("breaks", "answering"), [(False, "beside"), (True, "old")], ids=["answers", "is killed"])
def test_what_a_baseline_does_not_answer_others_of_its_version_do(
    tmp_path: Path, answering: str, *, breaks: bool
) -> None:
    """At once, though it is healthy as far as is known."""
    with upstream("old") as old, upstream("beside", breaks=breaks) as beside, upstream("new") as new:
        endpoints = {"old": (old,), "old_baseline": (beside,), "new": (new,)}
        routing = Routing(endpoints, {"old": 0, "old_baseline": WHOLE // 2, "new": WHOLE // 2})
        with routed(tmp_path, routing) as to, httpx.Client(base_url=to.url) as client:
            to.router.apply(routing, 2)
            answers = [client.get("/") for _ in range(60)]
            assert {one.status_code for one in answers} == {200}
            assert {one.text for one in answers} == {answering, "new"}
            (counted,) = to.router.counted(["old", "old_baseline"]).values()
            assert counted["old"].requests == 0, "it is counted as the baseline's"


def test_what_envoy_refuses_changes_nothing(tmp_path: Path) -> None:
    router = Router(tmp_path, Settings(host="nowhere at all", port=18_080))
    with pytest.raises(RouterError, match=r"Envoy refuses the configuration in .*checked\.yaml: .*nowhere at all"):
        router.write(Routing({"a": (ONE,)}, {"a": WHOLE}), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["checked.yaml"]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"weights": {"a": 1}}, "got weights {'a': 1}, wanted parts of 10000"),
        ({"weights": {"a": WHOLE + 1, "b": -1}}, "wanted parts of 10000"),
        ({"weights": {"c": WHOLE}}, "c would get requests, but has no instance"),
        ({"weights": {"a": WHOLE}, "mirror": Mirror("c", 0.5)}, "c would get requests"),
        ({"weights": {"a": WHOLE}, "mirror": Mirror("b", 1.5)}, "got a mirrored share of 1.5"),
        ({"weights": {"a": WHOLE}, "choices": (Choice("x", "y", "d"),)}, "d would get requests"),
    ],
)
def test_a_routing_that_would_lose_requests_is_refused(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=r"wanted|would") as err:
        Routing(BOTH, **values)
    assert fault in str(err.value)


def test_edges_are_so_close_that_a_step_is_told() -> None:
    """The next edge that is a step or more away is hardly further."""
    edges = envoy.edges_us()
    ratios = [min(one for one in edges if one >= edge * STEP * 0.99) / edge for edge in edges if edge < edges[-3]]
    assert edges[0] == envoy.FIRST_US - 0.5
    assert envoy.LAST_US / STEP < edges[-1] < envoy.LAST_US
    assert max(ratios) < STEP**2
    assert statistics.mean(ratios) < STEP * 1.03


STATISTICS = """\
# TYPE envoy_cluster_upstream_rq_completed counter
envoy_cluster_upstream_rq_completed{envoy_cluster_name="a-http"} 7
envoy_cluster_upstream_rq_completed{envoy_cluster_name="a-grpc"} 5
envoy_cluster_upstream_rq_completed{envoy_cluster_name="a-http-mirrored"} 900
# TYPE envoy_cluster_external_upstream_rq_completed counter
envoy_cluster_external_upstream_rq_completed{envoy_cluster_name="a-http"} 7
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="a-http"} 4
envoy_cluster_upstream_rq_xx{envoy_response_code_class="4",envoy_cluster_name="a-http"} 4
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="a-http"} 2
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="404",envoy_cluster_name="a-http"} 1
envoy_cluster_upstream_rq{envoy_response_code="422",envoy_cluster_name="a-http"} 1
envoy_cluster_upstream_rq{envoy_response_code="429",envoy_cluster_name="a-http"} 2
envoy_cluster_upstream_rq{envoy_response_code="400",envoy_cluster_name="a-http-mirrored"} 11
# TYPE envoy_cluster_grpc_0 counter
envoy_cluster_grpc_0{envoy_cluster_name="a-grpc"} 2
# TYPE envoy_cluster_grpc_3 counter
envoy_cluster_grpc_3{envoy_cluster_name="a-grpc"} 1
# TYPE envoy_cluster_grpc_14 counter
envoy_cluster_grpc_14{envoy_cluster_name="a-grpc"} 2
# TYPE envoy_cluster_upstream_rq_microseconds histogram
envoy_cluster_upstream_rq_microseconds_bucket{envoy_cluster_name="a-http",le="499.5"} 0
envoy_cluster_upstream_rq_microseconds_bucket{envoy_cluster_name="a-http",le="3099.5"} 4
envoy_cluster_upstream_rq_microseconds_bucket{envoy_cluster_name="a-http",le="+Inf"} 6
envoy_cluster_upstream_rq_microseconds_bucket{envoy_cluster_name="a-http-mirrored",le="499.5"} 2
envoy_cluster_upstream_rq_microseconds_bucket{envoy_cluster_name="a-http-mirrored",le="3099.5"} 8
envoy_cluster_upstream_rq_microseconds_bucket{envoy_cluster_name="a-http-mirrored",le="+Inf"} 900
envoy_cluster_upstream_rq_microseconds_sum{envoy_cluster_name="a-http"} 20000
envoy_cluster_upstream_rq_microseconds_count{envoy_cluster_name="a-http"} 6
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a-http",le="0.5"} 1
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a-http",le="5"} 7
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a-http",le="+Inf"} 9
"""


def test_statistics_are_read_by_version() -> None:
    found = counters.read(STATISTICS, ["a", "b"])
    assert found["a"] == Counters(12, 4, {0.0004995: 0, 0.0030995: 4, float("inf"): 6}, refused=3)
    assert found["a"].over() == {0.0004995: 6, 0.0030995: 2}
    assert found["a"].seen == 12
    assert found["b"] == Counters()
    copies = counters.read(STATISTICS, ["a"], mirrored=True)["a"]
    assert copies == Counters(900, 0, {0.0004995: 2, 0.0030995: 8, float("inf"): 900}, refused=11)


def test_grpc_that_got_no_answer_is_one_error() -> None:
    """Envoy counts it as 503, and by the status 14 that it answers with: more errors than requests cannot be."""
    text = """\
# TYPE envoy_cluster_upstream_rq_completed counter
envoy_cluster_upstream_rq_completed{envoy_cluster_name="a-grpc"} 6
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="a-grpc"} 5
# TYPE envoy_cluster_grpc_13 counter
envoy_cluster_grpc_13{envoy_cluster_name="a-grpc"} 1
# TYPE envoy_cluster_grpc_14 counter
envoy_cluster_grpc_14{envoy_cluster_name="a-grpc"} 5
"""
    assert counters.read(text, ["a"])["a"] == Counters(6, 6)


def test_a_meter_keeps_what_was_refused() -> None:
    meter = Meter.from_zero({1: {"a": Counters(10, 1, {}, 2)}})
    meter.add({1: {"a": Counters(30, 1, {}, 7)}})
    assert Meter.read(meter.written()).sums == {"a": Counters(20, 0, {}, 5)}
    assert Counters(9, 0, {}, 1).is_anew(Counters(8, 0, {}, 2))


def test_times_counted_before_answers_count_as_requests() -> None:
    assert Counters(3, 0, {float("inf"): 5}).seen == 5


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30))
def test_a_meter_counts_all_that_came_between_readings_whatever_restarts(turns: list[tuple[int, bool]]) -> None:
    """A router that starts again counts from zero; what it had counted since the last reading is lost with it, no more."""
    meter, counted, wanted = Meter.from_zero({1: {"a": Counters(100)}, 2: {"a": Counters(7)}}), 100, 0
    for more, restarts in turns:
        if restarts and more < counted:  # one that has counted as much by then cannot be told apart
            counted = 0
        counted += more
        wanted += more
        meter.add({1: {"a": Counters(counted)}, 2: {"a": Counters(7)}})
        meter = Meter.read(meter.written())
    assert meter.sums.get("a", Counters()).requests == wanted


def test_one_version_that_counts_from_zero_tells_that_all_do() -> None:
    inf = float("inf")
    meter = Meter.from_zero({1: {"a": Counters(1_000), "b": Counters(3, 0, {0.01: 1, inf: 3})}})
    meter.add({1: {"a": Counters(45), "b": Counters(5, 0, {0.01: 4, inf: 5})}})
    assert meter.sums == {"a": Counters(45), "b": Counters(5, 0, {0.01: 4, inf: 5})}


@given(*(st.tuples(*[st.integers(0, 9)] * 4) for _ in range(2)))
def test_what_came_between_any_two_readings_can_be(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Whatever a router that was started anew had counted by then, the judge is not given more slow requests than requests."""

    def reading(more: tuple[int, ...]) -> Counters:
        quick, slow, slower, failed = more
        total = quick + slow + slower
        return Counters(total, min(failed, total), {0.01: quick, 0.02: quick + slow, float("inf"): total})

    since = reading(other).since(reading(one))
    assert 0 <= since.errors <= since.seen
    assert list(since.over().values()) == sorted(since.over().values(), reverse=True)
    assert all(0 <= count <= since.seen for count in since.over().values())
