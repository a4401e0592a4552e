"""The judge's rule and its texts, on counts without chance; `test_simulation.py` has the chance."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.rollout import ErrorLimits, Judgement
from data.verdict import Outcome, Verdict
from deploy.judging.counts import Pairs, Phase, Split
from deploy.judging.judge import doubts, is_enough, judge, limit
from tests.deploy.counted import EDGES, USUAL, check_of, outcome, phase, verdict

COUNT = st.integers(0, 2_000)


# --- The whole


def test_a_canary_like_the_stable_version_passes_after_a_few_thousand_requests() -> None:
    same = (phase(3_000, 0.25, (0.001, 0.001)), phase(3_000, 0.5, (0.001, 0.001)))
    whole = verdict(*same, answers=Pairs(0, 300), accuracy=Pairs(150, 150))
    assert whole.passed, str(whole)
    assert [check.name for check in whole.checks] == ["split", "errors", "refused", "slowness", "answers", "accuracy"]


def test_only_what_is_compared_is_judged() -> None:
    assert [check.name for check in verdict(phase(100, 0.1)).checks] == ["split", "errors", "refused", "slowness"]


@pytest.mark.parametrize("phases", [(), (phase(0, 0.1),), (phase(0, 0.1), phase(0, 0.5))])
def test_no_requests_are_inconclusive(phases: tuple[Phase, ...]) -> None:
    whole = verdict(*phases, answers=Pairs(0, 0), accuracy=Pairs(0, 0))
    assert str(whole) == (
        "INCONCLUSIVE: split: no requests; errors: no requests; refused: no requests; slowness: no requests; "
        "answers: no pairs; accuracy: no pairs"
    )


def test_no_latencies_are_inconclusive() -> None:
    same = phase(9_000, 0.5)
    assert check_of("slowness", verdict(replace(same, over={}))).text == "slowness: no requests"
    without = check_of("slowness", judge([same], (), USUAL))
    assert without.outcome is Outcome.INCONCLUSIVE
    assert without.text == (
        "slowness: no edges to compare latencies at, since the stable version had no traffic before the canary"
    )


@pytest.mark.parametrize(
    ("phases", "answers", "named"),
    [
        ([phase(3_000, 0.1, (0.001, 0.001))], Pairs(0, 100), []),
        ([phase(3_000, 0.1, (0.02, 0.005))], None, ["errors"]),
        ([replace(phase(3_000, 0.1), refused=Split(6, 13))], None, ["refused"]),
        ([phase(3_000, 0.1, slower=1.2)], None, ["slowness"]),
        ([phase(3_000, 0.1, slower=1.2), phase(9_000, 0.5)], None, []),  # settled
        ([phase(3_000, 0.1)], Pairs(3, 60), ["answers"]),
        ([phase(30_000, 0.1, (0.2, 0.005))], None, []),  # failed, which is more than a doubt
        ([], None, []),
    ],
)
def test_what_speaks_more_against_a_canary_than_for_it_is_a_doubt(
    phases: list[Phase], answers: Pairs | None, named: list[str]
) -> None:
    assert [one.name for one in doubts(verdict(*phases, answers=answers))] == named


def test_evidence_that_is_no_number_is_a_doubt() -> None:
    (errors,) = (one for one in verdict(phase(300, 0.1)).checks if one.name == "errors")
    unknown = errors.model_copy(update={"numbers": errors.numbers | {"log_harm": math.nan}})
    assert doubts(Verdict.of([errors])) == []
    assert doubts(Verdict.of([unknown])) == [unknown]
    assert not is_enough(Verdict.of([unknown]), is_last=False)


@pytest.mark.parametrize("cluster", [1, 20, 200])
@pytest.mark.parametrize("requests", [1_000, 3_000, 30_000])
def test_few_events_are_no_doubt(cluster: int, requests: int) -> None:
    """Where next to nothing is known, both kinds of evidence are near one, whichever is the larger."""
    same = phase(requests, 0.1, (0.005, 0.005))
    assert doubts(judge([same], EDGES, Judgement(cluster=cluster))) == []


@pytest.mark.parametrize("copies", [0, 400, 4_000])
def test_copies_that_are_as_quick_hide_no_slower_answers(copies: int) -> None:
    """They are compared with twice the time, and say nothing of a third."""
    before = [replace(phase(copies, 0.5), drawn=False)] if copies else []
    assert [one.name for one in doubts(verdict(*before, phase(3_000, 0.1, slower=1.3)))] == ["slowness"]
    assert outcome("slowness", *before, phase(12_000, 0.1, slower=1.3)) is Outcome.FAIL


def test_copies_that_are_far_slower_still_fail() -> None:
    slow = replace(phase(2_000, 0.5, slower=3.0), drawn=False)
    assert outcome("slowness", slow) is Outcome.FAIL
    assert outcome("slowness", slow, phase(100, 0.1)) is Outcome.FAIL


def test_a_handful_of_requests_never_passes() -> None:
    few = verdict(phase(998, 0.5), answers=Pairs(0, 99), accuracy=Pairs(0, 99))
    for name in ("errors", "refused", "slowness", "answers", "accuracy"):
        assert check_of(name, few).outcome is Outcome.INCONCLUSIVE
    assert check_of("errors", few).text.endswith(", 499 of 500 requests needed")
    assert check_of("answers", few).text.endswith(", 99 of 100 pairs needed")


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="phase 1: got -1 errors of the canary"):
        verdict(replace(phase(100, 0.1), errors=Split(-1, 0)))
    with pytest.raises(ValueError, match="phase 1: got 11 refused of the canary, wanted a whole number, 0 to 10"):
        verdict(replace(phase(100, 0.1), refused=Split(11, 0)))
    with pytest.raises(ValueError, match="answers: got nan worse pairs"):
        verdict(phase(100, 0.1), answers=Pairs(math.nan, 0))  # type: ignore[arg-type]


def test_an_edge_needs_one_above_it_also_where_nothing_slower_is_tolerated() -> None:
    alone = Phase(0.5, Split(1_000, 1_000), Split(0, 0), {0.1: Split(100, 100)})
    same = Judgement.model_validate({"slowness": {"tolerated": 1.0}})
    with pytest.raises(ValueError, match=r"got 0.1 s as the last edge, wanted one above it"):
        judge([alone], (0.1,), same)


def test_edges_need_room_for_a_slower_canary() -> None:
    last = max(phase(100, 0.1).over)
    with pytest.raises(ValueError, match=r"got 0.452593 s as the last edge, wanted 1 steps of 1.1 above 0.452593 s"):
        judge([phase(100, 0.1)], (last,), USUAL)


# --- The split


def test_a_split_that_is_off_is_an_error() -> None:
    off = verdict(phase(5_000, 0.1, part=1.5))
    assert off.outcome is Outcome.ERROR
    assert re.fullmatch(
        "split: 750 of 5,000 requests went to the canary, 500 should have; evidence of another split over 1,000,000 of "
        "2,000 needed, so no other figure can be trusted",
        check_of("split", off).text,
    )


def test_too_few_requests_for_the_canary_are_an_error_too() -> None:
    assert outcome("split", phase(5_000, 0.1, part=0.5)) is Outcome.ERROR
    assert outcome("split", phase(5_000, 0.1, part=0.0)) is Outcome.ERROR


def test_a_split_as_configured() -> None:
    text = check_of("split", verdict(phase(1_000, 0.1), phase(1_000, 0.5))).text
    assert text.startswith(
        "split: 600 of 2,000 requests went to the canary, 600 should have; evidence of another split under 0.01 of 2,000 needed"
    )
    assert outcome("split", phase(1_000, 0.1), phase(1_000, 0.5)) is Outcome.PASS


# --- Errors


def test_errors_of_the_canary_fail_it() -> None:
    bad = replace(phase(10_344, 0.1), requests=Split(1_034, 9_310), errors=Split(20, 21))
    check = check_of("errors", verdict(bad))
    assert check.outcome is Outcome.FAIL
    assert re.fullmatch(
        r"errors: 20 of 1,034 \(canary\) against 21 of 9,310 \(stable\); evidence that they are more frequent over "
        r"1,000,000 of 200 needed, that they are less than 2 times as frequent or below 1 % under 0.01 of 20 needed",
        check.text,
    )


def test_a_canary_that_refuses_what_the_stable_version_answers_fails() -> None:
    refuses = replace(phase(1_000, 0.1), refused=Split(20, 3))
    check = check_of("refused", verdict(refuses))
    assert check.outcome is Outcome.FAIL
    assert check.text.startswith(
        "refused: 20 of 100 (canary) against 3 of 900 (stable); evidence that they are more frequent over 1,000,000 of "
        "1,000 needed, that they are less than 2 times as frequent or below 1 % under 0.01"
    )


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5])
def test_what_both_refuse_alike_is_users_own(share: float) -> None:
    same = phase(6_000, 0.25)
    both = Split(*(round(share * requests) for requests in same.requests))
    assert check_of("refused", verdict(replace(same, refused=both))).outcome is Outcome.PASS


def test_more_errors_that_are_tolerated() -> None:
    lenient = USUAL.model_copy(update={"errors": ErrorLimits(tolerated=5.0, excluded=9.0)})
    check = check_of("errors", judge([phase(10_000, 0.1, (0.02, 0.005))], EDGES, lenient))
    assert check.outcome is not Outcome.FAIL
    assert "; evidence that they are more than 5 times as frequent 0." in check.text


def test_errors_pass_by_their_share_or_by_their_ratio() -> None:
    assert outcome("errors", phase(6_000, 0.25, (0.001, 0.0))) is Outcome.PASS
    assert outcome("errors", phase(6_000, 0.25, (0.03, 0.03))) is Outcome.PASS
    assert outcome("errors", phase(600, 0.25, (0.03, 0.03))) is Outcome.INCONCLUSIVE


def test_a_harm_that_was_found_is_not_outweighed_by_a_low_share() -> None:
    assert outcome("errors", phase(40_000, 0.25, (0.004, 0.0005))) is Outcome.FAIL


def test_a_canary_that_gets_worse_late_is_found() -> None:
    good, bad = phase(20_000, 0.25, (0.0, 0.005)), phase(6_000, 0.5, (0.05, 0.005))
    assert outcome("errors", good, bad) is Outcome.FAIL


@given(COUNT, COUNT, st.integers(1, 200), st.sampled_from([0.05, 0.1, 0.25, 0.5]))
@settings(max_examples=50)
def test_more_errors_of_the_canary_are_never_better(bad: int, other: int, more: int, weight: float) -> None:
    def weighed(errors: int) -> tuple[float, float]:
        one = Phase(weight, Split(round(9_000 * weight), round(9_000 * (1 - weight))), Split(errors, min(other, 4_000)))
        numbers = check_of("errors", judge([one], (), USUAL)).numbers
        return numbers["log_harm"], numbers["log_harmless"]

    fewer = min(bad, 200)
    low, high = weighed(fewer), weighed(min(fewer + more, 450))
    assert high[0] >= low[0]
    assert high[1] <= low[1] + 1e-9


def test_evidence_of_phases_is_multiplied() -> None:
    phases = [phase(3_000, 0.1, (0.01, 0.005)), phase(3_000, 0.25, (0.01, 0.005))]
    both = check_of("errors", verdict(*phases)).numbers["log_harm"]
    assert both == pytest.approx(sum(check_of("errors", verdict(one)).numbers["log_harm"] for one in phases))


def test_copies_of_requests_are_not_split() -> None:
    """A candidate that is slow to answer copies has answered fewer: that is for the check of slowness."""
    copies = dataclasses.replace(
        phase(3_000, 0.5), requests=Split(100, 1_500), errors=Split(0, 7), over={}, drawn=False
    )
    assert [check.name for check in verdict(copies).checks] == ["errors", "refused", "slowness"]
    both = verdict(copies, phase(3_000, 0.1))
    assert check_of("split", both).outcome is Outcome.PASS
    assert "of 3,000 requests" in check_of("split", both).text


# --- Pairs


@pytest.mark.parametrize(
    ("pairs", "outcome"),
    [
        (Pairs(0, 200), Outcome.PASS),
        (Pairs(3, 400), Outcome.PASS),
        (Pairs(6, 194), Outcome.INCONCLUSIVE),
        (Pairs(40, 160), Outcome.FAIL),
    ],
)
def test_answers(pairs: Pairs, outcome: Outcome) -> None:
    assert check_of("answers", verdict(phase(100, 0.1), answers=pairs)).outcome is outcome


def test_answers_say_what_was_compared() -> None:
    check = check_of("answers", verdict(phase(100, 0.1), answers=Pairs(40, 160)))
    assert check.text == (
        "answers: 40 of 200 pairs differ; evidence that more than 1 % differ over 1,000,000 of 1,000 needed, "
        "that fewer than 5 % differ under 0.01 of 20 needed"
    )


@pytest.mark.parametrize(
    ("pairs", "outcome"),
    [
        (Pairs(200, 200), Outcome.PASS),
        (Pairs(60, 60), Outcome.INCONCLUSIVE),
        (Pairs(575, 425), Outcome.INCONCLUSIVE),
        (Pairs(300, 100), Outcome.FAIL),
    ],
)
def test_accuracy(pairs: Pairs, outcome: Outcome) -> None:
    assert check_of("accuracy", verdict(phase(100, 0.1), accuracy=pairs)).outcome is outcome


# --- Numbers


@given(COUNT, COUNT, st.sampled_from([0.01, 0.1, 0.5, 0.99]), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(max_examples=50)
def test_numbers_are_finite_and_a_pass_has_its_evidence(
    canary: int, stable: int, weight: float, bad: float, other: float
) -> None:
    one = replace(
        phase(100, 0.5), weight=weight, requests=Split(canary, stable), over={},
        errors=Split(int(bad * canary), int(other * stable)),
    )  # fmt: skip
    for check in verdict(one, answers=Pairs(canary, stable), accuracy=Pairs(stable, canary)).checks:
        assert all(math.isfinite(value) for value in check.numbers.values())
        if check.name == "split" or not check.numbers:
            continue
        failed = check.numbers["log_harm"] >= check.numbers["log_harm_limit"]
        assert failed == (check.outcome is Outcome.FAIL)
        if check.outcome is Outcome.PASS:
            assert check.numbers["log_harmless"] >= check.numbers["log_harmless_limit"]


def test_limits_share_alpha_out() -> None:
    wanted = {
        "split": 0.0005, "errors": 0.005, "refused": 0.001, "slowness": 0.002, "answers": 0.001, "accuracy": 0.0005,
    }  # fmt: skip
    told = {part: math.exp(-limit(USUAL, part)) for part in wanted}
    assert told == pytest.approx(wanted)
    assert math.fsum(told.values()) == pytest.approx(USUAL.alpha)
