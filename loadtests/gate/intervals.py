"""Bounds of how a candidate compares with a baseline: a ratio over rounds, a difference of shares over requests.

The bounds are one-sided, each at a level of its own: a gate fails on one and passes on the other.
"""

from __future__ import annotations

import functools
import itertools
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate between two one-sided bounds."""

    estimate: float
    low: float
    high: float


def signed_rank(ratios: Floats, below: float, above: float) -> Interval:
    """The ratio of candidate to baseline from one ratio a round, without assuming how the noise is distributed.

    The bounds invert Wilcoxon's signed-rank test (Wilcoxon 1945, "Individual comparisons by ranking methods"), and
    come down to order statistics of the Walsh averages (Bauer 1972, "Constructing confidence sets using rank
    statistics"); the estimate is their median (Hodges and Lehmann 1963, "Estimates of location based on rank tests").
    In logarithms these are means of pairs, here geometric means, so equal ratios come back without rounding.

    A bound keeps its level exactly if the log ratio less its true value is as likely positive as negative given its
    size. The random order within a round sees to that where versions differ by a factor only, and always where they
    do not differ. Ties and zeros make a bound wider, never tighter.

    Args:
        ratios: shape (rounds,), candidate / baseline, above 0.
        below: the largest probability, up to 0.5, of a `low` above the true ratio.
        above: the largest probability, up to 0.5, of a `high` below the true ratio.

    Returns:
        Ratios; `low` is 0 or `high` infinite where there are too few rounds for the level (see `rounds_needed`).

    Raises:
        ValueError: no ratios, one that is not a number above 0, or a level outside 0 to 0.5.
    """
    _check_ratios(ratios)
    walsh = _walsh(ratios)
    low, high = _rank(ratios.size, below), _rank(ratios.size, above)
    return Interval(
        estimate=math.sqrt(walsh[(walsh.size - 1) // 2] * walsh[walsh.size // 2]),
        low=float(walsh[low - 1]) if low else 0.0,
        high=float(walsh[-high]) if high else math.inf,
    )


def rounds_needed(level: float) -> int:
    """The fewest rounds at which `signed_rank` has a finite bound: half to their number is at most the level.

    Raises:
        ValueError: the level is outside 0 to 0.5.
    """
    _check_level(level)
    return next(rounds for rounds in itertools.count(1) if 0.5**rounds <= level)


def difference_of_shares(bad_c: int, n_c: int, bad_b: int, n_b: int, below: float, above: float) -> Interval:
    """The candidate's share of bad requests less the baseline's.

    Newcombe's hybrid score interval (1998, "Interval estimation for the difference between independent proportions:
    comparison of eleven methods", method 10). It takes faults to be independent and its levels hold about, not
    exactly; with a handful of faults `low` is too high up to a few times as often as its level says.

    Args:
        bad_c: the candidate's bad requests.
        n_c: all of the candidate's requests.
        bad_b: the baseline's bad requests.
        n_b: all of the baseline's requests.
        below: the probability, up to 0.5, of a `low` above the true difference.
        above: the probability, up to 0.5, of a `high` below the true difference.

    Returns:
        Differences, from -1 to 1; NaN between -1 and 1 where a side has no requests.

    Raises:
        ValueError: bad requests are negative or more than all, or a level is outside 0 to 0.5.
    """
    _check_counts("candidate", bad_c, n_c)
    _check_counts("baseline", bad_b, n_b)
    z_low, z_high = _quantile(below), _quantile(above)
    if not (n_c and n_b):
        return Interval(math.nan, -1.0, 1.0)
    share_c, share_b = bad_c / n_c, bad_b / n_b
    estimate = share_c - share_b
    down = math.hypot(share_c - _wilson(bad_c, n_c, -z_low), _wilson(bad_b, n_b, z_low) - share_b)
    up = math.hypot(_wilson(bad_c, n_c, z_high) - share_c, share_b - _wilson(bad_b, n_b, -z_high))
    return Interval(estimate, max(-1.0, estimate - down), min(1.0, estimate + up))


def sign_test(worse: int, better: int) -> float:
    """How likely it is that so many rounds or more are worse, if each that is not equal is as likely worse as better.

    Source: Arbuthnott 1710; Conover 1999, "Practical nonparametric statistics", section 3.4.
    """
    rounds = worse + better
    return float(sum(math.comb(rounds, many) for many in range(worse, rounds + 1)) / 2**rounds)


def _walsh(ratios: Floats) -> Floats:
    """Shape (n (n + 1) / 2,): the geometric means of all pairs, each ratio with itself included, in order."""
    rows, columns = _pairs(ratios.size)
    means = np.sqrt(ratios[rows] * ratios[columns])
    means.sort()
    return means


@functools.lru_cache(maxsize=64)
def _pairs(rounds: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(rounds)


@functools.lru_cache(maxsize=1024)
def _rank(rounds: int, level: float) -> int:
    """Which smallest (or largest) Walsh average is the bound; 0 where none is."""
    _check_level(level)
    return int(np.searchsorted(_signed_rank_cdf(rounds), level, side="right"))


@functools.lru_cache(maxsize=64)
def _signed_rank_cdf(rounds: int) -> Floats:
    """Shape (n (n + 1) / 2 + 1,): the probability of each sum of positive ranks or a smaller one; a rank a step."""
    chances = np.zeros(rounds * (rounds + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, rounds + 1):
        chances[rank:] = chances[rank:] + chances[:-rank]
        chances /= 2
    return np.asarray(chances.cumsum())


def _wilson(bad: int, asked: int, z: float) -> float:
    """A bound of a share by Wilson's score (1927), the lower one for a negative z."""
    share = bad / asked
    spread = math.sqrt(share * (1 - share) / asked + (z / asked) ** 2 / 4)
    return (share + z * z / (2 * asked) + z * spread) / (1 + z * z / asked)


def _quantile(level: float) -> float:
    """How many standard deviations leave the level above them."""
    _check_level(level)
    return -NormalDist().inv_cdf(level)


def _check_level(level: float) -> None:
    if not 0 < level <= 0.5:
        raise ValueError(f"got a level of {level:g}, wanted one above 0 and up to 0.5")


def _check_ratios(ratios: Floats) -> None:
    if ratios.ndim != 1 or not ratios.size:
        raise ValueError(f"got ratios of shape {ratios.shape}, wanted one a round and at least one")
    wrong = np.flatnonzero(~(np.isfinite(ratios) & (ratios > 0)))
    if wrong.size:
        raise ValueError(f"got a ratio of {ratios[wrong[0]]:g} in round {wrong[0] + 1}, wanted a number above 0")


def _check_counts(side: str, bad: int, asked: int) -> None:
    if not 0 <= bad <= asked:
        raise ValueError(f"got {bad} bad of {asked} requests of the {side}, wanted 0 to {asked}")
