"""The judge's rule and its texts, on counts without chance; `test_simulation.py` has the chance."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import replace
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.rollout import ErrorLimits, Judgement, SlownessLimits
from data.verdict import Check, Outcome, Verdict
from deploy import evidence
from deploy.counts import Pairs, Phase, Split
from deploy.evidence import Events
from deploy.judge import compared, judge, limit, ruled_out
from tests.deploy.counted import EDGES, phase

USUAL = Judgement()
COUNT = st.integers(0, 2_000)


def verdict(*phases: Phase, answers: Pairs | None = None, accuracy: Pairs | None = None) -> Verdict:
    return judge(phases, EDGES, USUAL, answers=answers, accuracy=accuracy)


def check_of(name: str, verdict: Verdict) -> Check:
    return next(check for check in verdict.checks if check.name == name)


def outcome(name: str, *phases: Phase) -> Outcome:
    return check_of(name, verdict(*phases)).outcome


# --- The whole


def test_a_canary_like_the_stable_version_passes_after_a_few_thousand_requests() -> None:
    same = (phase(3_000, 0.25, (0.001, 0.001)), phase(3_000, 0.5, (0.001, 0.001)))
    whole = verdict(*same, answers=Pairs(0, 300), accuracy=Pairs(150, 150))
    assert whole.passed, str(whole)
    assert [check.name for check in whole.checks] == ["split", "errors", "slowness", "answers", "accuracy"]


def test_only_what_is_compared_is_judged() -> None:
    assert [check.name for check in verdict(phase(100, 0.1)).checks] == ["split", "errors", "slowness"]


@pytest.mark.parametrize("phases", [(), (phase(0, 0.1),), (phase(0, 0.1), phase(0, 0.5))])
def test_no_requests_are_inconclusive(phases: tuple[Phase, ...]) -> None:
    whole = verdict(*phases, answers=Pairs(0, 0), accuracy=Pairs(0, 0))
    assert str(whole) == (
        "INCONCLUSIVE: split: no requests; errors: no requests; slowness: no requests; "
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


def test_a_handful_of_requests_never_passes() -> None:
    few = verdict(phase(998, 0.5), answers=Pairs(0, 99), accuracy=Pairs(0, 99))
    for name in ("errors", "slowness", "answers", "accuracy"):
        assert check_of(name, few).outcome is Outcome.INCONCLUSIVE
    assert check_of("errors", few).text.endswith(", 499 of 500 requests needed")
    assert check_of("answers", few).text.endswith(", 99 of 100 pairs needed")


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="phase 1: got -1 errors of the canary"):
        verdict(replace(phase(100, 0.1), errors=Split(-1, 0)))
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
        r"1,000,000 of 167 needed, that they are less than 2 times as frequent or below 1 % under 0.01 of 20 needed",
        check.text,
    )


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
    assert [check.name for check in verdict(copies).checks] == ["errors", "slowness"]
    both = verdict(copies, phase(3_000, 0.1))
    assert check_of("split", both).outcome is Outcome.PASS
    assert "of 3,000 requests" in check_of("split", both).text


# --- Slowness


@pytest.mark.parametrize(
    ("slower", "outcomes"),
    [
        (0.8, {Outcome.PASS}),
        (1.0, {Outcome.PASS}),
        (1.1, {Outcome.PASS, Outcome.INCONCLUSIVE}),
        (1.2, {Outcome.FAIL}),
        (2.0, {Outcome.FAIL}),
    ],
)
def test_a_slower_canary(slower: float, outcomes: set[Outcome]) -> None:
    assert outcome("slowness", phase(16_000, 0.25, slower=slower)) in outcomes


def test_slowness_says_what_it_compared() -> None:
    check = check_of("slowness", verdict(phase(4_000, 0.25, slower=1.5)))
    assert re.fullmatch(
        r"slowness: [\d,]+ of 1,000 \(canary\) over [\d.]+ ms against [\d,]+ of 3,000 \(stable\) over [\d.]+ ms; evidence "
        r"that it is more than 10 % slower over 1,000,000 of 500 needed, that it is less than 33.1 % slower or seldom "
        r"slow at each of 5 edges under 0.01 of 20 needed",
        check.text,
    )
    assert check.numbers["edge"] in EDGES


def test_an_edge_that_nearly_nothing_is_over_keeps_nobody_from_passing() -> None:
    """Edges are chosen before the canary; if both are quicker by then, a ratio of one request to none says nothing."""
    quick = phase(16_000, 0.5)
    seldom = {edge: Split(min(one.canary, 2), min(one.stable, 3)) for edge, one in quick.over.items()}
    check = check_of("slowness", verdict(dataclasses.replace(quick, over=seldom)))
    assert check.outcome is Outcome.PASS
    few = dataclasses.replace(phase(200, 0.5), over=seldom)
    assert check_of("slowness", verdict(few)).outcome is Outcome.INCONCLUSIVE


def test_slowness_is_the_mean_over_edges_of_products_over_phases() -> None:
    phases = [phase(2_000, 0.1, slower=1.3), phase(2_000, 0.5, slower=1.3)]
    grid = sorted(phases[0].over)
    products = []
    for edge in EDGES:
        further = grid[grid.index(edge) + 1]
        seen = [Events(one.weight, one.over[further].canary, one.over[edge].stable) for one in phases]
        products.append(math.exp(float(evidence.rate_above(seen, 1.0))))
    told = check_of("slowness", verdict(*phases)).numbers["log_harm"]
    assert told == pytest.approx(math.log(sum(products) / len(products)))


#: Edges of the service's own histogram.
COARSE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


def coarse(requests: int, slower: float = 1.0, median: float = 0.012) -> Phase:
    """Half of the requests to each, with lognormal latencies counted at edges that are far apart."""
    asked = requests // 2

    def over(edge: float, median: float) -> int:
        return round(asked * (1 - NormalDist().cdf(math.log(edge / median) / 0.6)))

    splits = {edge: Split(over(edge, median * slower), over(edge, median)) for edge in COARSE}
    return Phase(0.5, Split(asked, asked), Split(0, 0), splits)


def slowness_at_coarse_edges(slower: float, excluded: float) -> Check:
    limits = SlownessLimits(excluded=excluded)
    return check_of("slowness", judge([coarse(20_000, slower)], (0.01, 0.025), Judgement(slowness=limits)))


@pytest.mark.parametrize(
    ("slower", "excluded", "outcome"),
    [
        (1.0, 2.6, Outcome.PASS),
        (1.97, 2.6, Outcome.INCONCLUSIVE),
        (3.5, 2.6, Outcome.FAIL),
        (1.0, 1.35, Outcome.INCONCLUSIVE),
        (0.8, 1.35, Outcome.PASS),  # quicker at the very same edge
    ],
)
def test_edges_that_are_far_apart(slower: float, excluded: float, outcome: Outcome) -> None:
    assert slowness_at_coarse_edges(slower, excluded).outcome is outcome


def test_edges_that_are_too_far_apart_say_so() -> None:
    check = slowness_at_coarse_edges(1.0, 1.35)
    assert check.text.endswith(
        "; edges are up to 2.5 times apart: to rule harm out, set slowness.excluded to 2.6 or more"
    )
    assert "apart" not in slowness_at_coarse_edges(1.97, 2.6).text


@given(
    st.lists(st.floats(1e-3, 10), min_size=2, max_size=12, unique=True),
    st.floats(1.0, 6.0),
    st.integers(1, 12),
    st.data(),
)
def test_any_grid_is_sound(edges: list[float], slower: float, steps: int, data: st.DataObject) -> None:
    """A canary within what is tolerated is over its edge no more often, one at what is excluded no less often."""
    edge = data.draw(st.sampled_from(edges))
    rate = {
        at: math.exp(-at) for at in edges
    }  # exponential latencies: over t with exp(-t), over t with exp(-t / slower)
    own = {at: math.exp(-at / slower) for at in edges}
    over = {at: Split(round(1e9 * own[at]), round(1e9 * rate[at])) for at in edges}
    one = Phase(0.5, Split(10**9, 10**9), Split(0, 0), over)
    rounded = 1.02  # edges may be rounded by a hundredth
    if slower * rounded <= 1.1**steps and max(edges) >= edge * 1.1**steps:
        canary, stable = compared(one, edge, steps)
        assert canary <= stable + 1
    if slower >= 1.1**steps * rounded:
        canary, stable = ruled_out(one, edge, steps)
        assert canary >= stable - 1


def test_a_tail_alone_keeps_a_canary_from_passing() -> None:
    """As fast at the median and up to p95, three times as slow above."""
    same, slow = phase(8_000, 0.25), phase(8_000, 0.25, slower=3.0)
    tail = {edge: (slow if edge >= EDGES[-1] else same).over[edge] for edge in same.over}
    tail |= {
        edge: Split(max(split.canary, tail[EDGES[-1]].canary), split.stable)
        for edge, split in tail.items()
        if edge < EDGES[-1]
    }
    assert outcome("slowness", replace(same, over=tail)) is Outcome.FAIL


def test_a_phase_before_the_edges_were_chosen_does_not_count() -> None:
    early, later = replace(phase(5_000, 0.1, slower=3.0), over={}), phase(5_000, 0.5)
    assert check_of("slowness", verdict(early, later)) == check_of("slowness", verdict(later))


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
    told = {part: math.exp(-limit(USUAL, part)) for part in ("split", "errors", "slowness", "answers", "accuracy")}
    assert told == pytest.approx(
        {"split": 0.0005, "errors": 0.006, "slowness": 0.002, "answers": 0.001, "accuracy": 0.0005}
    )
    assert math.fsum(told.values()) == pytest.approx(USUAL.alpha)


def test_copies_may_take_twice_as_long_since_their_originals_are_answered_beside_them() -> None:
    def copies(slower: float) -> Phase:
        return dataclasses.replace(phase(16_000, 0.5, slower=slower), drawn=False)

    assert outcome("slowness", copies(1.8)) in {Outcome.PASS, Outcome.INCONCLUSIVE}
    assert outcome("slowness", copies(2.5)) is Outcome.FAIL
    assert "it is, as copies, more than 114 % slower" in check_of("slowness", verdict(copies(1.0))).text


def test_copies_do_not_speak_for_a_canary_that_is_slower_with_users() -> None:
    copies = dataclasses.replace(phase(16_000, 0.5), drawn=False)
    assert outcome("slowness", copies) is Outcome.PASS
    users = phase(200, 0.1)
    assert check_of("slowness", verdict(copies, users)).numbers["log_harmless"] == pytest.approx(
        check_of("slowness", verdict(users)).numbers["log_harmless"]
    )
    both = verdict(copies, phase(16_000, 0.25, slower=1.3))
    assert check_of("slowness", both).outcome is Outcome.FAIL
