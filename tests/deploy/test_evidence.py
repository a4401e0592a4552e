"""E-values: against integrals worked out slowly, by what makes them e-values, and by golden counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from deploy.judging.evidence import (
    AROUND,
    PRIOR,
    Events,
    Prior,
    mean,
    rate_above,
    rate_below,
    share_above,
    share_differs,
    share_of,
)

SHARES = st.floats(0.01, 0.99)
COUNTS = st.integers(0, 300)
PRIORS = st.builds(Prior, st.floats(0.5, 8.0), st.floats(1.0, 50.0))
ALPHA = 0.01


# --- What it is


def integrated(hits: int, misses: int, share: float, prior: Prior, low: float) -> float:
    """Logarithm of the likelihood ratio, averaged over the prior from `low` to 1 by numerical integration."""
    beta = stats.beta(*prior.parameters(share))

    def weighed(theta: float) -> float:
        ratio = hits * math.log(theta / share) + misses * math.log((1 - theta) / (1 - share))
        return float(math.exp(ratio) * beta.pdf(theta))

    places = sorted({low, share, *(part for part in (1e-6, 1e-4, 0.01, 0.03, 0.97, 0.9999) if part > low), 1.0})
    parts = [integrate.quad(weighed, at, to, limit=200)[0] for at, to in itertools.pairwise(places)]
    return math.log(math.fsum(parts) / beta.sf(low))


@pytest.mark.parametrize("prior", [PRIOR, AROUND, Prior(1.5, 40)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(("hits", "misses"), [(0, 0), (1, 0), (0, 3), (5, 5), (20, 40), (40, 20)])
def test_it_is_the_mixture_that_it_says(hits: int, misses: int, share: float, prior: Prior) -> None:
    above = integrated(hits, misses, share, prior, share)
    assert share_above(hits, misses, share, prior) == pytest.approx(above, abs=1e-6)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(("hits", "misses"), [(0, 0), (1, 0), (0, 3), (5, 5), (20, 40), (40, 20)])
def test_two_sided_it_is_the_mixture_too(hits: int, misses: int, share: float) -> None:
    assert share_differs(hits, misses, share) == pytest.approx(integrated(hits, misses, share, AROUND, 0.0), abs=1e-6)


@pytest.mark.parametrize(("weight", "enough"), [(0.01, 3), (0.05, 5), (0.1, 6), (0.25, 9), (0.5, 16)])
def test_events_of_one_side_alone_that_are_enough_two_sided(weight: float, enough: int) -> None:
    logs = share_differs(np.arange(40), np.zeros(40, dtype=np.int64), weight)
    assert int(np.argmax(logs >= math.log(1 / ALPHA))) == enough


@pytest.mark.parametrize(("weight", "enough"), [(0.01, 3), (0.05, 4), (0.1, 4), (0.25, 6), (0.5, 10)])
def test_errors_of_the_canary_alone_that_are_enough(weight: float, enough: int) -> None:
    logs = share_above(np.arange(40), np.zeros(40, dtype=np.int64), weight)
    assert int(np.argmax(logs >= math.log(1 / ALPHA))) == enough


def test_the_prior_is_centred_at_a_ratio_of_odds() -> None:
    a, b = Prior(ratio=3, concentration=8).parameters(0.25)
    assert (a, b) == (4, 4)  # odds of 1 to 3, times 3


# --- What makes it one


@given(COUNTS, COUNTS, SHARES, PRIORS)
def test_on_average_the_next_event_changes_nothing_at_the_hypothesis(
    hits: int, misses: int, share: float, prior: Prior
) -> None:
    """What makes it safe to look at any moment: a fair game stays fair."""
    for of in (share_above, share_differs):
        now = of(hits, misses, share, prior)
        hit, miss = np.exp(of(hits + 1, misses, share, prior) - now), np.exp(of(hits, misses + 1, share, prior) - now)
        assert share * hit + (1 - share) * miss == pytest.approx(1.0, rel=1e-6)


@given(COUNTS, COUNTS, SHARES, st.floats(0.0, 1.0), PRIORS)
def test_below_the_hypothesis_the_game_is_not_in_favour(
    hits: int, misses: int, share: float, part: float, prior: Prior
) -> None:
    now, truth = share_above(hits, misses, share, prior), share * part
    hit = np.exp(share_above(hits + 1, misses, share, prior) - now)
    miss = np.exp(share_above(hits, misses + 1, share, prior) - now)
    assert truth * hit + (1 - truth) * miss <= 1.0 + 1e-6


@given(COUNTS, COUNTS, SHARES, st.integers(1, 20), st.data())
def test_a_cluster_that_counts_as_one_is_no_game_in_favour(
    hits: int, misses: int, share: float, most: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, most))
    at = hits / most, misses / most
    now = share_above(*at, share)
    hit, miss = share_above(at[0] + size / most, at[1], share), share_above(at[0], at[1] + size / most, share)
    assert share * np.exp(hit - now) + (1 - share) * np.exp(miss - now) <= 1.0 + 1e-6


@given(COUNTS, COUNTS, SHARES)
def test_one_more_hit_is_more_evidence(hits: int, misses: int, share: float) -> None:
    assert (
        share_above(hits + 1, misses, share) > share_above(hits, misses, share) > share_above(hits, misses + 1, share)
    )


@given(st.lists(st.booleans(), max_size=60), SHARES, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(events: list[bool], share: float, random: Any) -> None:
    shuffled = random.sample(events, len(events))
    logs = [
        float(share_above(np.cumsum(order), np.cumsum(~np.array(order)), share)[-1]) if order else 0.0
        for order in (events, shuffled)
    ]
    assert logs[0] == pytest.approx(logs[1])


def test_no_events_are_no_evidence() -> None:
    assert share_above(0, 0, 0.1) == share_differs(0, 0, 0.1) == 0.0
    assert rate_above([], 1.5) == rate_above([Events(0.1, 0, 0)], 1.5) == rate_below([], 1.5) == 0.0


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=9), SHARES)
def test_arrays_are_as_their_numbers(counted: list[tuple[int, int]], share: float) -> None:
    hits, misses = (np.array(side, dtype=np.int64) for side in zip(*counted, strict=True))
    for of in (share_above, share_differs):
        each = [float(of(hit, miss, share)) for hit, miss in counted]
        assert of(hits, misses, share) == pytest.approx(each)


# --- Far out


@pytest.mark.parametrize("misses", [1_000, 100_000, 10_000_000])
def test_a_canary_that_was_better_for_long_can_still_be_found_to_get_worse(misses: int) -> None:
    """Evidence of harm dwindles like 1 / events, not like the chance of what was seen."""
    assert -20 < share_above(0, misses, 0.1) < -3
    assert share_above(misses, misses, 0.1) > 100


@pytest.mark.parametrize(("hits", "misses", "share"), [(0, 6_000, 0.1), (100, 9_000, 0.1), (900, 3_000, 0.5)])
def test_tails_that_no_float_can_hold(hits: int, misses: int, share: float) -> None:
    """The same as an integral of the likelihood ratio in steps of a millionth of what is above the share."""
    a, b = PRIOR.parameters(share)
    theta = share + (1 - share) * (np.arange(1_000_000) + 0.5) / 1_000_000
    ratio = hits * np.log(theta / share) + misses * np.log((1 - theta) / (1 - share))
    weighed = np.exp(ratio) * stats.beta(a, b).pdf(theta)
    assert special.betaincc(a + hits, b + misses, share) < 1e-250
    slow = math.log(weighed.sum() * (1 - share) / 1_000_000 / stats.beta(a, b).sf(share))
    assert share_above(hits, misses, share) == pytest.approx(slow, abs=1e-3)


# --- Phases and means


def test_phases_multiply() -> None:
    one, other = Events(0.1, 4, 6), Events(0.5, 9, 3)
    for of in (rate_above, rate_below):
        assert of([one, other], 1.5) == pytest.approx(of([one], 1.5) + of([other], 1.5))


def test_less_is_more_the_other_way_round() -> None:
    assert rate_below([Events(0.2, 3, 40)], 2.0) == pytest.approx(float(rate_above([Events(0.8, 40, 3)], 0.5)))
    assert rate_below([Events(0.5, 10, 100)], 1.0) > 10 > 0 > rate_above([Events(0.5, 10, 100)], 1.0)


@given(SHARES, st.floats(0.1, 10))
def test_shares_come_from_weights_and_ratios(weight: float, ratio: float) -> None:
    share = share_of(weight, ratio)
    assert share / (1 - share) == pytest.approx(ratio * weight / (1 - weight))
    assert share_of(weight, 1.0) == pytest.approx(weight)


def test_a_mean_of_e_values() -> None:
    assert mean([math.log(1), math.log(3)]) == pytest.approx(math.log(2))
    assert mean([1_000.0, -1_000.0]) == pytest.approx(1_000 - math.log(2))
    assert mean([np.log([1.0, 4.0]), np.log([3.0, 4.0])]) == pytest.approx(np.log([2.0, 4.0]))


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9))
def test_a_mean_lies_between(logs: list[float]) -> None:
    assert min(logs) - 1e-9 <= mean(logs) <= max(logs) + 1e-9


# --- What is none


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: share_above(-1, 0, 0.5), "got -1 hits and 0 misses, wanted 0 or more of both"),
        (lambda: share_differs(1, -2, 0.5), "got 1 hits and -2 misses, wanted 0 or more of both"),
        (lambda: share_above(np.array([3, -4]), np.array([0, 0]), 0.5), "got -4 hits and 0 misses"),
        (lambda: share_above(math.nan, 0, 0.5), "got nan hits and 0 misses, wanted 0 or more of both"),
        (lambda: share_above(1, 0, 1.0), "got a share of 1, wanted one above 0 and below 1"),
        (lambda: share_above(1, 0, math.nan), "got a share of nan, wanted one above 0 and below 1"),
        (lambda: rate_above([Events(0.0, 1, 1)], 1.5), "got a weight of 0, wanted one above 0 and below 1"),
        (lambda: rate_above([Events(0.1, 1, 1)], 0.0), "got a ratio of 0, wanted one above 0"),
        (lambda: mean([]), "got no e-values, wanted one or more to take the mean of"),
    ],
)
def test_what_cannot_be(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


# --- How often it errs, and how soon it finds


def test_a_thousand_canaries_no_worse_looked_at_after_every_error() -> None:
    """A canary at 10 % with the stable version's rate of errors, 500 errors each."""
    random = np.random.default_rng(1)
    hits = np.cumsum(random.random((1_000, 500)) < 0.1, axis=1, dtype=np.int64)
    most = share_above(hits, np.arange(1, 501) - hits, 0.1).max(axis=1)
    false = int((most >= math.log(1 / ALPHA)).sum())
    assert false <= stats.binom.ppf(0.999, 1_000, ALPHA)


@pytest.mark.parametrize(("errors", "requests"), [(0.02, 6_000), (0.05, 1_700)])
def test_errors_at_a_weight_of_a_tenth_are_found(errors: float, requests: int) -> None:
    """Against 0.5 % of the stable version: requests in all until found, in the median of 500 rollouts."""
    random, every = np.random.default_rng(2), 0.1 * errors + 0.9 * 0.005
    at = np.cumsum(random.geometric(every, (500, 150)), axis=1)
    hits = np.cumsum(random.random((500, 150)) < 0.1 * errors / every, axis=1, dtype=np.int64)
    enough = share_above(hits, np.arange(1, 151) - hits, 0.1) >= math.log(1 / (0.6 * ALPHA))
    found = np.where(enough.any(axis=1), at[np.arange(500), enough.argmax(axis=1)], np.inf)
    assert np.median(found) <= requests
