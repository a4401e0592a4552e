"""Evidence that may be looked at at any moment: e-values on two counters.

An e-value measures evidence against a hypothesis. While the hypothesis holds, the chance that it ever reaches 1 / alpha
is at most alpha, however often it is looked at (Ville 1939; Ramdas et al. 2023, "Game-theoretic statistics and safe
anytime-valid inference"). So a rollout may be judged after every request, and stopped at the first clear answer.

Everything here is one test: of events that hit one of two counters, is the first one's share larger than it may be?
Errors split between canary and stable are such events, requests over a latency are, and so are pairs of answers.
The statistic is a Beta mixture of likelihood ratios (Lindon and Malek 2022, "Anytime-valid inference for multinomial
count data", arXiv 2011.03567), cut off at the hypothesis to make it one-sided. It needs no rates, and stands traffic
that changes over time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Counts = int | NDArray[np.int64]
Logarithms = NDArray[np.float64]

#: How concentrated the mixture is around the hypothesis: found by simulation, see docs/decisions/0011-evidence.md.
CONCENTRATION = 10.0
#: Rate ratios beyond these are not told apart.
FURTHEST = 1e6


class Phase(NamedTuple):
    """Events while the weight stayed the same.

    Attributes:
        weight: share of requests that the canary got, above 0 and below 1.
        canary: events of the canary.
        stable: events of the stable version.
    """

    weight: float
    canary: int
    stable: int


class Bounds(NamedTuple):
    """A confidence sequence: the truth lies between these, at all times together, with the given confidence."""

    low: float
    high: float


def share_above(hits: Counts, misses: Counts, share: float, concentration: float = CONCENTRATION) -> Logarithms:
    """Evidence that events hit more often than they may.

    Args:
        hits: events that hit, 0 or more; a number, or an array of any shape.
        misses: events that did not, 0 or more, of the same shape.
        share: of hits that is allowed, above 0 and below 1.
        concentration: of the mixture, above 0.

    Returns:
        The natural logarithm of each e-value; 0 without events.

    Raises:
        ValueError: a count below 0, or a share that is none.
    """
    a, b = _prior(hits, misses, share, concentration)
    with np.errstate(divide="ignore"):  # so far below that nothing is left: no evidence at all
        beyond = np.log(special.betaincc(np.add(hits, a), np.add(misses, b), share) / special.betaincc(a, b, share))
    return _mixture(hits, misses, share, a, b) + beyond


def share_differs(hits: Counts, misses: Counts, share: float, concentration: float = CONCENTRATION) -> Logarithms:
    """Evidence that events hit more or less often than they should; arguments and result as `share_above`."""
    return _mixture(hits, misses, share, *_prior(hits, misses, share, concentration))


def rate_above(phases: Sequence[Phase], tolerance: float, concentration: float = CONCENTRATION) -> float:
    """Evidence that the canary's events are more frequent than the stable version's, by more than a tolerance.

    Of events that happen at rates in proportion to traffic, the canary's share under the hypothesis is
    `w (1 + tolerance) / (w (1 + tolerance) + 1 - w)`. A change of the weight begins a new phase; e-values of phases
    multiply, since each is one given all that came before it.

    Args:
        phases: one after another.
        tolerance: by how much the rate may be higher: 0.5 is half as much again.
        concentration: of the mixture.

    Returns:
        The natural logarithm of the e-value.

    Raises:
        ValueError: a weight or a count that is none.
    """
    shares = [share_of(one.weight, 1 + tolerance) for one in phases]
    told = [
        share_above(one.canary, one.stable, share, concentration) for one, share in zip(phases, shares, strict=True)
    ]
    return float(sum(told))


def rate_ratio(phases: Sequence[Phase], alpha: float, concentration: float = CONCENTRATION) -> Bounds:
    """Between which bounds the ratio of the canary's rate to the stable version's lies.

    All ratios against which there is no evidence of 1 / alpha; 0 and infinity without events.

    Args:
        phases: one after another.
        alpha: chance that the truth is ever left out, above 0 and below 1.
        concentration: of the mixture.
    """

    def excess(log_ratio: float) -> float:
        ratio = math.exp(log_ratio)
        told = (share_differs(one.canary, one.stable, share_of(one.weight, ratio), concentration) for one in phases)
        return float(sum(told)) + math.log(alpha)

    edge = math.log(FURTHEST)
    best = float(optimize.minimize_scalar(excess, bounds=(-edge, edge), method="bounded").x)
    low = 0.0 if excess(-edge) < 0 else math.exp(optimize.brentq(excess, -edge, best))
    high = math.inf if excess(edge) < 0 else math.exp(optimize.brentq(excess, best, edge))
    return Bounds(low, high)


def mean(logarithms: Sequence[float]) -> float:
    """The logarithm of the mean of some e-values, which is an e-value whatever they have to do with each other."""
    return float(special.logsumexp(logarithms) - math.log(len(logarithms)))


def share_of(weight: float, ratio: float) -> float:
    """The canary's share of events, if it has a weight and its rate is `ratio` times the stable version's.

    Raises:
        ValueError: a weight that is not above 0 and below 1.
    """
    if not 0 < weight < 1:
        raise ValueError(f"got a weight of {weight:g}, wanted one above 0 and below 1")
    return weight * ratio / (weight * ratio + 1 - weight)


def _prior(hits: Counts, misses: Counts, share: float, concentration: float) -> tuple[float, float]:
    if np.min(hits) < 0 or np.min(misses) < 0:
        raise ValueError(f"got {np.min(hits)} hits and {np.min(misses)} misses, wanted 0 or more of both")
    if not 0 < share < 1:
        raise ValueError(f"got a share of {share:g}, wanted one above 0 and below 1")
    return concentration * share, concentration * (1 - share)


def _mixture(hits: Counts, misses: Counts, share: float, a: float, b: float) -> Logarithms:
    """Logarithm of the likelihood ratio, averaged over Beta(a, b), of the events in their order."""
    events = np.multiply(hits, math.log(share)) + np.multiply(misses, math.log1p(-share))
    return np.asarray(special.betaln(np.add(hits, a), np.add(misses, b)) - special.betaln(a, b) - events)
