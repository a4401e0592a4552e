"""Faults of the machine in the middle of a rollout: the disk, the journal's database, the clock."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.fleet import Deployment, Users, fill, wait_for
from tests.loadtests.store import ROOT, Store
from tests.service.record.postgresql import Postgresql
from tests.service.record.test_faults import small_disk

pytestmark = pytest.mark.services

NEW = "bentocast:same"
#: With a clock that somebody sets an hour back and forward, again and again; it begins an hour back, since answers from
#: before a rollout's beginning do not count, and nothing else would be seen than that.
DRIVE = """
import itertools, pathlib, sys, time
from data import configuration
from deploy.__main__ import _driver

config = configuration.load(pathlib.Path(sys.argv[1]))
driver, jumps, asked = _driver(config), itertools.cycle((-3600, 3600)), []

def now():
    asked.append(time.time() + next(jumps))
    return asked[-1]

driver.clock.now = now
print(driver.begin("canary", sys.argv[2], config.deploy.canary), len(asked))
"""


@contextlib.contextmanager
def up(store: Store, folder: Path, journal_url: str = "", **changes: Any) -> Iterator[Deployment]:
    made = dataclasses.replace(Deployment.make(store, folder, **changes), journal_url=journal_url)
    done = made.run("up", store.tag)
    assert done.returncode == 0, done.stderr
    try:
        yield made
    finally:
        made.end()
        assert not made.processes(""), "something was left running"


def reach(driven: subprocess.Popen[str], step: str) -> None:
    """Read on until a step has begun."""
    assert driven.stderr is not None
    while step not in (line := driven.stderr.readline()):
        assert line, f"it ended before {step}"


def stay_with_stable(deployment: Deployment, users: Users) -> None:
    """Users get answers, and none of the candidate's."""
    of_new, of_old = users.bentos[NEW], users.bentos[deployment.store.tag]
    wait_for(lambda: users.bentos[deployment.store.tag] > of_old + 50, "users get no answers")
    assert users.bentos[NEW] - of_new <= 4, "more than what was under way"


def test_a_full_disk(store: Store, tmp_path: Path, body: dict[str, Any]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "64m"), up(store, disk) as deployment, Users.asking(deployment.url, body) as users:
        command = ["canary", NEW]
        for step in ("(copies of 100%)", "(weight 20%)"):
            with deployment.start(*command) as driven:
                reach(driven, step)
                filling = fill(disk)
                _, told = driven.communicate(timeout=60)
            assert driven.returncode in (10, 74), told
            assert re.search(r"error: .*(full|No space left)", told), told
            stay_with_stable(deployment, users)
            filling.unlink()
            command = ["resume"]
        done = deployment.run("resume")
        assert done.returncode in (0, 7), done.stderr
        assert "under way" not in deployment.run("resume").stdout
    assert set(users.answered) == {200}


def test_postgresql_that_goes_and_comes_back(
    store: Store, server: Postgresql, tmp_path: Path, body: dict[str, Any]
) -> None:
    with (
        up(store, tmp_path, server.new_database()) as deployment,
        Users.asking(deployment.url, body) as users,
    ):
        assert not (deployment.folder / "journal.db").exists()
        with deployment.start("canary", NEW) as driven:
            reach(driven, "(weight 20%)")
            server.stop()
            _, told = driven.communicate(timeout=60)
        assert driven.returncode == 10, told
        assert re.search(r"error: journal postgresql\+psycopg://tester:\*\*\*@127\.0\.0\.1:", told), told
        assert "users are back with the version before, until" in told
        stay_with_stable(deployment, users)
        server.start()
        done = deployment.run("resume")
        assert done.returncode == 0, done.stderr
        wait_for(lambda: users.bentos[NEW] > 300, "users do not get the new version")
    assert set(users.answered) == {200}


def test_a_clock_that_jumps_and_a_pause_that_takes_users_back(
    store: Store, tmp_path: Path, body: dict[str, Any]
) -> None:
    steps = [
        {"mirror": 1.0, "requests": 30, "at_most": "1min"},
        {"weight": 0.5, "requests": 1_000_000, "at_most": "5s"},
    ]
    with (
        up(store, tmp_path, canary={"steps": steps}) as deployment,
        Users.asking(deployment.url, body) as users,
    ):
        done = subprocess.run(
            [sys.executable, "-c", DRIVE, str(deployment.params), NEW],
            cwd=ROOT,
            env=deployment.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        state, _, asked = done.stdout.partition(" ")
        assert state == "paused", done.stderr
        assert int(asked) > 5, "nobody asked this clock"
        assert done.stderr.count("(weight 50%): ") > 0, "the first step was over, whatever the clock said"
        assert f"users are back with {store.tag}; undecided after 5s: " in done.stderr
        assert "paused, users are back with the version before: go on with" in done.stderr
        assert users.bentos[NEW] > 20, "it was undecided before users had it"
        stay_with_stable(deployment, users)
        assert f"paused; users are back with {store.tag}" in deployment.status()
        before = users.bentos[NEW]
        again = deployment.run("resume")
        assert again.returncode == 8, again.stderr
        assert users.bentos[NEW] > before + 20, "they did not come again"
        assert "split error" not in again.stderr
        assert deployment.run("abort").returncode == 0
    assert set(users.answered) == {200}
