from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats  # type: ignore[import-untyped]

from deploy import evidence
from deploy.evidence import Phase, rate_above, rate_ratio, share_above, share_differs, share_of

SHARES = st.floats(0.01, 0.99)
COUNTS = st.integers(0, 300)
ALPHA = 0.01


def _integrated(hits: int, misses: int, share: float, *, above: bool) -> float:
    """The same by numerical integration of the likelihood ratio over the prior."""
    prior = stats.beta(10 * share, 10 * (1 - share))
    low = share if above else 0.0

    def ratio(theta: float) -> float:
        logs = hits * math.log(theta / share) + misses * math.log((1 - theta) / (1 - share))
        return float(math.exp(logs) * prior.pdf(theta))

    whole, _ = integrate.quad(ratio, low, 1.0, limit=500, points=[share])
    return float(math.log(whole / (prior.sf(share) if above else 1.0)))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(("hits", "misses"), [(0, 0), (1, 0), (0, 3), (5, 5), (20, 40)])
def test_it_is_the_mixture_that_it_says(hits: int, misses: int, share: float) -> None:
    assert share_above(hits, misses, share) == pytest.approx(_integrated(hits, misses, share, above=True), abs=1e-4)
    assert share_differs(hits, misses, share) == pytest.approx(_integrated(hits, misses, share, above=False), abs=1e-4)


@given(COUNTS, COUNTS, SHARES)
def test_on_average_the_next_event_changes_nothing_at_the_hypothesis(hits: int, misses: int, share: float) -> None:
    """What makes it safe to look at any moment: a fair game stays fair."""
    for of in (share_above, share_differs):
        now = of(hits, misses, share)
        if not np.isfinite(now) or now < -600:
            continue
        hit, miss = np.exp(of(hits + 1, misses, share) - now), np.exp(of(hits, misses + 1, share) - now)
        assert share * hit + (1 - share) * miss == pytest.approx(1.0, rel=1e-6)


@given(COUNTS, COUNTS, SHARES, st.floats(0.0, 1.0))
def test_below_the_hypothesis_the_game_is_not_in_favour(hits: int, misses: int, share: float, part: float) -> None:
    now = share_above(hits, misses, share)
    if not np.isfinite(now) or now < -600:
        return
    truth = share * part
    hit, miss = np.exp(share_above(hits + 1, misses, share) - now), np.exp(share_above(hits, misses + 1, share) - now)
    assert truth * hit + (1 - truth) * miss <= 1.0 + 1e-6


def test_no_events_are_no_evidence() -> None:
    assert share_above(0, 0, 0.1) == share_differs(0, 0, 0.1) == 0.0
    assert rate_above([], 0.5) == rate_above([Phase(0.1, 0, 0)], 0.5) == 0.0
    assert rate_ratio([Phase(0.1, 0, 0)], 0.05) == (0.0, math.inf)


@pytest.mark.parametrize(("weight", "fewest"), [(0.01, 3), (0.05, 5), (0.1, 6), (0.25, 9), (0.5, 16)])
def test_errors_of_the_canary_alone_that_are_enough(weight: float, fewest: int) -> None:
    logs = share_above(np.arange(40), np.zeros(40, dtype=np.int64), share_of(weight, 1.5))
    assert int(np.argmax(logs >= math.log(1 / ALPHA))) in (fewest - 1, fewest, fewest + 1)


def test_phases_multiply() -> None:
    one, other = Phase(0.1, 4, 6), Phase(0.5, 9, 3)
    assert rate_above([one, other], 0.5) == pytest.approx(rate_above([one], 0.5) + rate_above([other], 0.5))


def test_a_mean_of_e_values() -> None:
    assert evidence.mean([math.log(1), math.log(3)]) == pytest.approx(math.log(2))
    assert evidence.mean([-math.inf, 0.0]) == pytest.approx(math.log(0.5))


@given(st.floats(0.01, 0.9), st.floats(0.05, 20.0), st.integers(200, 3_000))
def test_the_ratio_lies_within_its_bounds(weight: float, ratio: float, events: int) -> None:
    share = share_of(weight, ratio)
    hits = round(events * share)
    bounds = rate_ratio([Phase(weight, hits, events - hits)], 0.05)
    assert bounds.low <= ratio * 1.001 + 0.01
    assert bounds.high >= ratio * 0.999


def test_bounds_close_in() -> None:
    few, many = rate_ratio([Phase(0.5, 10, 10)], 0.05), rate_ratio([Phase(0.5, 1_000, 1_000)], 0.05)
    assert few.low < many.low < 1 < many.high < few.high
    assert many.high / many.low < 1.5


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: share_above(-1, 0, 0.5), "got -1 hits and 0 misses, wanted 0 or more of both"),
        (lambda: share_above(1, 0, 1.0), "got a share of 1, wanted one above 0 and below 1"),
        (lambda: rate_above([Phase(0.0, 1, 1)], 0.5), "got a weight of 0, wanted one above 0 and below 1"),
    ],
)
def test_what_cannot_be_counted(call: object, text: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=text):
        call()


def _largest(rollouts: int, events: int, share: float, asked: float, seed: int) -> np.ndarray:
    """The largest evidence that each of some rollouts ever shows, looked at after every event."""
    draw = np.random.default_rng(seed)
    hits = np.cumsum(draw.random((rollouts, events)) < share, axis=1)
    return np.asarray(share_above(hits, np.arange(1, events + 1) - hits, asked).max(axis=1))


def test_a_thousand_rollouts_of_the_same_version_looked_at_after_every_error() -> None:
    """Errors of a canary at 10 % that is no worse, 1,000 of them, and no tolerance: the hardest case there is."""
    largest = _largest(1_000, 1_000, 0.1, share_of(0.1, 1.0), 1)
    false = int((largest >= math.log(1 / ALPHA)).sum())
    assert false <= stats.binom.ppf(0.999, 1_000, ALPHA)


def test_two_percent_errors_against_half_a_percent_are_found() -> None:
    """Weight 10 %: requests in all until found, in the median of 1,000 rollouts."""
    draw, weight = np.random.default_rng(2), 0.1
    found = []
    for _ in range(200):
        canary = draw.random(60_000) < weight
        error = draw.random(60_000) < np.where(canary, 0.02, 0.005)
        at = np.flatnonzero(error)
        hits = np.cumsum(canary[at])
        logs = share_above(hits, np.arange(1, at.size + 1) - hits, share_of(weight, 1.5))
        enough = logs >= math.log(1 / ALPHA)
        found.append(at[np.argmax(enough)] if enough.any() else 60_000)
    assert np.median(found) <= 6_500
