"""How often the load gate errs over all its looks, in simulated gates whose noise is that of real ones, or more."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from data.loadtest import LoadLimits
from data.verdict import Outcome, Verdict
from loadtests.gate.judge import RATIOS, Round, judge, settled
from tests.loadtests.gate.candidates import CONFIDENCE, LOOKS, USUAL, different, faulty

Floats = NDArray[np.float64]

#: The default ones, wide enough for the noise below to pass in 40 rounds.
LIMITS = LoadLimits()
AT_LIMITS: dict[str, float] = {name: getattr(LIMITS, name) for name in RATIOS}
#: Standard deviation over rounds of the log ratio of the same version measured twice; docs/decisions/0010-load-gate.md.
NOISE = {"p50": 0.05, "p95": 0.16, "p99": 0.25, "throughput": 0.05, "processor": 0.05, "memory": 0.01}


def noise(draw: np.random.Generator, spread: float) -> tuple[Floats, Floats]:
    """Log factors of baseline and candidate per round: slots one after the other that resemble each other.

    An autoregressive process (coefficient 0.5) over two slots a round, handed out in random order, so that the
    log ratio has the wanted standard deviation.
    """
    slots = draw.standard_normal(2 * LOOKS[-1])
    for at in range(1, slots.size):
        slots[at] = 0.5 * slots[at - 1] + math.sqrt(0.75) * slots[at]
    pairs = draw.permuted(slots.reshape(-1, 2), axis=1) * spread  # their difference has a variance of 2 (1 - 0.5)
    return pairs[:, 0], pairs[:, 1]


def simulated(draw: np.random.Generator, ratios: dict[str, float], faults: tuple[float, float]) -> list[Round]:
    sides: tuple[dict[str, Floats], dict[str, Floats]] = ({}, {})
    for name, spread in NOISE.items():
        base: float = getattr(USUAL, name)
        for side, logs, ratio in zip(sides, noise(draw, spread), (1.0, ratios.get(name, 1.0)), strict=True):
            side[name] = base * ratio * np.exp(logs)
    bad = draw.binomial(USUAL.asked, faults, size=(LOOKS[-1], 2)).tolist()
    return [
        Round(
            *(
                different(faults=own, **{name: side[name][at] for name in side})
                for own, side in zip(two, sides, strict=True)
            )
        )
        for at, two in enumerate(bad)
    ]


def gate(rounds: list[Round]) -> Verdict:
    """What the gate says at the first look that settles it, or at the last."""
    for look in LOOKS:
        verdict = judge(rounds[:look], LIMITS, CONFIDENCE, len(LOOKS))
        if settled(verdict):
            break
    return verdict


def outcomes(times: int, ratios: dict[str, float], faults: tuple[float, float] = (0.0, 0.0)) -> Counter[Outcome]:
    """How often the gate says what of a candidate with these ratios and shares of faults (baseline's and its own)."""
    draw = np.random.default_rng(11)
    return Counter(gate(simulated(draw, ratios, faults)).outcome for _ in range(times))


def few_enough(wrong: int, times: int, chance: float) -> bool:
    """Whether so many wrong verdicts are no surprise (one in ten thousand) if each has this chance."""
    return bool(wrong <= stats.binom.isf(1e-4, times, chance))


def test_the_noise_is_as_large_as_it_says() -> None:
    draw = np.random.default_rng(11)
    logs = np.array([np.subtract(*noise(draw, 0.1)) for _ in range(300)])
    assert logs.std() == pytest.approx(0.1, rel=0.03)


def test_an_unchanged_candidate_hardly_ever_fails() -> None:
    seen = outcomes(800, {}, (0.001, 0.001))
    assert seen[Outcome.FAIL] < 0.01 * 800


def test_an_unchanged_candidate_passes() -> None:
    seen = outcomes(200, {})
    assert seen[Outcome.PASS] > 0.95 * 200


def test_a_candidate_at_every_limit_seldom_fails() -> None:
    seen = outcomes(500, AT_LIMITS, (0.001, 0.002))
    assert few_enough(seen[Outcome.FAIL], 500, 0.05)
    assert few_enough(seen[Outcome.PASS], 500, 0.001)


@pytest.mark.parametrize("name", RATIOS)
def test_a_candidate_just_beyond_one_limit_seldom_passes(name: str) -> None:
    """All else is so much better that only this figure decides."""
    better = {other: 1.25 if other == "throughput" else 0.8 for other in RATIOS}
    beyond = AT_LIMITS[name] * (0.999 if name == "throughput" else 1.001)
    assert few_enough(outcomes(150, {**better, name: beyond})[Outcome.PASS], 150, 0.05)


def test_a_candidate_with_just_too_many_faults_seldom_passes() -> None:
    better = {other: 1.25 if other == "throughput" else 0.8 for other in RATIOS}
    assert few_enough(outcomes(150, better, (0.001, 0.00201))[Outcome.PASS], 150, 0.05)


def test_a_candidate_ten_percent_slower_is_found() -> None:
    seen = outcomes(150, {"p50": 1.05, "throughput": 0.91, "processor": 1.10})
    assert seen[Outcome.FAIL] > 0.99 * 150


def test_bursts_that_hit_either_version_hardly_ever_fail_it() -> None:
    """Where faults were taken to be independent, a fifth to a quarter of unchanged candidates failed."""
    draw = np.random.default_rng(5)
    failed = 0
    for _ in range(500):
        lost = np.where(draw.random((2, 40)) < 0.02, draw.binomial(1_000, 0.05, (2, 40)), 0)
        failed += faulty(lost[0].tolist(), lost[1].tolist()).outcome is Outcome.FAIL
    assert failed == 0
