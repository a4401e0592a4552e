"""Verdicts: as good as the worst check, closed when there is nothing to go by, and they print their numbers."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.verdict import Check, Outcome, Verdict

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
OUTCOMES = st.lists(st.sampled_from(Outcome), max_size=6)


def check(outcome: Outcome, text: str = "text") -> Check:
    return Check(name="name", outcome=outcome, text=text)


@given(NUMBERS, NUMBERS)
def test_at_most_passes_up_to_the_limit(value: float, limit: float) -> None:
    made = Check.at_most("p95", value, limit, " ms")
    assert made.outcome is (Outcome.PASS if value <= limit else Outcome.FAIL)
    assert made.numbers == {"value": value, "limit": limit}


@given(NUMBERS, NUMBERS, NUMBERS)
def test_between_passes_from_low_to_high(value: float, low: float, high: float) -> None:
    made = Check.between("coverage", value, low, high)
    assert made.outcome is (Outcome.PASS if low <= value <= high else Outcome.FAIL)
    assert made.numbers == {"value": value, "low": low, "high": high}


@given(NUMBERS)
def test_limits_themselves_pass(limit: float) -> None:
    assert Check.at_most("p95", limit, limit).outcome is Outcome.PASS
    assert Check.between("coverage", limit, limit, math.inf).outcome is Outcome.PASS
    assert Check.between("coverage", limit, -math.inf, limit).outcome is Outcome.PASS


def test_checks_print_their_numbers() -> None:
    assert Check.at_most("p95", 812, 500, " ms").text == "p95 812 ms > 500 ms (limit)"
    assert Check.at_most("ratio", 0.98765, 1.02).text == "ratio 0.9877 <= 1.02 (limit)"
    assert Check.between("coverage", 0.9, 0.85, 0.95).text == "coverage 0.9 in 0.85 to 0.95"
    assert Check.between("coverage", 0.5, 0.85, 0.95).text == "coverage 0.5 outside 0.85 to 0.95"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_finite_number_is_an_error(value: float) -> None:
    for made in (Check.at_most("p95", value, 500), Check.between("p95", value, -math.inf, math.inf)):
        assert made.outcome is Outcome.ERROR
        assert made.text == f"p95 is {value}, wanted a number"
        assert not any(map(math.isnan, made.numbers.values()))
        assert not Verdict.of([check(Outcome.PASS), made]).passed


@pytest.mark.parametrize(("low", "high"), [(math.nan, 1.0), (0.0, math.nan), (math.nan, math.nan)])
def test_limit_that_is_not_a_number_does_not_pass(low: float, high: float) -> None:
    assert Check.between("share", 0.5, low, high).outcome is not Outcome.PASS
    assert Check.at_most("share", 0.5, math.nan).outcome is not Outcome.PASS


def test_verdict_without_checks_never_passes() -> None:
    assert not Verdict(outcome=Outcome.PASS, checks=()).passed


@given(OUTCOMES)
def test_verdict_passes_only_if_every_check_does(outcomes: list[Outcome]) -> None:
    verdict = Verdict.of([check(outcome) for outcome in outcomes])
    assert verdict.passed == (bool(outcomes) and all(outcome is Outcome.PASS for outcome in outcomes))
    assert verdict.passed == (verdict.outcome is Outcome.PASS)


@given(OUTCOMES.flatmap(lambda outcomes: st.tuples(st.just(outcomes), st.permutations(outcomes))))
def test_verdict_does_not_depend_on_the_order_of_checks(orders: tuple[list[Outcome], list[Outcome]]) -> None:
    one, other = (Verdict.of([check(outcome) for outcome in order]).outcome for order in orders)
    assert one is other


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        ([], "inconclusive"),
        (["pass", "inconclusive"], "inconclusive"),
        (["inconclusive", "fail", "pass"], "fail"),
        (["error", "fail"], "error"),
        (["pass", "error"], "error"),
        (["pass", "pass"], "pass"),
    ],
)
def test_verdict_is_as_good_as_the_worst_check(outcomes: list[str], worst: str) -> None:
    assert Verdict.of([check(Outcome(outcome)) for outcome in outcomes]).outcome == worst


def test_verdict_prints_every_check() -> None:
    checks = [check(Outcome.PASS, "p50 3 ms <= 5 ms (limit)"), Check.at_most("p95", 812, 500, " ms")]
    assert str(Verdict.of(checks)) == "FAIL: p50 3 ms <= 5 ms (limit); p95 812 ms > 500 ms (limit)"


def test_verdict_comes_back_from_json() -> None:
    verdict = Verdict.of([Check.at_most("p95", 812, 500), Check.between("coverage", math.nan, 0, 1)])
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    assert json.loads(verdict.model_dump_json())["outcome"] == "error"


def test_verdict_comes_back_from_json_with_numbers_that_are_none() -> None:
    numbers = {"value": 0.1, "low": -math.inf, "high": math.nan}
    verdict = Verdict.of([Check(name="error", outcome=Outcome.PASS, text="too few days", numbers=numbers)])
    (back,) = Verdict.model_validate_json(verdict.model_dump_json()).checks
    assert back.numbers["value"] == 0.1
    assert math.isnan(back.numbers["low"])
    assert math.isnan(back.numbers["high"])


def test_verdict_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Verdict.of([]).outcome = Outcome.PASS  # type: ignore[misc]
