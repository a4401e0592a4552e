"""How a rollout ends and is held when something does not come up; a real journal, a router that only remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data.deployment import BLUE_GREEN, ROLLING, Autoscale, Plan, Step
from deploy import status, versions
from deploy.autoscale import Autoscaler
from deploy.faults import BusyError, RolloutError
from deploy.fleet import LOCK, Fleet, Traffic
from deploy.journal import INSTANCE, NO_ROLLOUT
from deploy.rollouts import closing
from deploy.rollouts.driver import Driver
from deploy.rollouts.progress import Progress
from deploy.rollouts.steps import Steps
from deploy.router.counters import Counters
from deploy.router.routing import WHOLE, Choice
from deploy.versions import Version
from tests.deploy.driven import NEW, OLD, Asked, Remembering, add, broken, serving, state
from tests.deploy.upstreams import upstream
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in BENTOML]

HALF = {"old": WHOLE // 2, "new": WHOLE // 2}


def paused(driver: Driver, weights: dict[str, int], *, ending: str | None = None) -> int:
    """A rollout whose command is gone."""
    journal = driver.fleet.journal
    plan = Plan(steps=(Step(weight=0.5),))
    number = journal.begin("canary", OLD, NEW, plan.model_dump(mode="json"), Progress("old", "new", 2).written(), 1.0)
    add(journal, "new", 0)
    journal.put_state(Traffic(2, "old", weights).written())
    if ending:
        journal.add(number, "ending", {"state": ending, "reason": "why"}, 2.0)
    return number


def test_a_way_back_to_what_does_not_start_ends_where_it_began(driver: Driver) -> None:
    journal = driver.fleet.journal
    journal.end(paused(driver, {"old": WHOLE}), "promoted", "it served", 2.0)
    journal.forget("new-0")
    broken(driver, "new")
    assert driver.back(NEW) == "rolled back"
    assert state(driver, 2) == ("rolled back", "new does not start")
    assert serving(driver) == {"old": WHOLE}
    broken(driver)
    assert driver.back(NEW) == "promoted"
    assert serving(driver) == {"new": WHOLE}


def test_a_candidate_that_cannot_be_brought_to_all_users_is_taken_back(driver: Driver) -> None:
    number = paused(driver, HALF)
    broken(driver, "new")
    driver.ask("promote")
    assert state(driver, number) == ("rolled back", "new does not start")
    assert serving(driver) == {"old": WHOLE}
    assert {one.version for one in driver.fleet.instances()} == {"old"}


def test_an_abort_is_one_also_after_a_promotion_was_begun(driver: Driver) -> None:
    number = paused(driver, HALF, ending="promoted")
    driver.ask("abort")
    assert state(driver, number) == ("rolled back", "asked to abort")
    assert serving(driver) == {"old": WHOLE}


def test_a_promotion_that_was_begun_is_ended_by_whoever_goes_on(driver: Driver) -> None:
    number = paused(driver, HALF, ending="promoted")
    assert driver.resume() == "promoted"
    assert state(driver, number) == ("promoted", "why")
    with pytest.raises(RolloutError, match="no rollout is under way"):
        driver.ask("abort")


def test_a_version_before_that_stays_smaller_does_not_hold_up_the_end(driver: Driver, said: list[str]) -> None:
    number = paused(driver, HALF)
    driver.fleet.journal.forget("old-1")
    broken(driver, "old")
    driver.ask("abort")
    assert state(driver, number)[0] == "rolled back"
    assert "old has fewer instances than before: old does not start" in said
    assert serving(driver) == {"old": WHOLE}


def test_scaling_after_a_retreat_brings_nobody_to_the_candidate(driver: Driver) -> None:
    paused(driver, HALF)
    driver.fleet.router.retreat()
    assert serving(driver) == {"old": WHOLE}
    assert "  old: 100.0% of requests (stable)\n" in status.text(driver.fleet)
    driver.scale(3)
    assert isinstance(driver.fleet.router, Remembering)
    assert all(weights == {"old": WHOLE} for weights in driver.fleet.router.weights)
    assert Progress.read(driver.fleet.journal.progress(1) or {}).held
    driver.ask("promote")
    assert len(driver.fleet.of("new")) == 3


def test_what_is_asked_for_while_people_are_told_of_a_pause_is_done(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that drives it holds the lock until then, so whoever asks leaves it to that."""

    def asked(fleet: Fleet, number: int) -> None:
        if state(driver, number)[0] == "paused":
            fleet.journal.wish(number, "abort")

    monkeypatch.setattr(closing, "tell", asked)
    header = {"steps": [{"header": {"name": "x-group", "value": "b"}}], "end": "stay"}
    assert driver.begin("ab", NEW, Plan.model_validate(header)) == "rolled back"
    assert state(driver, 1) == ("rolled back", "asked to abort")


