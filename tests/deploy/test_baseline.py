"""The stable version's instances that a candidate's latencies are compared with, from the first step to the last."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from data.deployment import CANARY, Plan, Step
from data.rollout import Judgement
from deploy import status
from deploy.fleet import Traffic
from deploy.rollouts.driver import Driver
from deploy.rollouts.progress import Progress
from tests.deploy.driven import NEW, OLD, Asked, add, broken, serving, state
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in BENTOML]

#: The command is gone, whatever it would have done about it.
KILLED = SystemExit


def plan(*weights: float, **changes: Any) -> Plan:
    """Over after 200 requests of each step, or after 5 seconds."""
    steps = tuple(Step(weight=weight, requests=200, at_most="5s") for weight in weights)
    return Plan(steps=steps, undecided="rollback", **changes)


def moves(asked: Asked) -> list[tuple[dict[str, int], dict[str, int]]]:
    """Weights, and how many instances there were last at these."""
    return [
        (dict(weights), many)
        for weights, many in {tuple(weights.items()): many for weights, many in asked.seen}.items()
    ]


def test_it_has_as_much_to_do_as_the_candidate(driver: Driver) -> None:
    """To a half; above, the version before has less to do anyway, and the baseline is gone."""
    asked = Asked(driver, 2_000)
    assert driver.begin("canary", NEW, plan(0.1, 0.5, 0.75)) == "promoted", state(driver, 1)
    assert moves(asked) == [
        ({"old": 10_000}, {"old": 2}),
        ({"old": 8_000, "old_baseline": 1_000, "new": 1_000}, {"old": 2, "old_baseline": 1, "new": 1}),
        ({"old": 0, "old_baseline": 5_000, "new": 5_000}, {"old": 2, "old_baseline": 1, "new": 1}),
        ({"old": 2_500, "new": 7_500}, {"old": 2, "new": 2}),
    ]
    assert {one.version for one in driver.fleet.instances()} == {"new"}
    looks = [event.about for event in driver.fleet.journal.events(1) if event.kind == "look"]
    (split,) = (check for check in looks[-1]["verdict"]["checks"] if check["name"] == "split")
    assert split["outcome"] == "pass", "the baseline's requests are the stable version's"


def test_the_candidate_has_no_more_instances_than_it_where_copies_took_more(driver: Driver) -> None:
    for number in (2, 3):
        add(driver.fleet.journal, "old", number)
    asked = Asked(driver, 2_000)
    assert driver.begin("canary", NEW, CANARY) == "promoted", state(driver, 1)
    many = [
        (weights.get("new", 0), many["old"], many.get("old_baseline", 0), many.get("new", 0))
        for weights, many in moves(asked)
    ]
    assert many == [(0, 4, 0, 0), (0, 4, 0, 4), (1_000, 4, 1, 1), (2_500, 4, 1, 1), (5_000, 4, 2, 2)]


def test_what_was_just_started_warms_up(driver: Driver) -> None:
    for number in (2, 3):
        add(driver.fleet.journal, "old", number)
    asked, slept = Asked(driver, 2_000), list[tuple[float, int]]()

    def sleep(seconds: float) -> None:
        slept.append((seconds, serving(driver).get("new", 0)))

    driver.clock.sleep = sleep
    driver.begin("canary", NEW, plan(0.1, 0.25, 0.5))
    assert [one for one in slept if one[0] != 0.5] == [(3.0, 1_000), (1.0, 2_500), (3.0, 5_000)]
    assert asked.seen[-1][1] == {"old": 4, "old_baseline": 2, "new": 2}


def test_status_tells_of_it(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    Asked(driver, 2_000)
    monkeypatch.setattr(driver.clock, "sleep", lambda _: told.append(status.text(driver.fleet)))
    driver.begin("canary", NEW, plan(0.1))
    assert "  old: 80.0% of requests (stable)\n" in told[-1]
    assert "  old_baseline: 10.0% of requests (stable, beside the candidate)\n" in told[-1]


def test_a_plan_of_before_there_were_any_goes_on_with_one_and_compares_with_nothing_older(driver: Driver) -> None:
    """Its candidate has 2,000 latencies, and the baseline none, when it is resumed."""
    journal, written = driver.fleet.journal, plan(0.1, 0.5).model_dump(mode="json")
    del written["baseline"]
    asked = Asked(driver, 20_000)
    progress = Progress("old", "new", 2)
    progress.take(0, 1.0, copies=False)
    progress.choose_edges(asked.counted(["old"])[1]["old"], Judgement())
    progress.count_from(asked.counted(["old", "new"]))
    journal.put_state(Traffic(2, "old", {"old": 9_000, "new": 1_000}).written())
    progress.add(asked.counted(["old", "new"]))
    number = journal.begin("canary", OLD, NEW, written, progress.written(), 1.0)
    add(journal, "new", 0)
    assert driver.resume() == "promoted", state(driver, number)
    assert moves(asked)[-1][1] == {"old": 2, "old_baseline": 1, "new": 1}


def test_what_it_would_answer_others_do_after_it_was_given_up(driver: Driver) -> None:
    journal = driver.fleet.journal
    number = journal.begin(
        "canary", OLD, NEW, plan(0.1).model_dump(mode="json"), Progress("old", "new", 2).written(), 1.0
    )
    journal.set_state(number, "paused", "asked to pause")
    add(journal, "new", 0)
    add(journal, "old_baseline", 5, OLD)
    journal.put_state(Traffic(2, "old", {"old": 8_000, "old_baseline": 1_000, "new": 1_000}).written())
    journal.given_up("old_baseline-5", "ended 5 times within 60 s")
    driver.scale(3)
    assert driver.fleet.router.weights[-1] == {"old": 9_000, "new": 1_000}  # type: ignore[attr-defined]
    assert serving(driver)["old_baseline"] == 1_000, "for the next one"
    asked = Asked(driver, 2_000)
    assert driver.resume() == "promoted", state(driver, number)
    assert asked.seen[-1][1] == {"old": 3, "old_baseline": 1, "new": 1}


def test_another_comes_for_one_that_is_given_up(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, asked, there = driver.fleet.journal, Asked(driver, 20), list[str]()

    def sleep(_: float) -> None:
        baselines = [one.name for one in driver.fleet.of("old_baseline")]
        there.extend(baselines)
        if there.count("old_baseline-0") == 3:
            journal.given_up("old_baseline-0", "ended 5 times within 60 s")

    monkeypatch.setattr(driver.clock, "sleep", sleep)
    assert driver.begin("canary", NEW, plan(0.1)) == "rolled back", "undecided after so few"
    assert list(dict.fromkeys(there)) == ["old_baseline-0", "old_baseline-1"]
    phases = Progress.read(journal.progress(1) or {}).counted
    assert len(phases) == 2, "what came while there was none is not compared"
    assert asked.seen[-1][1] == {"old": 2, "old_baseline": 1, "new": 1}


def test_one_that_does_not_start_is_told_from_the_candidate(driver: Driver) -> None:
    broken(driver, "old_baseline")
    assert driver.begin("canary", NEW, plan(0.1)) == "rolled back"
    assert state(driver, 1)[1] == (
        "the baseline of b:old, which the candidate is compared with, does not get ready: `baseline: false` in the plan does "
        "without. old_baseline does not start"
    )
    assert {one.version for one in driver.fleet.instances()} == {"old"}


def test_a_step_is_written_down_once_however_often_its_command_is_killed(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    Asked(driver, 2_000)
    begin: Callable[[], str] = functools.partial(driver.begin, "canary", NEW, plan(0.1, 0.25))
    for command in (begin, driver.resume):
        with monkeypatch.context() as patched:
            patched.setattr(type(driver.fleet), "bring", killed)
            with pytest.raises(KILLED):
                command()
    assert driver.resume() == "promoted"
    steps = [event.about["weight"] for event in driver.fleet.journal.events(1) if event.kind == "step"]
    assert steps == [0.1, 0.25]


def killed(*_: object) -> None:
    raise KILLED
