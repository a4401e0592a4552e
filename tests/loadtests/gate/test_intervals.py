"""Bounds that keep their level: against scipy, by every sign there can be, and in simulated rounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from loadtests.gate.intervals import Interval, difference_of_shares, rounds_needed, sign_test, signed_rank

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int, int], Floats]

LEVELS = st.floats(1e-4, 0.5)
RATIOS = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=40).map(np.array)
COUNTS = st.integers(0, 3_000).flatmap(lambda asked: st.tuples(st.integers(0, asked), st.just(asked)))


def few_enough(misses: int, times: int, level: float) -> bool:
    """Whether so many misses are no surprise (one in a million) if each has the level as its probability."""
    return bool(misses <= stats.binom.isf(1e-6, times, level))


# --- Ratios: scipy as the oracle


@pytest.mark.parametrize("rounds", [1, 5, 12, 40])
@pytest.mark.parametrize("level", [0.002, 0.0125, 0.05, 0.5])
def test_a_bound_is_where_the_exact_test_begins_to_reject(rounds: int, level: float) -> None:
    draw = np.random.default_rng(rounds)
    logs = 0.1 * draw.standard_normal(rounds)
    _, low, high = signed_rank(np.exp(logs), level, level)
    for ratio in np.exp(0.1 * draw.standard_normal(20)):
        above, below = (
            stats.wilcoxon(logs - math.log(ratio), alternative=side, method="exact").pvalue
            for side in ("greater", "less")
        )
        assert (above <= level) == (ratio < low)
        assert (below <= level) == (ratio > high)


@pytest.mark.parametrize("rounds", [5, 12, 40])
def test_next_to_a_bound_the_exact_test_changes_its_mind(rounds: int) -> None:
    logs = 0.1 * np.random.default_rng(rounds).standard_normal(rounds)
    low, high = signed_rank(np.exp(logs), 0.04, 0.04)[1:]

    def rejected(ratio: float, side: str) -> bool:
        return bool(stats.wilcoxon(logs - math.log(ratio), alternative=side, method="exact").pvalue <= 0.04)

    assert [rejected(low * near, "greater") for near in (1 - 1e-9, 1 + 1e-9)] == [True, False]
    assert [rejected(high * near, "less") for near in (1 - 1e-9, 1 + 1e-9)] == [False, True]


def test_the_estimate_is_the_median_of_the_means_of_all_pairs() -> None:
    logs = [0.0, 0.1, 0.5, 0.7]
    means = [(one + other) / 2 for one, other in itertools.combinations_with_replacement(logs, 2)]
    assert signed_rank(np.exp(logs), 0.5, 0.5).estimate == pytest.approx(math.exp(np.median(means)))


def test_a_known_interval() -> None:
    ratios = np.array([1.0, 1.1, 1.2, 1.3, 1.4])
    assert signed_rank(ratios, 1 / 32, 2 / 32) == pytest.approx((1.2, 1.0, math.sqrt(1.3 * 1.4)), abs=0.01)


# --- Ratios: the level


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.35, 0.6]), min_size=1, max_size=8), LEVELS)
@settings(max_examples=30, deadline=None)
def test_over_all_signs_a_bound_keeps_its_level_with_ties_and_zeros(sizes: list[float], level: float) -> None:
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=len(sizes))))
    made = [signed_rank(np.exp(row * sizes), level, level) for row in signs]
    assert sum(interval.low > 1 + 1e-12 for interval in made) <= level * len(signs)
    assert sum(interval.high < 1 - 1e-12 for interval in made) <= level * len(signs)


def test_over_all_signs_a_bound_uses_its_level_up() -> None:
    sizes = np.array([0.1, 0.25, 0.3, 0.47, 0.6, 0.9, 1.3, 1.8])
    made = [signed_rank(np.exp(np.array(row) * sizes), 5 / 256, 0.5) for row in itertools.product([-1, 1], repeat=8)]
    assert sum(interval.low > 1 for interval in made) == 5


def resembling(draw: np.random.Generator, times: int, slots: int) -> Floats:
    """Shape (times, slots): noise in which each slot has nine tenths of the one before it."""
    made = draw.standard_normal((times, slots))
    for at in range(1, slots):
        made[:, at] += 0.9 * made[:, at - 1]
    return made


def drifting(draw: np.random.Generator, times: int, slots: int) -> Floats:
    """Shape (times, slots): slower all the time."""
    return 0.1 * draw.standard_normal((times, slots)) + 0.1 * np.arange(slots)


def skewed(draw: np.random.Generator, times: int, slots: int) -> Floats:
    """Shape (times, slots): now and then much slower, never much quicker."""
    return 0.1 * draw.lognormal(0, 1.5, (times, slots))


def misses(slots: Floats, level: float, ratio: float) -> tuple[int, int]:
    """How often each bound is on the wrong side of the ratio, from slots handed out to baseline and candidate."""
    logs = slots[:, 1::2] - slots[:, 0::2] + math.log(ratio)
    made = [signed_rank(np.exp(row), level, level) for row in logs]
    return sum(interval.low > ratio for interval in made), sum(interval.high < ratio for interval in made)


def shuffled(slots: Floats, draw: np.random.Generator) -> Floats:
    """The two slots of each round in random order."""
    return draw.permuted(slots.reshape(len(slots), -1, 2), axis=2).reshape(slots.shape)


@pytest.mark.parametrize("ratio", [1.0, 1.1])
@pytest.mark.parametrize("level", [0.0125, 0.1])
@pytest.mark.parametrize("noise", [resembling, drifting, skewed])
def test_with_random_order_a_bound_keeps_its_level(noise: Noise, level: float, ratio: float) -> None:
    draw = np.random.default_rng(7)
    low, high = misses(shuffled(noise(draw, 2_000, 30), draw), level, ratio)
    assert few_enough(low, 2_000, level)
    assert few_enough(high, 2_000, level)
    assert low + high > 2_000 * level  # of 2 * 2,000 * level: not merely by being wide


def test_without_random_order_a_drift_is_taken_for_a_slower_candidate() -> None:
    draw = np.random.default_rng(7)
    assert misses(drifting(draw, 200, 30), 0.0125, 1.0)[0] > 50


# --- Ratios: properties


@given(RATIOS, LEVELS, LEVELS, st.floats(0.1, 10.0))
def test_ratios_scaled_scale_the_interval(ratios: Floats, below: float, above: float, factor: float) -> None:
    made = signed_rank(ratios, below, above)
    assert signed_rank(ratios * factor, below, above) == pytest.approx([factor * value for value in made])


@given(RATIOS, LEVELS, LEVELS)
def test_swapping_the_sides_inverts_the_interval(ratios: Floats, below: float, above: float) -> None:
    estimate, low, high = signed_rank(ratios, below, above)
    wanted = 1 / estimate, 1 / high, 1 / low if low else math.inf
    assert signed_rank(1 / ratios, above, below) == pytest.approx(wanted)


@given(RATIOS, LEVELS, LEVELS)
def test_a_smaller_level_is_no_narrower(ratios: Floats, one: float, other: float) -> None:
    wide = signed_rank(ratios, min(one, other), min(one, other))
    narrow = signed_rank(ratios, max(one, other), max(one, other))
    assert wide.low <= narrow.low <= narrow.high <= wide.high


@given(RATIOS, LEVELS, LEVELS)
def test_the_estimate_lies_between_the_bounds_and_they_among_the_ratios(
    ratios: Floats, below: float, above: float
) -> None:
    estimate, low, high = signed_rank(ratios, below, above)
    assert low * (1 - 1e-15) <= estimate <= high * (1 + 1e-15)
    assert low == 0 or ratios.min() * (1 - 1e-15) <= low
    assert high == math.inf or high <= ratios.max() * (1 + 1e-15)


@given(RATIOS, st.data(), LEVELS, st.floats(1.0, 3.0))
def test_a_larger_ratio_lowers_nothing(ratios: Floats, data: st.DataObject, level: float, factor: float) -> None:
    more = ratios.copy()
    more[data.draw(st.integers(0, ratios.size - 1))] *= factor
    before, after = signed_rank(ratios, level, level), signed_rank(more, level, level)
    assert all(one <= other for one, other in zip(before, after, strict=True))


@given(st.floats(0.01, 100.0), st.integers(1, 40))
def test_equal_ratios_come_back_without_rounding(ratio: float, rounds: int) -> None:
    assert signed_rank(np.full(rounds, ratio), 0.5, 0.5) == (ratio, ratio, ratio)


@pytest.mark.parametrize("level", [0.5, 0.25, 0.05, 1 / 64, 0.05 / 28, 1e-6])
def test_rounds_needed_are_the_fewest_with_finite_bounds(level: float) -> None:
    fewest = rounds_needed(level)
    assert signed_rank(np.full(fewest, 1.1), level, level) == pytest.approx((1.1, 1.1, 1.1))
    if fewest > 1:
        assert signed_rank(np.full(fewest - 1, 1.1), level, level) == (1.1, 0.0, math.inf)


def test_rounds_needed_of_some_levels() -> None:
    assert [rounds_needed(level) for level in (0.5, 0.3, 0.05, 1 / 32, 0.05 / 28)] == [1, 2, 5, 5, 10]


def test_hundreds_of_rounds() -> None:
    logs = 0.1 * np.random.default_rng(3).standard_normal(400)
    _, low, high = signed_rank(np.exp(logs), 0.025, 0.025)
    usual = 1.96 * 0.1 * math.sqrt(math.pi / 3 / 400)
    assert (math.log(high) - math.log(low)) / 2 == pytest.approx(usual, rel=0.15)


# --- Ratios: refused


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_a_ratio_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"^got a ratio of {value:g} in round 2, wanted a number above 0$"):
        signed_rank(np.array([1.0, value, 1.0]), 0.05, 0.05)


@pytest.mark.parametrize("shape", [(0,), (2, 2)])
def test_ratios_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"got ratios of shape .*, wanted one a round and at least one"):
        signed_rank(np.ones(shape), 0.05, 0.05)


@pytest.mark.parametrize("level", [0.0, 0.51, -0.1, math.nan])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    message = f"^got a level of {level:g}, wanted one above 0 and up to 0.5$"
    for refused in (
        lambda: signed_rank(np.ones(3), level, 0.1),
        lambda: signed_rank(np.ones(3), 0.1, level),
        lambda: rounds_needed(level),
        lambda: difference_of_shares(1, 10, 1, 10, level, 0.1),
        lambda: difference_of_shares(1, 10, 1, 10, 0.1, level),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


# --- Shares


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_newcombes_own_examples(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    """Table II of his article, method 10, two-sided 95 %."""
    assert difference_of_shares(*counts, 0.025, 0.025)[1:] == pytest.approx((low, high), abs=6e-5)


def test_each_bound_of_a_difference_has_its_own_level() -> None:
    made = difference_of_shares(9, 10, 3, 10, 0.025, 0.1)
    assert made.low == pytest.approx(0.1705, abs=6e-5)
    assert made.high == difference_of_shares(9, 10, 3, 10, 0.1, 0.1).high < 0.8


@given(COUNTS, COUNTS, LEVELS)
def test_swapping_the_sides_negates_the_difference(one: tuple[int, int], other: tuple[int, int], level: float) -> None:
    estimate, low, high = difference_of_shares(*one, *other, level, 0.1)
    wanted = (-estimate, -high, -low)
    assert difference_of_shares(*other, *one, 0.1, level) == pytest.approx(wanted, nan_ok=True)


@given(COUNTS, COUNTS, LEVELS, LEVELS)
def test_a_difference_lies_between_its_bounds(
    one: tuple[int, int], other: tuple[int, int], level: float, less: float
) -> None:
    estimate, low, high = difference_of_shares(*one, *other, level, level)
    if one[1] and other[1]:
        assert -1 <= low <= estimate <= high <= 1
    wide = difference_of_shares(*one, *other, min(level, less), min(level, less))
    assert wide.low <= low
    assert high <= wide.high


@pytest.mark.parametrize("counts", [(0, 0, 1, 10), (1, 10, 0, 0), (0, 0, 0, 0)])
def test_shares_of_nothing_are_unknown(counts: tuple[int, int, int, int]) -> None:
    made = difference_of_shares(*counts, 0.05, 0.05)
    assert made == pytest.approx(Interval(math.nan, -1.0, 1.0), nan_ok=True)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((11, 10, 0, 10), "got 11 bad of 10 requests of the candidate, wanted 0 to 10"),
        ((0, 10, -1, 10), "got -1 bad of 10 requests of the baseline, wanted 0 to 10"),
    ],
)
def test_counts_that_are_none_are_refused(counts: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        difference_of_shares(*counts, 0.05, 0.05)


@pytest.mark.parametrize("shares", [(0.001, 0.001), (0.01, 0.002), (0.3, 0.3)])
def test_bounds_of_a_difference_hold_about_their_level(shares: tuple[float, float]) -> None:
    draw = np.random.default_rng(5)
    counts = draw.binomial(20_000, shares, size=(2_000, 2))
    made = [difference_of_shares(bad_c, 20_000, bad_b, 20_000, 0.05, 0.05) for bad_c, bad_b in counts.tolist()]
    truth = shares[0] - shares[1]
    assert few_enough(sum(interval.low > truth for interval in made), 2_000, 0.06)
    assert few_enough(sum(interval.high < truth for interval in made), 2_000, 0.06)


@pytest.mark.parametrize(
    ("worse", "better", "wanted"), [(0, 0, 1.0), (3, 0, 0.125), (1, 1, 0.75), (0, 5, 1.0), (10, 0, 2**-10)]
)
def test_sign_test(worse: int, better: int, wanted: float) -> None:
    assert sign_test(worse, better) == pytest.approx(wanted)


@given(st.integers(0, 60), st.integers(0, 60))
def test_sign_test_is_the_binomial_one(worse: int, better: int) -> None:
    wanted = stats.binomtest(worse, worse + better, alternative="greater").pvalue if worse + better else 1.0
    assert sign_test(worse, better) == pytest.approx(wanted, rel=1e-9)
