"""What is asked of a rollout from another terminal, or by Ctrl-C: whoever drives it hears it before users are moved on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from data.deployment import Plan, Step
from deploy.faults import AskedError, BusyError, RouterError
from deploy.fleet import LOCK, Fleet, Traffic
from deploy.rollouts import closing
from deploy.rollouts.driver import DRIVING, Driver
from deploy.rollouts.progress import Progress
from deploy.router.routing import WHOLE
from deploy.running.instances import Instance
from deploy.versions import Version
from tests.deploy.driven import NEW, OLD, Asked, Small, add, serving, state
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in BENTOML]

TENTH, HALF = {"old": 9_000, "new": 1_000}, {"old": 5_000, "new": 5_000}
PLAN = Plan(
    steps=(Step(weight=0.1, requests=200), Step(weight=0.5, requests=200), Step(weight=0.75, requests=200)),
    baseline=False,
)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """State and reason each time that people are told."""
    heard: list[tuple[str, str]] = []

    def tell(fleet: Fleet, number: int) -> None:
        rollout = fleet.journal.rollout(number)
        assert rollout is not None
        heard.append((rollout.state, rollout.reason))

    monkeypatch.setattr(closing, "tell", tell)
    return heard


def orphaned(driver: Driver) -> int:
    """A rollout at a half whose command was killed."""
    journal = driver.fleet.journal
    number = journal.begin("canary", OLD, NEW, PLAN.model_dump(mode="json"), Progress("old", "new", 2).written(), 1.0)
    add(journal, "new", 0)
    journal.put_state(Traffic(2, "old", HALF).written())
    return number


def at(driver: Driver, monkeypatch: pytest.MonkeyPatch, weights: dict[str, int], act: Callable[[], object]) -> None:
    """Once users are split so, something happens."""
    done: list[object] = []

    def sleep(_: float) -> None:
        if serving(driver) == weights and not done:
            done.append(act())

    monkeypatch.setattr(driver.clock, "sleep", sleep)


def while_starting(monkeypatch: pytest.MonkeyPatch, wish: str, *, ready: bool = False) -> None:
    """Something is asked for while a second instance of the candidate starts, or as soon as it is ready."""
    bring = Small.bring

    def asked(
        fleet: Small, version: Version, many: int, meanwhile: Callable[[], None] = lambda: None
    ) -> list[Instance]:
        is_second = version.name == "new" and many > len(fleet.of("new")) == 1
        if is_second and not ready:
            Driver(fleet).ask(wish)
        there = bring(fleet, version, many, meanwhile)
        if is_second and ready:
            Driver(fleet).ask(wish)
        return there

    monkeypatch.setattr(Small, "bring", asked)


@pytest.mark.parametrize(
    ("wish", "ended", "weights"),
    [("pause", "paused", TENTH), ("promote", "promoted", {"new": WHOLE}), ("abort", "rolled back", {"old": WHOLE})],
)
def test_a_command_does_what_is_asked_of_it(
    driver: Driver,
    told: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    wish: str,
    ended: str,
    weights: dict[str, int],
) -> None:
    Asked(driver, 100)
    answers: list[str] = []
    at(driver, monkeypatch, TENTH, lambda: answers.append(Driver(driver.fleet).ask(wish)))
    assert driver.begin("canary", NEW, PLAN) == ended
    assert answers == [f"asked the command that drives rollout 1 to {wish}"]
    assert told == [state(driver, 1)] == [(ended, f"asked to {wish}")]
    assert serving(driver) == weights


@pytest.mark.parametrize("ready", [False, True], ids=["not waited for", "ready"])
@pytest.mark.parametrize("wish", ["abort", "pause"])
def test_what_is_asked_while_instances_of_the_next_step_start_moves_nobody_on(
    driver: Driver, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, wish: str, *, ready: bool
) -> None:
    for number in (2, 3):
        add(driver.fleet.journal, "old", number)
    Asked(driver, 2_000)
    while_starting(monkeypatch, wish, ready=ready)
    assert driver.begin("canary", NEW, PLAN) == {"abort": "rolled back", "pause": "paused"}[wish]
    weights = driver.fleet.router.weights  # type: ignore[attr-defined]
    assert max(one.get("new", 0) for one in weights) == TENTH["new"]
    assert serving(driver) == {"abort": {"old": WHOLE}, "pause": TENTH}[wish]
    assert len(driver.fleet.of("new")) == {"abort": 0, "pause": 1 + ready}[wish]


def test_a_wait_for_instances_ends_with_what_is_asked_meanwhile(driver: Driver) -> None:
    def meanwhile() -> None:
        raise AskedError("abort")

    with pytest.raises(AskedError, match="asked to abort"):
        Fleet.bring(driver.fleet, driver.fleet.version("old"), 2, meanwhile)


def test_an_abort_while_the_candidate_starts_for_all_users_takes_it_back(
    driver: Driver, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    while_starting(monkeypatch, "abort")
    orphaned(driver)
    assert driver.ask("promote") == "rolled back"
    assert state(driver, 1) == ("rolled back", "asked to abort")
    assert serving(driver) == {"old": WHOLE}


def test_a_pause_of_one_that_ends_says_so(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    number = orphaned(driver)
    driver.fleet.journal.add(number, "ending", {"state": "rolled back", "reason": "why"}, 2.0)
    with driver.fleet.place.held(DRIVING, ""):
        assert driver.ask("pause") == "the command that drives rollout 1 ends it already: rolled back"


def test_one_whose_command_is_gone_is_paused_where_it_is(driver: Driver, told: list[tuple[str, str]]) -> None:
    number = orphaned(driver)
    assert driver.ask("pause") == "paused"
    assert told == [state(driver, number)] == [("paused", "asked to pause")]
    assert serving(driver) == HALF


def test_what_is_asked_while_a_command_scales_waits_for_it(
    driver: Driver, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drives nothing, so it would never hear it."""
    number = orphaned(driver)
    seconds = iter([0.0, 200.0])
    monkeypatch.setattr(driver.clock, "monotonic", lambda: next(seconds))
    with (
        driver.fleet.place.held(LOCK, ""),
        pytest.raises(
            BusyError, match=r"abort of rollout 1: another command that drives no rollout .*, and abort again"
        ),
    ):
        driver.ask("abort")
    assert driver.fleet.journal.wished(number) == ""
    driver.clock.monotonic = lambda: 0.0
    assert driver.ask("abort") == "rolled back"


def test_ctrl_c_pauses_and_people_are_told(
    driver: Driver, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Asked(driver, 100)

    def interrupt() -> None:
        raise KeyboardInterrupt

    at(driver, monkeypatch, TENTH, interrupt)
    with pytest.raises(KeyboardInterrupt):
        driver.begin("canary", NEW, PLAN)
    assert told == [state(driver, 1)] == [("paused", "interrupted")]
    assert serving(driver) == TENTH


def test_a_deployment_that_goes_down_takes_its_rollout_along(
    driver: Driver, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there to abort for as long as its candidate has users."""
    orphaned(driver)

    def fails(_: Fleet) -> None:
        raise RouterError("it does not drain")

    monkeypatch.setattr(Fleet, "down", fails)
    with pytest.raises(RouterError):
        driver.down()
    assert (state(driver, 1)[0], told) == ("running", [])
    monkeypatch.setattr(Fleet, "down", lambda fleet: fleet.journal.put_state({}))
    driver.down()
    assert told == [state(driver, 1)] == [("ended", "the deployment was brought down")]