def test_copies_of_all_requests_get_as_many_instances_as_the_requests(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(steps=(Step(mirror=1.0, at_most="1s"),), undecided="rollback")
    many = []

    def looked(of: Steps) -> Any:
        many.append(len(of.fleet.of("new")))
        raise RolloutError("enough")

    monkeypatch.setattr(Steps, "_look", looked)
    driver.begin("canary", NEW, plan)
    assert many == [2]


def test_a_step_waits_while_there_is_doubt(driver: Driver, said: list[str]) -> None:
    """Three errors of its first 300 requests, where the version before had none of 2,700; then no more of either."""
    steps = (Step(weight=0.1, requests=200), Step(weight=0.5, requests=200, at_most="1s"))
    weights: list[int] = []
    requests = {"old": 0, "new": 0}

    def counted(*_: object, **__: object) -> dict[int, dict[str, Counters]]:
        weights.append(driver.fleet.traffic().weights.get("new", 0))
        for name, share in (("old", WHOLE - weights[-1]), ("new", weights[-1])):
            requests[name] += 3_000 * share // WHOLE
        return {
            1: {"old": Counters(requests["old"]), "new": Counters(requests["new"], 3 if requests["new"] > 300 else 0)}
        }

    driver.fleet.router.counted = counted  # type: ignore[method-assign]
    seconds = iter(range(1_000))
    driver.clock.monotonic = lambda: 10.0 * next(seconds)
    assert driver.begin("canary", NEW, Plan(steps=steps, undecided="rollback")) == "rolled back"
    held = [text for text in said if text.endswith("no more weight while there is doubt: errors")]
    assert held[0].startswith("step 1 of 2 (weight 10%): 300 requests, 3 errors")
    assert weights[-1] == WHOLE // 2, "settled by requests without errors"
    assert weights.count(WHOLE // 10) == len(held) + 3, (
        "before anything is counted, what settled it, and before the next"
    )


def test_a_candidate_that_refuses_what_the_version_before_answers_is_rolled_back(driver: Driver) -> None:
    """Without a single error, by a plan that compares no answers."""
    Asked(driver, 2_000, refuses="new")
    assert driver.begin("rolling", NEW, ROLLING) == "rolled back"
    why = state(driver, 1)[1]
    assert why.startswith("fail: refused: ")
    assert "(canary) against 0 of " in why
    assert serving(driver) == {"old": WHOLE}


def test_a_step_is_not_over_before_its_time(driver: Driver) -> None:
    """All else that is asked for was there at the first look."""
    Asked(driver, 20_000)
    step = Step(weight=0.5, requests=200, at_least="30s", at_most="1min")
    assert driver.begin("canary", NEW, Plan(steps=(step,))) == "promoted", state(driver, 1)
    looks = [event for event in driver.fleet.journal.events(1) if event.kind == "look"]
    assert looks[0].about["verdict"]["outcome"] == "pass"
    assert 30.0 <= Progress.read(driver.fleet.journal.progress(1) or {}).spent < 35.0


def test_those_who_send_a_header_stay_where_they_are_when_it_is_resumed(driver: Driver, said: list[str]) -> None:
    header = {"steps": [{"header": {"name": "x-group", "value": "b"}}], "end": "stay"}
    assert driver.begin("ab", NEW, Plan.model_validate(header)) == "paused"
    assert "  new: 0.0% of requests, those with x-group: b\n" in status.text(driver.fleet)
    driver.fleet.router.retreat()
    said.clear()
    assert driver.resume() == "paused"
    assert any("users stay where they are" in text for text in said)
    assert driver.fleet.traffic().choices


def test_blue_green_has_a_preview_until_it_has_users(
    driver: Driver, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Asked(driver, 2_000)
    how = "curl -i -H 'x-preview: candidate' http://127.0.0.1:8080/v1/timeseries/models"
    shown = []
    looked = Steps._look

    def look(of: Steps) -> Any:
        shown.append((driver.fleet.traffic().choices, status.text(driver.fleet)))
        return looked(of)

    monkeypatch.setattr(Steps, "_look", look)
    assert driver.begin("blue-green", NEW, BLUE_GREEN) == "promoted", state(driver, 1)
    assert {choices for choices, _ in shown} == {(Choice("x-preview", "candidate", "new"),)}
    assert all(
        f"  new: 0.0% of requests, copies of 100%, those with x-preview: candidate\n    {how}\n" in text
        for _, text in shown
    )
    assert f"who sends x-preview: candidate gets {NEW}: {how}" in said
    assert driver.fleet.traffic().choices == ()
    assert "curl -i -H 'x-preview: candidate' ADDRESS" in status.plan("blue-green", NEW, BLUE_GREEN)


def test_a_plan_with_a_weight_has_a_preview_before_it_alone() -> None:
    whole = BLUE_GREEN.model_copy(update={"steps": (*BLUE_GREEN.steps, Step(weight=0.5))})
    assert [whole.header(step) for step in whole.steps] == [BLUE_GREEN.preview, None]


def test_an_instance_that_was_given_up_is_replaced_and_not_waited_for(driver: Driver, tmp_path: Path) -> None:
    journal = driver.fleet.journal
    with upstream("old") as there:
        about = {"kind": INSTANCE, "version": "old", "tag": OLD, "ports": [there.http, there.grpc]}
        journal.want("old-0", about)
        journal.given_up("old-1", "ended 5 times within 60 s")
        version = Version("old", OLD, tmp_path)
        (left,) = Fleet.bring(driver.fleet, version, 1)
    assert left.name == "old-0"
    assert driver.fleet.instances() == [left]


def test_the_newest_bento_needs_no_version_and_ends_what_was_kept(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = versions.take
    monkeypatch.setattr(versions, "take", lambda place, tag: take(place, NEW if tag == "b" else tag))
    add(driver.fleet.journal, "older", 0)
    plan = Plan(steps=(Step(mirror=1.0, at_most="1s"),), undecided="rollback")
    driver.fleet.router.counted = lambda *_, **__: {1: {"old": Counters(), "new": Counters()}}  # type: ignore[method-assign]
    seconds = iter(range(100))
    driver.clock.monotonic = lambda: float(next(seconds))
    assert driver.begin("canary", "b", plan) == "rolled back"
    assert state(driver, 1)[1].startswith("undecided after 1s")
    assert {one.version for one in driver.fleet.instances()} == {"old"}


def test_instances_that_users_cannot_be_brought_to_do_not_stay(driver: Driver, said: list[str]) -> None:
    """A candidate that was given up has a part of the users: what to do about that is said, and nothing else is begun."""
    paused(driver, HALF)
    driver.fleet.journal.given_up("new-0", "ended 5 times within 60 s")
    with pytest.raises(
        RolloutError, match=r"new would get requests, but has no instance: `python -m deploy resume` brings"
    ):
        driver.scale(3)
    assert len(driver.fleet.of("old")) == 2
    driver.ask("abort")
    assert serving(driver) == {"old": WHOLE}


def test_nobody_brings_up_what_another_command_changes(driver: Driver) -> None:
    fleet = driver.fleet
    before = fleet.journal.processes()
    with (
        fleet.place.held(LOCK, ""),
        pytest.raises(BusyError, match="another command drives a rollout: see `python -m deploy status`"),
    ):
        fleet.up(OLD)
    assert fleet.journal.processes() == before


def test_the_autoscaler_has_one_that_was_given_up_replaced(driver: Driver) -> None:
    journal = driver.fleet.journal
    journal.given_up("old-1", "ended 5 times within 60 s")
    scaler = Autoscaler(driver.fleet, Autoscale(least=2))
    for now in (0.0, 15.0):
        scaler.look(now)
    told = journal.last(NO_ROLLOUT, "scale")
    assert told is not None
    assert (told.about["from"], told.about["to"]) == (1, 2)
