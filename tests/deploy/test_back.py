"""`rollback`: back by the way that versions came, and to nothing that never served."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploy.faults import RolloutError
from deploy.fleet import Traffic
from deploy.journal import Journal
from deploy.rollouts import closing
from deploy.rollouts.driver import Driver
from deploy.rollouts.progress import Progress
from deploy.router.routing import WHOLE
from tests.deploy.driven import add, serving, state
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in BENTOML]


@pytest.fixture(autouse=True)
def _nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "tell", lambda *_: None)


@pytest.fixture
def bring_out(driver: Driver) -> Callable[..., None]:
    """Versions come to users one after the other, by rollouts that end so."""
    journal = driver.fleet.journal

    def brought(*tags: str, state: str = "promoted") -> None:
        for tag in tags:
            (driver.fleet.place.versions / tag.partition(":")[2] / "bentos" / "b" / tag.partition(":")[2]).mkdir(
                parents=True, exist_ok=True
            )
            stable = driver.fleet.traffic().stable
            coming = tag.partition(":")[2]
            number = journal.begin("canary", f"b:{stable}", tag, {}, Progress(stable, coming, 1).written(), 1.0)
            journal.end(number, state, "", 2.0)
            if state == "promoted":
                serve(journal, coming)

    return brought


def serve(journal: Journal, name: str) -> None:
    for one in journal.processes():
        journal.forget(one.name)
    add(journal, name, 0)
    journal.put_state(Traffic(1, name, {name: WHOLE}).written())


def back(driver: Driver, tag: str | None = None) -> str:
    assert driver.back(tag) == "promoted"
    (version,) = serving(driver)
    return version


def test_twice_goes_back_twice(driver: Driver, bring_out: Callable[..., None]) -> None:
    bring_out("b:good", "b:bad")
    assert back(driver) == "good"
    assert back(driver) == "old"
    with pytest.raises(RolloutError, match="there is no version before the one that serves"):
        driver.back(None)


def test_what_was_left_by_a_way_back_is_no_version_before(driver: Driver, bring_out: Callable[..., None]) -> None:
    bring_out("b:good", "b:bad")
    assert back(driver) == "good"
    bring_out("b:better")
    bring_out("b:worse", state="rolled back")
    assert back(driver) == "good"
    assert back(driver) == "old"


def test_to_one_by_its_tag_and_from_there(driver: Driver, bring_out: Callable[..., None]) -> None:
    bring_out("b:good", "b:bad")
    assert back(driver, "b:old") == "old"
    assert back(driver, "b:bad") == "bad", "whoever names it wants it"
    assert back(driver) == "old"


def test_another_deployment_has_no_version_before(driver: Driver, bring_out: Callable[..., None]) -> None:
    bring_out("b:good")
    serve(driver.fleet.journal, "other")
    with pytest.raises(RolloutError, match="there is no version before"):
        driver.back(None)
    bring_out("b:best")
    (driver.fleet.place.versions / "other" / "bentos" / "b" / "other").mkdir(parents=True)
    assert back(driver) == "other"


@pytest.mark.parametrize("tag", ["b:worse", "b:nowhere", "b"])
def test_to_one_that_never_served_is_refused(driver: Driver, bring_out: Callable[..., None], tag: str) -> None:
    bring_out("b:good")
    bring_out("b:worse", state="rolled back")
    with pytest.raises(
        RolloutError, match=rf"^{tag} never served here, .*canary {tag}`, or go back to one of b:good, b:old$"
    ):
        driver.back(tag)
    assert len(driver.fleet.journal.rollouts()) == 2


def test_to_the_one_that_serves(driver: Driver) -> None:
    with pytest.raises(RolloutError, match="b:old serves already"):
        driver.back("b:old")


def test_one_that_was_killed_before_it_was_written_how_it_ends_goes_on(
    driver: Driver, bring_out: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_out("b:good")

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(closing, "close", killed)
        with pytest.raises(SystemExit):
            driver.back(None)
    assert driver.resume() == "promoted"
    assert state(driver, 2) == ("promoted", "asked to go back")
    assert serving(driver) == {"old": WHOLE}
