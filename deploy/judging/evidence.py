"""Evidence that may be looked at at any moment: e-values on two counters.

An e-value measures evidence against a hypothesis. While the hypothesis holds, the chance that it ever reaches 1 / alpha
is at most alpha, however often it is looked at (Ville 1939; Ramdas, Grunwald, Vovk and Shafer 2023, "Game-theoretic
statistics and safe anytime-valid inference"). So a rollout may be judged after every request and stopped at the first
clear answer.

All of it is one test: of events that hit one of two counters, is the first one's share larger than it may be? Errors
split between canary and stable version are such events, requests over a latency are, and so are pairs of answers. The
e-value is a Beta mixture of likelihood ratios (Lindon and Malek 2022, "Anytime-valid inference for multinomial count
data", arXiv 2011.03567), cut off at the hypothesis to make it one-sided. It needs no rates, and stands traffic that
changes over time. E-values are returned as natural logarithms; 0 is no evidence either way.

What is counted must be what was drawn. Where events come in clusters of up to m (users who stick to a version, bursts of
errors), an e-value of events is too sure of itself, and one of events / m is not: with s <= m, share q and theta above
it, `q (theta / q)^(s / m) + (1 - q) ((1 - theta) / (1 - q))^(s / m) <= 1` by Jensen's inequality. Counts may therefore be
fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Counts = float | NDArray[np.int64] | NDArray[np.float64]
Logarithms = NDArray[np.float64]

#: Parts of a Beta distribution below this are taken from their continued fraction, before floats end (1e-308).
SMALL = 1e-250
#: Steps of the continued fraction; so far out in the tail it is exact to a float after a handful.
DEPTH = 60


class Prior(NamedTuple):
    """Where evidence is looked for: a Beta distribution of the share of hits, cut off at the hypothesis.

    Any choice gives an e-value; it only decides how soon which harm is found
    (docs/decisions/0011-evidence.md has the figures).

    Attributes:
        ratio: of the odds at its centre to the odds of the hypothesis.
        concentration: how many events it is worth.
    """

    ratio: float = 3.0
    concentration: float = 10.0

    def parameters(self, share: float) -> tuple[float, float]:
        """The two of the Beta distribution, for a hypothesis."""
        centre = share_of(share, self.ratio)
        return self.concentration * centre, self.concentration * (1 - centre)


class Events(NamedTuple):
    """Events while the weight stayed the same; counts are numbers, or arrays of one shape (one for each look).

    Attributes:
        weight: share of requests that the canary got, above 0 and below 1.
        canary: events of the canary.
        stable: events of the stable version.
    """

    weight: float
    canary: Counts
    stable: Counts


#: One for every kind of event.
PRIOR = Prior()
#: Centred at the hypothesis, since shares on both sides of it count.
AROUND = Prior(ratio=1.0)


def share_above(hits: Counts, misses: Counts, share: float, prior: Prior = PRIOR) -> Logarithms:
    """Evidence that events hit more often than they may.

    With prior Beta(a, b), hits C, misses S and share q the e-value is
    `B(a + C, b + S) (1 - I_q(a + C, b + S)) / [B(a, b) (1 - I_q(a, b)) q^C (1 - q)^S]`; I is the regularised incomplete
    beta function. It holds for any share up to q: each likelihood ratio in the mixture is of a share above q to q.

    Args:
        hits: events that hit, 0 or more; a number, or an array of any shape.
        misses: events that did not, 0 or more, of the same shape.
        share: of hits that is allowed, above 0 and below 1.
        prior: see `Prior`.

    Returns:
        The logarithm of each e-value.

    Raises:
        ValueError: a count below 0, or a share that is none.
    """
    _check(hits, misses, share)
    a, b = prior.parameters(share)
    beyond = _log_part_above(np.add(hits, a), np.add(misses, b), share) - _log_part_above(a, b, share)
    return np.asarray(_mixture(hits, misses, share, a, b) + beyond)


def share_differs(hits: Counts, misses: Counts, share: float, prior: Prior = AROUND) -> Logarithms:
    """Evidence that events hit more or less often than they should; arguments, result and errors as `share_above`."""
    _check(hits, misses, share)
    return _mixture(hits, misses, share, *prior.parameters(share))


def rate_above(phases: Sequence[Events], ratio: float, prior: Prior = PRIOR) -> Logarithms:
    """Evidence that events of the canary are more than `ratio` times as frequent as the stable version's.

    Events that happen in proportion to traffic are the canary's with the share `share_of(weight, ratio)`. A change
    of the weight begins a new phase. E-values of phases multiply, since each is one whatever came before it.

    Args:
        phases: one after another; none are no evidence.
        ratio: of rates that is allowed, above 0.
        prior: see `Prior`.

    Returns:
        The logarithm of the e-value.

    Raises:
        ValueError: a weight, a ratio or a count that is none.
    """
    shares = [share_of(one.weight, ratio) for one in phases]
    each = [share_above(one.canary, one.stable, share, prior) for one, share in zip(phases, shares, strict=True)]
    return np.asarray(sum(each, start=np.zeros(())))


def rate_below(phases: Sequence[Events], ratio: float, prior: Prior = PRIOR) -> Logarithms:
    """Evidence that events of the canary are less than `ratio` times as frequent; as `rate_above` otherwise."""
    return rate_above([Events(1 - one.weight, one.stable, one.canary) for one in phases], 1 / ratio, prior)


def mean(logarithms: Sequence[ArrayLike]) -> Logarithms:
    """The logarithm of the mean of some e-values, which is an e-value whatever they have to do with each other.

    Args:
        logarithms: one or more numbers, or arrays of one shape.

    Raises:
        ValueError: there are none.
    """
    if not len(logarithms):
        raise ValueError("got no e-values, wanted one or more to take the mean of")
    return np.asarray(np.logaddexp.reduce(np.asarray(logarithms, dtype=np.float64)) - math.log(len(logarithms)))


def share_of(weight: float, ratio: float) -> float:
    """The canary's share of events, if it has a weight and its rate is `ratio` times the stable version's.

    Raises:
        ValueError: a weight that is not above 0 and below 1, or a ratio that is not above 0.
    """
    if not 0 < weight < 1:
        raise ValueError(f"got a weight of {weight:g}, wanted one above 0 and below 1")
    if not 0 < ratio < math.inf:
        raise ValueError(f"got a ratio of {ratio:g}, wanted one above 0")
    return weight * ratio / (weight * ratio + 1 - weight)


def _check(hits: Counts, misses: Counts, share: float) -> None:
    if not (np.all(np.greater_equal(hits, 0)) and np.all(np.greater_equal(misses, 0))):
        raise ValueError(f"got {np.min(hits)} hits and {np.min(misses)} misses, wanted 0 or more of both")
    if not 0 < share < 1:
        raise ValueError(f"got a share of {share:g}, wanted one above 0 and below 1")


def _mixture(hits: Counts, misses: Counts, share: float, a: float, b: float) -> Logarithms:
    """Logarithm of the likelihood ratio, averaged over Beta(a, b), of the events in any one order."""
    events = np.multiply(hits, math.log(share)) + np.multiply(misses, math.log1p(-share))
    return np.asarray(special.betaln(np.add(hits, a), np.add(misses, b)) - special.betaln(a, b) - events)


def _log_part_above(a: ArrayLike, b: ArrayLike, share: float) -> Logarithms:
    """Logarithm of the part of Beta(a, b) above a share, also where the part itself is too small for a float.

    A canary that was better for long leaves such parts; with their logarithm at minus infinity it could never be
    found to get worse.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    part = np.asarray(special.betaincc(a, b, share))
    small = part < SMALL
    logarithm = np.asarray(np.log(np.where(small, 1.0, part)))
    if small.any():
        logarithm[small] = _log_tail(a[small], b[small], share)
    return logarithm


def _log_tail(a: NDArray[np.float64], b: NDArray[np.float64], share: float) -> Logarithms:
    """The same by the continued fraction of the incomplete beta function (NIST DLMF 8.17.22), sides exchanged."""
    x, fraction = 1 - share, np.ones_like(a)
    for m in range(DEPTH, -1, -1):
        odd = -(b + m) * (a + b + m) * x / ((b + 2 * m) * (b + 2 * m + 1))
        fraction = 1 + odd / fraction
        if m:
            even = m * (a - m) * x / ((b + 2 * m - 1) * (b + 2 * m))
            fraction = 1 + even / fraction
    front = b * math.log1p(-share) + a * math.log(share) - np.log(b) - special.betaln(a, b)
    return np.asarray(front - np.log(fraction))
