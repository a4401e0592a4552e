"""Whether a canary takes longer, as the judge sees it."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import replace
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.rollout import Judgement, SlownessLimits
from data.verdict import Check, Outcome
from deploy.judging import evidence
from deploy.judging.counts import Phase, Split
from deploy.judging.evidence import Events
from deploy.judging.judge import compared, judge, ruled_out
from tests.deploy.counted import EDGES, check_of, outcome, over, phase, verdict


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


def waiting(canary: float) -> Phase:
    """A tenth of the requests each to canary and baseline; the other instances, with more to do, take twice as long."""
    whole, one = phase(10_000, 0.1, slower=canary), phase(2_000, 0.5)
    slow = over(8_000, 2.0)
    beside = {edge: split.stable for edge, split in one.over.items()}
    everyone = {edge: Split(split.canary, slow[edge] + beside[edge]) for edge, split in whole.over.items()}
    alike = {edge: Split(split.canary, beside[edge]) for edge, split in whole.over.items()}
    assert outcome("slowness", replace(whole, over=everyone)) is not Outcome.FAIL, "what waits less looks quick"
    return replace(whole, over=alike, timed=Split(1_000, 1_000))


@pytest.mark.parametrize(
    ("slower", "found"), [(1.0, Outcome.INCONCLUSIVE), (1.1, Outcome.INCONCLUSIVE), (1.7, Outcome.FAIL)]
)
def test_latencies_are_compared_with_a_baseline_s(slower: float, found: Outcome) -> None:
    one = waiting(slower)
    check = check_of("slowness", verdict(one))
    assert check.outcome is found
    assert (check.numbers["canary_requests"], check.numbers["stable_requests"]) == (1_000, 1_000)
    errors = check_of("errors", verdict(one)).numbers
    assert (errors["canary_requests"], errors["stable_requests"]) == (1_000, 9_000), "errors are compared with all"


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
