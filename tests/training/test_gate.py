"""A challenger passes only when the numbers say so, and the verdict prints them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.params import Gate
from data.verdict import Check, Outcome
from training import gate

Floats = NDArray[np.float64]

LIMITS = Gate(max_ratio_to_naive=0.9, max_ratio_to_champion=1.02, min_days=10, coverage_tolerance=0.05)
GOOD = {"mae": 3.0, "naive_mae": 6.0, "mae_ratio": 0.5, "coverage_80": 0.81, "coverage_95": 0.94, "width_80": 2.0}


def figures(**changes: float) -> dict[str, float]:
    return GOOD | changes


def errors(seed: int, days: int = 60, a_day: int = 40, factor: float = 1.0) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Errors of two models that share the day's difficulty; the first are `factor` times as large on average."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), a_day)
    shared = np.exp(0.5 * draw.standard_normal(days))[day] * np.exp(0.3 * draw.standard_normal(day.size))
    ours, theirs = (np.abs(shared * (1 + 0.3 * draw.standard_normal(day.size))) for _ in range(2))
    return factor * ours, theirs, day


def check(outcome: Outcome) -> Check:
    return Check(name="MAE / champion's", outcome=outcome, text="it is so")


def test_judge_passes_a_first_model_that_is_good_enough() -> None:
    verdict = gate.judge(GOOD, LIMITS, None)
    assert verdict.passed
    assert str(verdict) == (
        "PASS: MAE / seasonal naive 0.5 <= 0.9 (limit); coverage of the 80% interval 0.81 in 0.75 to 0.85; "
        "coverage of the 95% interval 0.94 in 0.9 to 1"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mae_ratio": 0.91}, "MAE / seasonal naive 0.91 > 0.9 (limit)"),
        ({"coverage_80": 0.74}, "coverage of the 80% interval 0.74 outside 0.75 to 0.85"),
        ({"coverage_80": 0.86}, "coverage of the 80% interval 0.86 outside 0.75 to 0.85"),
        ({"coverage_95": 0.89}, "coverage of the 95% interval 0.89 outside 0.9 to 1"),
    ],
)
def test_judge_fails_a_model_that_is_not_good_enough(changes: dict[str, float], text: str) -> None:
    verdict = gate.judge(figures(**changes), LIMITS, None)
    assert verdict.outcome is Outcome.FAIL
    assert str(verdict).startswith("FAIL: ")
    assert text in str(verdict)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("figure", "name"),
    [
        ("mae_ratio", "MAE / seasonal naive"),
        ("coverage_80", "coverage of the 80% interval"),
        ("coverage_95", "coverage of the 95% interval"),
    ],
)
def test_judge_never_passes_what_is_not_a_number(figure: str, name: str, value: float) -> None:
    verdict = gate.judge(figures(**{figure: value}), LIMITS, check(Outcome.PASS))
    assert verdict.outcome is Outcome.ERROR
    assert f"{name} is {value}, wanted a number" in str(verdict)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_judge_is_no_better_than_the_comparison_with_the_champion(outcome: Outcome) -> None:
    verdict = gate.judge(GOOD, LIMITS, check(outcome))
    assert verdict.outcome is outcome
    assert str(verdict).endswith("; it is so")
    assert gate.judge(figures(mae_ratio=2.0), LIMITS, check(outcome)).outcome is not Outcome.PASS


def test_judge_looks_at_every_level() -> None:
    verdict = gate.judge(figures(coverage_50=0.5, **{"coverage_99.5": 0.9}), LIMITS, None)
    assert verdict.outcome is Outcome.FAIL
    assert "coverage of the 50% interval 0.5 in 0.45 to 0.55" in str(verdict)
    assert "coverage of the 99.5% interval 0.9 outside 0.945 to 1" in str(verdict)


@settings(max_examples=200, deadline=None)
@given(
    values=st.fixed_dictionaries(
        {name: st.one_of(st.floats(0, 2), st.just(math.nan)) for name in ("mae_ratio", "coverage_80", "coverage_95")}
    )
)
def test_judge_passes_exactly_what_is_within_every_limit(values: dict[str, float]) -> None:
    within = (
        values["mae_ratio"] <= 0.9
        and 0.8 - 0.05 <= values["coverage_80"] <= 0.8 + 0.05
        and 0.95 - 0.05 <= values["coverage_95"] <= 1.0
    )
    assert gate.judge(figures(**values), LIMITS, None).passed == within


def test_compare_passes_a_better_challenger_with_its_numbers() -> None:
    ours, theirs, days = errors(1, factor=0.8)
    found = gate.compare(ours, theirs, days, LIMITS)
    assert found.outcome is Outcome.PASS
    numbers = found.numbers
    assert numbers["ratio"] == pytest.approx(ours.sum() / theirs.sum())
    assert numbers["low"] < numbers["ratio"] < numbers["high"] <= numbers["limit"] == 1.02
    assert found.text == (
        f"MAE / champion's {numbers['ratio']:.4f} (95% interval {numbers['low']:.4f} to {numbers['high']:.4f}) "
        "<= 1.02 (limit), 2400 pairs on 60 days"
    )


def test_compare_fails_a_worse_challenger_with_its_numbers() -> None:
    found = gate.compare(*errors(1, factor=1.2), LIMITS)
    assert found.outcome is Outcome.FAIL
    assert found.numbers["low"] > 1.02
    assert ") > 1.02 (limit), 2400 pairs on 60 days" in found.text


def test_compare_does_not_conclude_when_the_interval_holds_the_limit() -> None:
    ours, theirs, days = errors(1, days=12)
    found = gate.compare(ours, theirs, days, LIMITS.model_copy(update={"max_ratio_to_champion": 1.0}))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.numbers["low"] <= 1.0 < found.numbers["high"]
    assert ") around 1 (limit), 480 pairs on 12 days" in found.text


def test_compare_of_a_model_with_itself_passes() -> None:
    ours, _, days = errors(1)
    found = gate.compare(ours, ours, days, LIMITS)
    assert found.outcome is Outcome.PASS
    assert (found.numbers["low"], found.numbers["ratio"], found.numbers["high"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("days", [0, 1, 9])
def test_compare_does_not_conclude_on_too_few_days(days: int) -> None:
    found = gate.compare(*errors(1, days=days, factor=0.1), LIMITS)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.text == f"MAE / champion's: {days} days with forecasts of both < 10 (fewest)"


def test_compare_leaves_out_pairs_without_both_errors() -> None:
    ours, theirs, days = errors(2, factor=0.9)
    hidden = np.random.default_rng(0).random(ours.size) < 0.2
    other = np.random.default_rng(1).random(ours.size) < 0.2
    found = gate.compare(np.where(hidden, np.nan, ours), np.where(other, np.nan, theirs), days, LIMITS)
    known = ~(hidden | other)
    assert found == gate.compare(ours[known], theirs[known], days[known], LIMITS)
    assert f"{known.sum()} pairs on 60 days" in found.text


def test_compare_of_nothing_but_nan_does_not_conclude() -> None:
    ours, theirs, days = errors(2)
    nothing = np.full_like(ours, np.nan)
    for pair in ((nothing, theirs), (ours, nothing)):
        assert gate.compare(*pair, days, LIMITS).outcome is Outcome.INCONCLUSIVE


def test_compare_with_a_champion_without_error_does_not_conclude() -> None:
    ours, theirs, days = errors(2)
    found = gate.compare(ours, np.zeros_like(theirs), days, LIMITS)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.text == "MAE / champion's: the champion made no error on these rows"


@pytest.mark.parametrize("place", [0, 1])
def test_compare_never_passes_an_infinite_error(place: int) -> None:
    ours, theirs, days = errors(2, factor=0.5)
    (ours, theirs)[place][7] = math.inf
    with np.errstate(invalid="ignore"):
        found = gate.compare(ours, theirs, days, LIMITS)
    assert found.outcome is not Outcome.PASS


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    days=st.integers(10, 25),
    a_day=st.integers(1, 3),
    skew=st.floats(0, 3),
    confidence=st.floats(0.001, 0.99),
    off=st.floats(0.98, 1.02),
    hidden=st.sampled_from([0.0, 0.2]),
)
def test_compare_never_decides_against_the_ratio_itself(
    seed: int, days: int, a_day: int, skew: float, confidence: float, off: float, hidden: float
) -> None:
    draw = np.random.default_rng(seed)
    ours, theirs = np.exp(skew * draw.standard_normal((2, days * a_day)))
    ours[draw.random(ours.size) < hidden] = np.nan
    known = ~np.isnan(ours)
    ratio = ours[known].sum() / theirs[known].sum()
    rules = LIMITS.model_copy(update={"confidence": confidence, "max_ratio_to_champion": off * ratio})
    outcome = gate.compare(ours, theirs, np.repeat(np.arange(days), a_day), rules).outcome
    assert outcome is not (Outcome.PASS if off < 1 else Outcome.FAIL)


def test_compare_gives_the_same_verdict_for_the_same_seed() -> None:
    first, again = (gate.compare(*errors(3), LIMITS, seed=5) for _ in range(2))
    assert first == again
    assert first.numbers != gate.compare(*errors(3), LIMITS, seed=6).numbers


def test_compare_resamples_whole_days() -> None:
    """Errors that go together within a day make the interval as wide as one error a day would."""
    draw = np.random.default_rng(4)
    ours, theirs = np.exp(draw.standard_normal((2, 40)))
    alone = gate.compare(ours, theirs, np.arange(40), LIMITS)
    together = gate.compare(np.repeat(ours, 50), np.repeat(theirs, 50), np.repeat(np.arange(40), 50), LIMITS)
    apart = gate.compare(np.repeat(ours, 50), np.repeat(theirs, 50), np.arange(2_000), LIMITS)
    assert together.numbers["low"] == pytest.approx(alone.numbers["low"])
    assert together.numbers["high"] == pytest.approx(alone.numbers["high"])
    width = apart.numbers["high"] - apart.numbers["low"]
    assert width < 0.3 * (together.numbers["high"] - together.numbers["low"])


def outcomes(factor: float, limit: float, runs: int = 200) -> dict[Outcome, float]:
    rules = LIMITS.model_copy(update={"max_ratio_to_champion": limit})
    found: list[Any] = [
        gate.compare(*errors(seed, 30, 12, factor), rules).outcome for seed in range(1_000, 1_000 + runs)
    ]
    return {outcome: found.count(outcome) / runs for outcome in Outcome}


def test_compare_of_equals_at_the_limit_errs_as_seldom_as_promised() -> None:
    """A/A: of two models as good as each other, judged with a limit of 1, about 2.5 % pass and 2.5 % fail."""
    share = outcomes(1.0, 1.0)
    assert 0 < share[Outcome.PASS] <= 0.07
    assert 0 < share[Outcome.FAIL] <= 0.07
    assert share[Outcome.INCONCLUSIVE] >= 0.86


def test_compare_tells_clearly_worse_and_clearly_better_challengers() -> None:
    assert outcomes(1.15, 1.02)[Outcome.FAIL] > 0.95
    assert outcomes(1.15, 1.02)[Outcome.PASS] == 0
    assert outcomes(0.85, 1.02)[Outcome.PASS] > 0.95
