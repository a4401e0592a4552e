"""Simulated rollouts: the arrays are what the judge says, and few of them err."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from data.rollout import Judgement
from data.verdict import Outcome
from deploy.judging.judge import limit
from deploy.simulation.drawn import GRID, Drawn, Rollout, Step, Truth, draw
from deploy.simulation.judged import Result, first_harm, first_pass, harm, simulate, table, verdict_after

USUAL = Judgement()
SHORT = (Step(0.1, 600), Step(0.25, 600), Step(0.5, 600))
SAME = Truth("the same version")
#: Within all that is tolerated, and as near to its limits as can be.
EDGE = Truth(
    "at every tolerated limit",
    errors=0.02,
    stable_errors=0.02,
    refused=0.05,
    stable_refused=0.05,
    slower=1.1,
    differ=0.01,
    worse=0.55,
)
REFUSES = Truth("refuses", refused=0.05, stable_refused=0.01)


@pytest.mark.parametrize("truth", [SAME, EDGE, Truth("bad", errors=0.1, slower=1.5, differ=0.1, worse=0.8), REFUSES])
def test_evidence_along_the_requests_is_what_the_judge_finds(truth: Truth) -> None:
    rollout = draw(truth, SHORT, np.random.default_rng(3))
    along = harm(rollout, USUAL)
    for requests in (1, 17, 600, 601, 1_300, 1_800):
        failing = any(told[requests - 1] >= limit(USUAL, part) for part, told in along.items())
        assert failing == (verdict_after(rollout, requests, USUAL).outcome in {Outcome.FAIL, Outcome.ERROR})


def test_the_first_harm_is_where_the_judge_first_fails() -> None:
    rollout = draw(Truth("bad", errors=0.3), (Step(0.25, 400),), np.random.default_rng(4))
    first = int(first_harm(rollout, USUAL))
    assert verdict_after(rollout, first, USUAL).outcome is Outcome.FAIL
    assert verdict_after(rollout, first - 1, USUAL).outcome is Outcome.INCONCLUSIVE


def test_three_hundred_canaries_no_worse_looked_at_after_every_request() -> None:
    for truth in (SAME, EDGE):
        false = np.isfinite(simulate(truth, SHORT, rollouts=300, every=0).failed).sum()
        assert false <= stats.binom.ppf(0.999, 300, USUAL.alpha)


def test_bursts_that_count_as_one_do_not_fail_a_canary() -> None:
    truth = Truth("bursts", errors=0.05, stable_errors=0.05, burst=5)
    as_one = Judgement(cluster=5)
    false = [np.isfinite(simulate(truth, SHORT, told, rollouts=100, every=0).failed).mean() for told in (USUAL, as_one)]
    assert false[0] > 0.1
    assert false[1] <= 0.05


@pytest.mark.parametrize("cluster", [1, 5])
def test_evidence_of_clusters_is_what_the_judge_finds(cluster: int) -> None:
    told = Judgement(cluster=cluster)
    rollout = draw(Truth("bad", errors=0.2, slower=1.5), SHORT, np.random.default_rng(8))
    first = int(first_harm(rollout, told))
    assert verdict_after(rollout, first, told).outcome is Outcome.FAIL
    assert verdict_after(rollout, first - 1, told).outcome is Outcome.INCONCLUSIVE


def test_a_canary_that_fails_more_often_is_found() -> None:
    found = simulate(Truth("bad", errors=0.05), (Step(0.1, 6_000),), rollouts=50, every=0)
    assert found.failing == 1.0
    assert np.median(found.failed) <= 1_700


def test_a_canary_that_refuses_more_is_found_and_users_own_bad_requests_are_not_its_fault() -> None:
    assert simulate(REFUSES, (Step(0.1, 6_000),), rollouts=50, every=0).failing >= 0.95
    same = replace(REFUSES, refused=0.3, stable_refused=0.3)
    assert simulate(same, SHORT, rollouts=100, every=0).failing <= 0.03


def test_a_canary_like_the_stable_version_passes_in_time() -> None:
    few = Truth("few errors", errors=0.0005, stable_errors=0.0005)
    passed = simulate(few, (Step(0.25, 4_000), Step(0.5, 4_000)), rollouts=20, every=1_000)
    assert passed.passing >= 0.9


def test_the_same_seed_is_the_same_rollout() -> None:
    one, other = (simulate(EDGE, SHORT, rollouts=3, seed=5, every=900) for _ in range(2))
    assert list(one.failed) == list(other.failed)
    assert list(one.passed) == list(other.passed)


def test_versions_are_as_they_should_be() -> None:
    truth = replace(EDGE, slower=1.5, burst=4)
    rollout = draw(truth, (Step(0.5, 40_000),), np.random.default_rng(6))
    (step,) = rollout.steps
    assert step.canary.mean() == pytest.approx(0.5, abs=0.01)
    assert step.error[step.canary].mean() == pytest.approx(0.02, abs=0.005)
    assert step.error[~step.canary].mean() == pytest.approx(0.02, abs=0.005)
    middle = [np.median(step.over[own]) for own in (step.canary, ~step.canary)]
    assert middle[0] - middle[1] == round(math.log(1.5) / math.log(1.1))
    assert rollout.differ.mean() == pytest.approx(0.01, abs=0.005)
    assert rollout.worse.mean() == pytest.approx(0.55, abs=0.03)


def test_errors_come_in_bursts() -> None:
    (step,) = draw(Truth("bursts", burst=5), (Step(0.5, 20_000),), np.random.default_rng(7)).steps
    own = step.error[step.canary].astype(int)
    starts = int((np.diff(own) == 1).sum())
    assert own.sum() / starts == pytest.approx(5, rel=0.2)


def test_a_rollout_without_any_event() -> None:
    nothing = np.zeros(50, dtype=np.bool_)
    calm = Drawn(
        0.5,
        copies=False,
        canary=np.arange(50) % 2 == 0,
        baseline=None,
        error=nothing,
        refused=nothing,
        over=np.zeros(50, dtype=np.int64),
    )
    rollout = Rollout((calm,), GRID[:1], nothing[:5], nothing[:5])
    assert first_harm(rollout, USUAL) == math.inf
    assert first_pass(rollout, USUAL, 50) == math.inf


def test_the_table_of_results() -> None:
    found = Result(SAME, SHORT, np.array([math.inf, 100.0, math.inf]), np.array([900.0, math.inf, 700.0]))
    assert table([found]).splitlines()[-1] == (
        "| the same version | 10%, 25%, 50% | 1,800 | 3 | 33.3% | - | 66.7% | 900 |"
    )
    assert len({line.count("|") for line in table([found]).splitlines()}) == 1
