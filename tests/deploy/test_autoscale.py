"""How many instances are wanted, and that they come under real load and go after it without a lost request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.deployment import Autoscale, Deploy
from deploy.autoscale import Window, busy, wanted
from tests.deploy.fleet import Deployment, Users, kill, wait_for
from tests.loadtests.store import Store

PLAN = Autoscale(least=1, most=4, target=0.6)


@pytest.mark.parametrize(
    ("cores", "many"),
    [(0.0, 1), (0.59, 1), (0.6, 1), (0.61, 2), (1.2, 2), (1.8, 3), (1.9, 4), (50.0, 4)],
)
def test_as_many_as_it_takes_for_the_target(cores: float, many: int) -> None:
    assert wanted(cores, PLAN) == many


@given(st.floats(0, 300), st.integers(1, 20), st.integers(0, 20), st.floats(0.01, 0.99))
def test_no_more_than_the_limits_and_never_overused_within_them(
    cores: float, least: int, more: int, target: float
) -> None:
    plan = Autoscale(least=least, most=least + more, target=target)
    many = wanted(cores, plan)
    assert plan.least <= many <= plan.most
    assert many == plan.most or cores / many <= target * (1 + 1e-5)
    assert many == plan.least or cores / (many - 1) > target * (1 - 1e-5)


def test_what_started_or_ended_meanwhile_is_no_load() -> None:
    before = {(1, 0.0): 10.0, (2, 0.0): 5.0, (3, 0.0): 7.0}
    after = {(1, 0.0): 11.0, (2, 9.0): 50.0, (4, 0.0): 3.0, (3, 0.0): 7.5}
    assert busy(before, after, 2.0) == 0.75


def test_more_at_once_and_fewer_only_after_a_while() -> None:
    window = Window(60.0)
    there, seen = 1, []
    for second, many in ((0, 1), (15, 3), (30, 1), (45, 2), (60, 1), (75, 1), (90, 1), (105, 1), (120, 1)):
        window.add(float(second), many)
        there = window.decide(there)
        seen.append(there)
    assert seen == [1, 3, 3, 3, 3, 3, 2, 2, 1]


def test_a_new_process_waits_for_a_whole_window() -> None:
    window = Window(60.0)
    for second in (1000, 1030, 1059):
        window.add(float(second), 1)
        assert window.decide(4) == 4
    window.add(1060.0, 1)
    assert window.decide(4) == 1


def test_limits_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"got most 1 with least 2, wanted as many or more"):
        Deploy.model_validate({"autoscale": {"least": 2, "most": 1}})


@pytest.fixture(scope="module")
def scaled(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """By a target that any load is above, on however busy a machine."""
    plan = {"least": 1, "most": 2, "target": 0.12, "every": "3s", "down_after": "9s"}
    made = Deployment.make(store, tmp_path_factory.mktemp("scaled"), autoscale=plan)
    done = made.run("up", store.tag)
    assert done.returncode == 0, done.stderr
    try:
        yield made
    finally:
        made.end()
        assert not made.processes(""), "something was left running"


@pytest.mark.services
def test_it_grows_under_load_and_shrinks_after_it(scaled: Deployment, body: dict[str, Any]) -> None:
    with Users.asking(scaled.url, body, many=1, pause_seconds=1.0) as few:
        with Users.asking(scaled.url, body, many=4) as many:
            wait_for(lambda: len(scaled.processes(f"{scaled.stable}-2")) > 0, "no second instance is started")
            for kind in ("keeper", "autoscaler"):
                for process in scaled.processes(kind):
                    kill(process)
            assert scaled.run("up", scaled.store.tag).returncode == 0  # starts another keeper
            wait_for(lambda: scaled.status().count(": ready") == 2, "the second instance does not get ready")
        assert set(many.answered) == {200}
        wait_for(lambda: scaled.status().count(": ready") == 1, "it does not shrink")
        assert "autoscaling: 1 to 2 instances, used 12%; last " in scaled.status()
        assert ": 2 -> 1 at " in scaled.status()
    assert set(few.answered) == {200}


@pytest.mark.services
def test_a_number_turns_it_off_until_auto(scaled: Deployment) -> None:
    assert scaled.run("scale", "1").returncode == 0
    assert "autoscaling" not in scaled.status()
    assert not scaled.processes("autoscaler")
    assert scaled.run("scale", "auto").returncode == 0
    wait_for(lambda: len(scaled.processes("autoscaler")) == 1, "it is not started")
    assert "autoscaling: 1 to 2" in scaled.status()
