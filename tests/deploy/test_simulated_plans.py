"""Simulated rollouts by a plan: steps that wait keep harm at a small weight, and cost a good canary little."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from data.deployment import Plan, Step
from data.rollout import Judgement
from data.verdict import Outcome
from deploy.judging import judge
from deploy.rollouts.states import PAUSED, PROMOTED, ROLLED_BACK
from deploy.simulation import drawn, plans
from deploy.simulation.drawn import Truth, draw
from deploy.simulation.judged import first_harm, phases_after
from deploy.simulation.plans import FEW, Ended, Result, roll_out

SAME = Truth("the same version", errors=FEW, stable_errors=FEW)
SLOWER = Truth("30 % slower", errors=FEW, stable_errors=FEW, slower=1.3)
ROOT = Path(__file__).parents[2]


def ended(truth: Truth, rollouts: int, *, waits: bool) -> list[Ended]:
    return [roll_out(truth, np.random.default_rng([3, number]), waits=waits) for number in range(rollouts)]


def test_what_is_slower_is_found_at_a_smaller_weight() -> None:
    with_waiting, without = (ended(SLOWER, 8, waits=waits) for waits in (True, False))
    assert {one.state for one in (*with_waiting, *without)} == {ROLLED_BACK}
    assert sum(one.step == 1 for one in with_waiting) >= 5
    assert sum(one.step == 1 for one in without) <= 3
    assert max(one.step for one in with_waiting) < 3


def test_waiting_takes_little_of_a_good_canary_s_time() -> None:
    with_waiting, without = (ended(SAME, 5, waits=waits) for waits in (True, False))
    assert {one.state for one in (*with_waiting, *without)} == {PROMOTED}
    assert np.median([one.requests for one in with_waiting]) <= 1.1 * np.median([one.requests for one in without])


def test_few_events_in_clusters_hold_up_no_good_canary() -> None:
    judgement = Judgement(cluster=20)
    plan = Plan(steps=(Step(weight=0.1, requests=200), Step(weight=0.5, requests=200)))
    each = [roll_out(SAME, np.random.default_rng([4, number]), judgement, plan) for number in range(8)]
    assert sum(one.step == 0 for one in each) <= 1


@pytest.mark.parametrize("waits", [True, False])
def test_a_step_has_its_requests(*, waits: bool) -> None:
    plan = Plan(steps=(Step(weight=0.5, requests=5_000),))
    once = roll_out(SAME, np.random.default_rng(1), plan=plan, waits=waits)
    assert once.state == PROMOTED
    assert 9_600 <= once.requests <= 20_000


def test_a_step_that_cannot_have_its_requests_is_undecided() -> None:
    many = Plan(steps=(Step(weight=0.1, requests=plans.MOST),))
    assert roll_out(SAME, np.random.default_rng(1), plan=many) == Ended(PAUSED, 0, plans.MOST)


@pytest.mark.parametrize("truth", [SLOWER, Truth("thrice as slow", slower=3.0), Truth("bad", errors=0.3)])
@pytest.mark.parametrize("baseline", [False, True])
def test_evidence_along_copies_and_weights_is_what_the_judge_finds(truth: Truth, *, baseline: bool) -> None:
    steps = (drawn.Step(0.5, 300, copies=True), drawn.Step(0.1, 9_000, baseline=baseline))
    rollout = draw(truth, steps, np.random.default_rng(5))
    first = first_harm(rollout, Judgement())
    for requests in [one for one in (200, 300, 301, 700, 3_000, int(first) - 1) if one < first] + [int(first)]:
        verdict = judge.judge(phases_after(rollout, requests), rollout.edges, Judgement())
        assert (verdict.outcome is Outcome.FAIL) == (requests == first)


def test_a_baseline_gets_as_many_requests_as_the_canary() -> None:
    steps = (drawn.Step(0.1, 100_000, baseline=True), drawn.Step(0.5, 10_000, baseline=True))
    small, half = draw(SAME, steps, np.random.default_rng(3)).steps
    assert small.canary.mean() == pytest.approx(0.1, abs=0.005)
    assert small.beside.mean() == pytest.approx(0.1, abs=0.005)
    assert not (small.beside & small.canary).any()
    assert (half.beside == ~half.canary).all()


def test_a_part_of_the_requests_is_slower() -> None:
    truth = Truth("three of ten slower", slower=1.74, slowed=0.3)
    (step,) = draw(truth, (drawn.Step(0.5, 200_000),), np.random.default_rng(2)).steps
    tails = [np.percentile(step.over[own], 95) for own in (step.canary, ~step.canary)]
    assert 1.1 ** (tails[0] - tails[1]) == pytest.approx(1.3, rel=0.06)
    middles = [np.percentile(step.over[own], 50) for own in (step.canary, ~step.canary)]
    assert 1.1 ** (middles[0] - middles[1]) < 1.3


def test_the_table_of_plans() -> None:
    each = (Ended(ROLLED_BACK, 0, 900), Ended(ROLLED_BACK, 3, 2_000), Ended(PROMOTED, 4, 6_000), Ended(PAUSED, 0, 9))
    lines = plans.table([Result(SAME, waits=True, ended=each)]).splitlines()
    assert lines[0].startswith(
        "| canary | steps wait | back at copies of 100% | back at weight 10% | back at weight 25% |"
    )
    assert lines[-1] == "| the same version | yes | 25.0% | 0.0% | 0.0% | 25.0% | 25.0% | 25.0% | 1,450 |"
    assert len({line.count("|") for line in lines}) == 1


def _at_work(pid: int) -> bool:
    """Whether all that a command has started has begun to simulate: earlier, Ctrl-C may meet it in Python's own beginning."""
    workers = psutil.Process(pid).children()
    return bool(workers) and all(sum(one.cpu_times()[:2]) > 0.5 for one in workers)


def test_the_command_prints_both_tables_and_ends_at_ctrl_c() -> None:
    command = [sys.executable, "-m", "deploy", "simulate", "--rollouts", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("| canary |") == 2
    assert "30 % slower: 1 rollouts by plan, steps wait" in done.stderr
    long = [*command[:-1], "100000"]
    with subprocess.Popen(long, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        late = time.monotonic() + 60
        while not _at_work(running.pid):
            assert running.poll() is None
            assert time.monotonic() < late
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert told.strip().splitlines() == ["error: interrupted"]
