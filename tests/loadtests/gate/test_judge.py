"""The rule of the load gate: its texts, what it cannot judge, what it concludes, when it looks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.verdict import Check, Outcome, Verdict
from loadtests.gate.intervals import difference_of_shares, signed_rank
from loadtests.gate.judge import FIGURES, RATIOS, Levels, Round, fewest, judge, looks, settled
from tests.loadtests.gate.candidates import (
    CONFIDENCE,
    LIMITS,
    LOOKS,
    UNJUDGED,
    USUAL,
    Limits,
    check,
    check_of,
    different,
    faulty,
    only,
    rounds_of,
)

# --- Texts


@pytest.mark.parametrize(
    ("name", "ratios", "limit", "outcome", "text"),
    [
        ("p95", (0.98, 1.02), 1.1, "pass", "1.000 (0.980 to 1.000) <= 1.1 (limit), 27 rounds"),
        ("p95", (1.2, 1.3), 1.1, "fail", "1.249 (1.200 to 1.249) > 1.1 (limit), 27 rounds"),
        ("p95", (1.0, 1.2, 1.1), 1.1, "inconclusive", "1.095 (1.049 to 1.149) around 1.1 (limit), 27 rounds"),
        ("throughput", (0.98, 1.02), 0.9, "pass", "1.000 (0.980 to 1.000) >= 0.9 (limit), 27 rounds"),
        ("throughput", (0.7, 0.8), 0.9, "fail", "0.748 (0.700 to 0.748) < 0.9 (limit), 27 rounds"),
        ("throughput", (0.8, 1.0, 0.9), 0.9, "inconclusive", "0.894 (0.849 to 0.949) around 0.9 (limit), 27 rounds"),
    ],
)
def test_a_ratio_says_what_decided_it(
    name: str, ratios: tuple[float, ...], limit: float, outcome: str, text: str
) -> None:
    made = check(name, ratios, limit)
    assert (made.outcome, made.text) == (outcome, f"{name} {text}")


@pytest.mark.parametrize(
    ("faults", "outcome", "text"),
    [
        (0, "pass", "+0.0000 (-0.0002 to +0.0002) <= 0.001 (limit), 0 of 27,000 requests against 0 of 27,000"),
        (9, "fail", "+0.0090 (+0.0078 to +0.0104) > 0.001 (limit), 243 of 27,000 requests against 0 of 27,000"),
        (
            1,
            "inconclusive",
            "+0.0010 (+0.0006 to +0.0015) around 0.001 (limit), 27 of 27,000 requests against 0 of 27,000",
        ),
    ],
)
def test_errors_say_what_decided_them(faults: int, outcome: str, text: str) -> None:
    rounds = [Round(USUAL, different(faults=faults))] * 27
    made = check_of(judge(rounds, only("errors", 0.001), CONFIDENCE, 4), "errors")
    assert (made.outcome, made.text) == (outcome, f"errors {text}, 27 rounds")


def test_too_few_rounds_are_inconclusive_and_leave_infinite_numbers_out() -> None:
    made = check("p95", (1.2,), 1.1, count=1)
    assert (made.outcome, made.text) == ("inconclusive", "p95 1.200 (0.000 to inf) around 1.1 (limit), 1 round")
    assert "high" not in made.numbers
    assert Check.model_validate_json(made.model_dump_json()) == made


def test_numbers_of_a_ratio() -> None:
    made = check("p95", (0.9, 1.0, 1.1), 1.2)
    assert made.numbers == pytest.approx(
        {
            **signed_rank(np.array([0.9, 1.0, 1.1] * 9), 0.05 / 4, 0.05 / 4)._asdict(),
            "limit": 1.2,
            "rounds": 27,
            "baseline": 0.02,
            "candidate": 0.02,
        }
    )


def test_numbers_of_errors_are_shares_of_all_requests() -> None:
    rounds = [Round(different(faults=1), different(faults=4, asked=2_000))] * 12
    made = check_of(judge(rounds, only("errors", 0.01), CONFIDENCE, 4), "errors")
    interval = difference_of_shares(48, 24_000, 12, 12_000, 0.0125, 0.0125)
    others = {"limit": 0.01, "rounds": 12, "baseline": 0.001, "candidate": 0.002}
    assert made.numbers == pytest.approx({**interval._asdict(), **others})


def test_what_has_no_limit_is_measured_and_keeps_nothing_from_passing() -> None:
    verdict = judge(rounds_of(27, "memory", (3.0,)), only("p50", 1.05), CONFIDENCE, 4)
    made = check_of(verdict, "memory")
    assert made.text == "memory 3.000 (3.000 to 3.000), not judged, 27 rounds"
    assert "limit" not in made.numbers
    assert made.numbers["candidate"] == 6e8
    assert verdict.passed


# --- Nothing to judge by


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"asked": 0}, "no requests to the candidate in round 3"),
        ({"faults": 1_001}, "1001 faults of 1000 requests to the candidate in round 3"),
        ({"faults": -1}, "-1 faults of 1000 requests to the candidate in round 3"),
    ],
)
def test_a_round_that_was_none_is_an_error_of_all_figures(wrong: dict[str, int], text: str) -> None:
    rounds = rounds_of(27)
    rounds[2] = Round(USUAL, different(**wrong))
    verdict = judge(rounds, LIMITS, CONFIDENCE, 4)
    assert [check.text for check in verdict.checks] == [f"{name}: {text}" for name in FIGURES]
    assert {check.outcome for check in verdict.checks} == {Outcome.ERROR}


def test_no_rounds_are_an_error() -> None:
    verdict = judge([], LIMITS, CONFIDENCE, 4)
    assert verdict.outcome is Outcome.ERROR
    assert str(verdict) == "ERROR: " + "; ".join(f"{name}: no rounds" for name in FIGURES)


@pytest.mark.parametrize("limits", [LIMITS, only("p50", 1.05)])
@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
@pytest.mark.parametrize("name", RATIOS)
def test_a_figure_that_is_not_a_number_is_an_error(name: str, value: float, limits: Limits) -> None:
    rounds = rounds_of(27)
    rounds[1] = Round(different(**{name: value}), USUAL)
    verdict = judge(rounds, limits, CONFIDENCE, 4)
    assert verdict.outcome is Outcome.ERROR
    assert check_of(verdict, name).text == f"{name}: the baseline has {value:g} in round 2, wanted a number above 0"
    assert {check.outcome for check in verdict.checks if check.name != name} == {Outcome.PASS}


@pytest.mark.parametrize(
    ("limits", "confidence", "times", "message"),
    [
        (
            UNJUDGED,
            0.95,
            4,
            "nothing to judge: give a limit to one or more of p50, p95, p99, throughput, processor, memory",
        ),
        (LIMITS, 1.0, 4, "got a confidence of 1, wanted one from 0.5 to below 1"),
        (LIMITS, math.nan, 4, "got a confidence of nan, wanted one from 0.5 to below 1"),
        (LIMITS, 0.95, 0, "got 0 looks, wanted one or more"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(limits: Limits, confidence: float, times: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(rounds_of(27), limits, confidence, times)


# --- The rule


def test_a_figure_at_its_limit_in_every_round_passes() -> None:
    assert check("processor", (1.05,), 1.05).outcome is Outcome.PASS
    assert check("throughput", (0.95,), 0.95).outcome is Outcome.PASS


def test_failing_is_corrected_for_figures_and_passing_is_not() -> None:
    draw = np.random.default_rng(0)
    rounds = rounds_of(27, "p50", tuple(np.exp(0.1 * draw.standard_normal(27))))
    ratios = np.array([one.candidate.p50 / one.baseline.p50 for one in rounds])
    alone = check_of(judge(rounds, only("p50", 1.5), CONFIDENCE, 4), "p50").numbers
    among = check_of(judge(rounds, replace(LIMITS, memory=None), CONFIDENCE, 4), "p50").numbers
    assert (alone["low"], alone["high"]) == signed_rank(ratios, 0.05 / 4, 0.05 / 4)[1:]
    assert among["low"] == signed_rank(ratios, 0.05 / 24, 0.1)[1]
    assert among["high"] == alone["high"]


def test_throughput_fails_by_its_upper_bound() -> None:
    draw = np.random.default_rng(1)
    rounds = rounds_of(27, "throughput", tuple(np.exp(0.1 * draw.standard_normal(27))))
    ratios = np.array([one.candidate.throughput / one.baseline.throughput for one in rounds])
    numbers = check_of(judge(rounds, LIMITS, CONFIDENCE, 4), "throughput").numbers
    assert (numbers["low"], numbers["high"]) == signed_rank(ratios, 0.05 / 4, 0.05 / 28)[1:]


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=30), st.floats(1.0, 1.5), st.floats(1.0, 1.5))
def test_a_wider_limit_is_no_harder_to_keep(ratios: list[float], one: float, other: float) -> None:
    order = [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL]
    strict, lenient = (
        check("p95", tuple(ratios), limit, len(ratios)).outcome for limit in (min(one, other), max(one, other))
    )
    assert order.index(lenient) <= order.index(strict)


@pytest.mark.parametrize(
    ("outcomes", "wanted"),
    [
        (["pass", "pass"], True),
        (["pass", "inconclusive"], False),
        (["inconclusive", "fail"], True),
        (["inconclusive", "error"], True),
        ([], False),
    ],
)
def test_settled(outcomes: list[str], wanted: bool) -> None:  # noqa: FBT001
    verdict = Verdict.of([Check(name="p50", outcome=Outcome(outcome), text="") for outcome in outcomes])
    assert settled(verdict) is wanted


# --- Looks


def test_looks_are_the_same_factor_apart() -> None:
    assert looks(fewest(LIMITS, CONFIDENCE, 4), 40) == LOOKS
    assert looks(12, 40) == (12, 18, 27, 40)
    assert looks(12, 40, 1) == (40,)
    assert looks(12, 14) == (12, 13, 14)
    assert looks(12, 12) == (12,)


@given(st.integers(1, 50), st.integers(0, 200), st.integers(2, 10))
def test_looks_begin_and_end_where_told(rounds: int, more: int, many: int) -> None:
    made = looks(rounds, rounds + more, many)
    assert (made[0], made[-1]) == (rounds, rounds + more)
    assert len(made) <= many
    assert list(made) == sorted(set(made))


def test_looks_want_rounds_enough() -> None:
    message = (
        "at most 9 rounds < 10, the fewest at which every bound is finite; "
        r"allow more \(loadtest.gate.rounds\), or take fewer limits or a lower confidence"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        looks(10, 9)


@pytest.mark.parametrize(("rounds", "many"), [(0, 4), (10, 0)])
def test_looks_want_one_or_more(rounds: int, many: int) -> None:
    with pytest.raises(ValueError, match=f"got {many} looks from {rounds} rounds on, wanted one or more of both"):
        looks(rounds, 40, many)


@given(st.sampled_from([LIMITS, only("p50", 1.05)]), st.floats(0.5, 0.999), st.integers(1, 8))
@settings(max_examples=30)
def test_fewest_rounds_have_finite_bounds_and_one_less_has_not(limits: Limits, confidence: float, times: int) -> None:
    wanted = fewest(limits, confidence, times)
    levels = Levels.of(limits, confidence, times)
    assert signed_rank(np.ones(wanted), levels.fail, levels.passing).low > 0
    assert wanted == 1 or signed_rank(np.ones(wanted - 1), levels.fail, levels.passing).low == 0


# --- Faults that come together, answers that do not come


def test_a_burst_of_faults_in_a_few_rounds_proves_nothing() -> None:
    made = faulty([200, 100] + [0] * 18, [0] * 20)
    assert made.outcome is Outcome.INCONCLUSIVE
    assert made.text.startswith("errors +0.0150 (")
    assert " in too few rounds to tell it from chance, 0.001 (limit), 300 of 20,000 requests" in made.text


def test_faults_in_most_rounds_fail() -> None:
    assert faulty([10] * 20, [0] * 20).outcome is Outcome.FAIL


def test_no_answer_in_time_at_all_fails_and_is_no_gap() -> None:
    nothing = [Round(USUAL, different(throughput=0.0))] * 12
    assert check_of(judge(nothing, LIMITS, CONFIDENCE, 4), "throughput").outcome is Outcome.FAIL
    neither = [Round(different(throughput=0.0), USUAL)] * 12
    made = check_of(judge(neither, LIMITS, CONFIDENCE, 4), "throughput")
    assert (made.outcome, made.text) == (
        Outcome.ERROR,
        "throughput: the baseline has 0 in round 1, wanted a number above 0",
    )
