"""`--dry-run`: the plan, and all that a rollout is checked by before it begins; nothing is changed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import BentocastError
from deploy import __main__ as commands
from deploy.rollouts.driver import Driver
from deploy.rollouts.progress import Progress
from tests.deploy.driven import NEW, OLD, add
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in BENTOML]


@pytest.fixture(autouse=True)
def _here(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands are about this deployment."""
    monkeypatch.setenv("DEPLOY_HOME", str(driver.fleet.place.folder))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ended(*arguments: str) -> int:
    with pytest.raises((SystemExit, BentocastError)) as end:
        commands.main([*arguments, "--dry-run"])
    if isinstance(end.value, BentocastError):
        return end.value.exit_code
    assert isinstance(end.value, SystemExit)
    return int(str(end.value.code))


def files(driver: Driver) -> set[Path]:
    return set(driver.fleet.place.folder.rglob("*"))


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (
            "canary",
            [
                "it can begin: b:old -> b:new",
                "  1. 4 of b:old, 4 of b:new",
                "  2. 4 of b:old and 1 more to compare latencies with, 1 of b:new",
                "  3. 4 of b:old and 1 more to compare latencies with, 1 of b:new",
                "  4. 4 of b:old and 2 more to compare latencies with, 2 of b:new",
            ],
        ),
        (
            "rolling",
            [
                "it can begin: b:old -> b:new",
                "  1. 3 of b:old, 1 of b:new",
                "  2. 2 of b:old, 2 of b:new",
                "  3. 1 of b:old, 3 of b:new",
            ],
        ),
    ],
)
def test_instances_of_each_step(
    driver: Driver, capsys: pytest.CaptureFixture[str], strategy: str, told: list[str]
) -> None:
    for number in (2, 3):
        add(driver.fleet.journal, "old", number)
    before, state = files(driver), driver.fleet.journal.state()
    assert ended(strategy, NEW) == 0
    assert capsys.readouterr().out.splitlines()[-len(told) :] == told
    assert (files(driver), driver.fleet.journal.state()) == (before, state)
    assert driver.fleet.journal.rollouts() == []


def test_it_ends_as_the_command_would(driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("canary", "b:nowhere") == 6
    assert ended("canary", OLD) == 10
    number = driver.fleet.journal.begin("canary", OLD, NEW, {}, Progress("old", "new", 2).written(), 1.0)
    assert ended("canary", NEW) == 2
    driver.fleet.journal.end(number, "rolled back", "", 2.0)
    assert ended("canary", NEW) == 0
    driver.fleet.journal.put_state({})
    capsys.readouterr()
    assert ended("canary", NEW) == 10
    assert capsys.readouterr().out.startswith("canary of b:new:\n  1. copies of"), "the plan all the same"
