"""The other strategies, with real Bentos behind a real Envoy; they take minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.fleet import Deployment, Users, wait_for

pytestmark = pytest.mark.services

NEW = "bentocast:same"


def test_an_abort_from_another_terminal(deployment: Deployment, body: dict[str, Any]) -> None:
    with Users.asking(deployment.url, body), deployment.start("canary", NEW) as driven:
        assert driven.stderr is not None
        while "copies of" not in (line := driven.stderr.readline()):
            assert line, "it ended before it was aborted"
        assert deployment.run("abort").returncode == 0
        _, told = driven.communicate(timeout=60)
    assert driven.returncode == 7
    assert "rolled back: asked to abort" in told


def test_a_shadow_is_judged_and_goes_again(deployment: Deployment, body: dict[str, Any]) -> None:
    with Users.asking(deployment.url, body) as users:
        done = deployment.run("shadow", NEW)
    assert done.returncode == 0, done.stderr
    assert f"{NEW} ended: all of 4 checks passed" in done.stderr
    assert set(users.bentos) == {deployment.store.tag}
    assert deployment.status().count(": ready") == 1


def test_blue_green_keeps_a_way_back(deployment: Deployment, body: dict[str, Any]) -> None:
    before_it = deployment.store.tag.partition(":")[2]
    with Users.asking(deployment.url, body) as users:
        done = deployment.run("blue-green", NEW)
        assert done.returncode == 0, done.stderr
        assert f"{before_it}: 0.0% of requests" in deployment.status()
        wait_for(lambda: users.bentos[NEW] > 50, "users do not get the new version")
        done = deployment.run("rollback")
        assert done.returncode == 0, done.stderr
        assert "waiting for" not in done.stderr
        seen = users.bentos[deployment.store.tag]
        wait_for(lambda: users.bentos[deployment.store.tag] > seen + 50, "users do not get the version before")
    assert set(users.answered) == {200}
    assert "rollback" in deployment.run("history").stdout.splitlines()[0]


def test_those_who_send_a_header_get_it_until_somebody_ends_it(deployment: Deployment, body: dict[str, Any]) -> None:
    def who(**headers: str) -> str:
        answer = httpx.post(f"{deployment.url}/v1/timeseries/forecast", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-bento"]

    done = deployment.run("ab", NEW)
    assert done.returncode == 8, done.stderr
    assert {who() for _ in range(5)} == {deployment.store.tag}
    assert {who(**{"x-group": "b"}) for _ in range(5)} == {NEW}
    assert deployment.run("abort").returncode == 0
    assert who(**{"x-group": "b"}) == deployment.store.tag


def test_a_bento_that_does_not_start_leaves_nothing(deployment: Deployment, tmp_path: Path) -> None:
    other = Deployment.make(deployment.store, tmp_path)
    done = other.run("up", "bentocast:broken")
    assert done.returncode == 10
    assert "does not start, on purpose" in done.stderr
    assert not other.processes("")
    assert other.run("status").stdout == "nothing is up\n"


def test_instance_by_instance(deployment: Deployment, body: dict[str, Any]) -> None:
    assert deployment.run("scale", "2").returncode == 0
    with Users.asking(deployment.url, body) as users:
        done = deployment.run("rolling", NEW)
    assert done.returncode == 0, done.stderr
    assert set(users.answered) == {200}
    status = deployment.status()
    assert status.count(": ready") == 2
    assert "same: 100.0% of requests (stable)" in status
