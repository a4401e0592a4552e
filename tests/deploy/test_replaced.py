"""Plans that replace instances: users go back to no fewer of the version before than they came from."""

from __future__ import annotations

from typing import Any

import pytest

from data.deployment import Plan, Step
from deploy.rollouts import steps
from deploy.rollouts.driver import Driver
from deploy.router.routing import WHOLE, Routing
from tests.deploy.driven import NEW, Asked, Remembering, add, broken, serving, state
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in BENTOML]


def rolling(**changes: Any) -> Plan:
    return Plan(steps=(Step(weight=0.75, requests=10**9, at_most="5s"),), replace=True, **changes)


@pytest.fixture
def moved(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Parts of users that four instances of the version before have each time, and how many there are of it."""
    for number in (2, 3):
        add(driver.fleet.journal, "old", number)
    seen = []

    def apply(router: Remembering, routing: Routing, *_: object) -> None:
        seen.append((routing.weights.get("old", 0), len(routing.endpoints.get("old", ()))))

    monkeypatch.setattr(Remembering, "apply", apply)
    Asked(driver, 100)
    return seen


@pytest.mark.parametrize("undecided", ["pause", "rollback"])
def test_users_go_back_to_all_instances(driver: Driver, moved: list[tuple[int, int]], undecided: str) -> None:
    driver.begin("rolling", NEW, rolling(undecided=undecided))
    assert (2_500, 1) in moved, "at 75 % one of four is left"
    assert min(many for parts, many in moved if parts == WHOLE) == 4
    assert serving(driver) == {"old": WHOLE}


def test_an_abort_brings_them_back_first(
    driver: Driver, moved: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: float) -> None:
        if len(driver.fleet.of("old")) == 1 and not driver.fleet.journal.wished(1):
            Driver(driver.fleet).ask("abort")

    monkeypatch.setattr(driver.clock, "sleep", sleep)
    assert driver.begin("rolling", NEW, rolling()) == "rolled back"
    assert state(driver, 1)[1] == "asked to abort"
    assert min(many for parts, many in moved if parts == WHOLE) == 4


@pytest.mark.parametrize("undecided", ["pause", "rollback"])
def test_users_go_back_also_to_those_that_are_left(
    driver: Driver, moved: list[tuple[int, int]], said: list[str], undecided: str
) -> None:
    broken(driver, "old")
    driver.begin("rolling", NEW, rolling(undecided=undecided))
    assert serving(driver) == {"old": WHOLE}
    assert moved[-1] == (WHOLE, 1)
    assert "old takes all users back with fewer instances than before: old does not start" in said


def test_they_are_not_waited_for_for_long(
    driver: Driver, moved: list[tuple[int, int]], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "WHOLE_SECONDS", -1.0)
    driver.begin("rolling", NEW, rolling(undecided="pause"))
    assert moved[-1] == (WHOLE, 1)
    assert any("others were not ready within" in text for text in said)
