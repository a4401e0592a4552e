"""Rollouts of real Bentos behind a real Envoy, with users who ask all the while."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.fleet import Deployment, Users, kill, wait_for


def name(tag: str) -> str:
    return tag.partition(":")[2]


def candidate(deployment: Deployment, which: str) -> str:
    return f"{deployment.store.tag.partition(':')[0]}:{which}"


def test_http_and_grpc_on_one_port(deployment: Deployment, body: dict[str, Any]) -> None:
    answer = httpx.post(f"{deployment.url}/v1/timeseries/forecast", json=body)
    assert answer.status_code == 200, answer.text
    with grpc.insecure_channel(f"127.0.0.1:{deployment.port}") as channel:
        told = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert told.status == health_pb2.HealthCheckResponse.SERVING


def test_every_target_for_prometheus_has_metrics(deployment: Deployment) -> None:
    found = json.loads((deployment.folder / "targets.json").read_text())
    assert sorted(one["labels"]["job"] for one in found) == ["bentocast", "router"]
    for one in found:
        (address,) = one["targets"]
        answer = httpx.get(f"http://{address}{one['labels'].get('__metrics_path__', '/metrics')}")
        assert answer.status_code == 200
        assert answer.text.startswith("# ")


def test_up_again_changes_nothing(deployment: Deployment) -> None:
    before = {process.pid for process in deployment.processes("")}
    done = deployment.run("up", deployment.store.tag)
    assert done.returncode == 0, done.stderr
    assert {process.pid for process in deployment.processes("")} == before


def test_up_with_another_bento_is_refused(deployment: Deployment) -> None:
    done = deployment.run("up", candidate(deployment, "same"))
    assert done.returncode == 10
    assert f"{name(deployment.store.tag)} serves here already: bring bentocast:same out with" in done.stderr


def test_an_unknown_bento(deployment: Deployment) -> None:
    done = deployment.run("canary", "bentocast:nowhere")
    assert done.returncode == 6
    assert "BentoML's store holds no whole Bento 'bentocast:nowhere'" in done.stderr
    assert deployment.run("history").stdout == "no rollouts yet\n"


def test_nonsense_is_found_before_a_user_gets_it(deployment: Deployment, body: dict[str, Any]) -> None:
    with Users.asking(deployment.url, body) as users:
        done = deployment.run("canary", candidate(deployment, "nonsense"))
    assert done.returncode == 7, done.stderr
    assert re.search(r"rolled back: fail: .*answers: \d+ of \d+ pairs differ", done.stderr), done.stderr
    assert set(users.answered) == {200}
    assert set(users.bentos) == {deployment.store.tag}


def test_a_canary_that_fails_is_rolled_back(deployment: Deployment, body: dict[str, Any]) -> None:
    with Users.asking(deployment.url, body) as users:
        done = deployment.run("canary", candidate(deployment, "failing"))
    assert done.returncode == 7, done.stderr
    assert "rolled back: fail: errors: " in done.stderr
    assert users.answered[0] == 0
    assert users.answered[500] < 0.02 * users.answered.total()
    assert deployment.status().count(": ready") == 1


def test_one_that_does_not_start(deployment: Deployment, body: dict[str, Any]) -> None:
    with Users.asking(deployment.url, body) as users:
        done = deployment.run("canary", candidate(deployment, "broken"))
    assert done.returncode == 7, done.stderr
    assert "(bentocast:broken) starts processes that end again" in done.stderr
    assert "does not start, on purpose" in done.stderr
    assert set(users.answered) == {200}


def test_a_killed_command_is_resumed_and_a_second_rollout_refused(deployment: Deployment, body: dict[str, Any]) -> None:
    with Users.asking(deployment.url, body) as users:
        with deployment.start("canary", candidate(deployment, "same")) as first:
            assert first.stderr is not None
            while "weight" not in (line := first.stderr.readline()):
                assert line, "it ended before users got the candidate"
            second = deployment.run("canary", candidate(deployment, "failing"))
            assert second.returncode == 2
            assert "another command drives a rollout" in second.stderr
            first.kill()
        status = deployment.status()
        assert "running; its command is gone: `resume` or `abort`" in status
        assert "_baseline: 20.0% of requests (stable, beside the candidate)" in status
        done = deployment.run("resume")
        assert done.returncode == 0, done.stderr
        assert "bentocast:same promoted: all of" in done.stderr
        again = deployment.run("resume")
        assert again.returncode == 10
        assert "no rollout is under way" in again.stderr
        wait_for(lambda: users.bentos["bentocast:same"] > 300, "users do not get the new version")
    assert set(users.answered) == {200}
    assert f"{deployment.store.tag} -> bentocast:same  promoted" in deployment.run("history").stdout
    assert "_baseline" not in deployment.status()
    log = (deployment.folder / "router" / "access.log").read_text().splitlines()
    took = Counter(json.loads(line)["cluster"] for line in log)
    assert min(count for name, count in took.items() if name.endswith("_baseline-http")) > 100


def test_a_killed_instance_and_a_killed_router_come_back(deployment: Deployment, body: dict[str, Any]) -> None:
    assert deployment.run("scale", "2").returncode == 0
    with Users.asking(deployment.url, body) as users:
        for kind in (deployment.stable, "router"):
            before = deployment.processes(kind)
            oldest = min(before, key=psutil.Process.create_time)
            kill(oldest)
            wait_for(
                lambda: not oldest.is_running() and len(deployment.processes(kind)) >= len(before),  # noqa: B023
                f"{kind} does not come back",
            )
            seen = users.answered[200]
            wait_for(lambda: users.answered[200] > seen + 100, f"users get no answers after {kind}")  # noqa: B023
    broken = users.answered.total() - users.answered[200]
    # What was under way on the connections of the two that were killed.
    assert broken < 0.05 * users.answered.total(), (users.answered, deployment.faults()[-10:])


def test_scaling_loses_nothing(deployment: Deployment, body: dict[str, Any]) -> None:
    with Users.asking(deployment.url, body) as users:
        for many in ("2", "1"):
            done = deployment.run("scale", many)
            assert done.returncode == 0, done.stderr
            assert deployment.status().count(": ready") == int(many)
    assert set(users.answered) == {200}


def test_a_new_keeper_takes_over_what_runs(deployment: Deployment) -> None:
    def kept() -> set[int]:
        return {process.pid for kind in ("same", "router") for process in deployment.processes(kind)}

    before = kept()
    (keeper,) = deployment.processes("keeper")
    kill(keeper)
    keeper.wait()
    assert httpx.get(f"{deployment.url}/readyz").status_code == 200
    assert deployment.run("up", "bentocast:same").returncode == 0
    assert kept() == before


def test_the_report_tells_the_story(deployment: Deployment) -> None:
    done = deployment.run("report")
    assert done.returncode == 0, done.stderr
    reports = sorted(Path(done.stdout.strip()).parent.glob("rollout-*.html"))
    pages = [path.read_text() for path in reports]
    promoted = next(page for page in pages if "canary of bentocast:same: promoted" in page)
    assert promoted.count("<svg") == 4
    assert "step 3" in promoted
    broken = next(page for page in pages if "canary of bentocast:broken: rolled back" in page)
    assert "<pre>" in broken
    assert "does not start, on purpose" not in deployment.run("history").stdout
    rolled_back = next(page for page in pages if "canary of bentocast:nonsense: rolled back" in page)
    assert "not reached" in rolled_back
    assert "pairs differ" in rolled_back


def test_a_port_that_is_taken(deployment: Deployment, tmp_path: Path) -> None:
    other = dataclasses.replace(deployment, folder=tmp_path / "other")
    done = other.run("up", deployment.store.tag)
    assert done.returncode == 10
    assert (
        f"the router cannot listen on 127.0.0.1:{deployment.port} (Address already in use): free it, or set"
        in done.stderr
    )
    assert not other.processes("")
