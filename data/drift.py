"""How far a distribution is from another, in bins: the population stability index (PSI)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Share of the reference mixed into what is compared with it. An empty bin then weighs the same whatever the number
#: of values, so that a week of few requests and one of many can be held against one limit.
MIXED = 0.01
#: The PSI of n values of the reference itself, in 10 bins, is about chi-squared(9) / n: above this / n once in a hundred
#: times. The reference's own number of values is so much larger that it makes no difference.
CHANCE = 21.67
#: No distribution is judged on so few values, or fewer.
FEWEST = 200
#: Lengths of time over which inputs are compared with training, and training with itself.
STRETCHES = ("1d", "7d", "28d")


def psi(counts: Floats, shares: Floats) -> Floats:
    """The sum of (p - q) ln(p / q) over the bins, with p the counts' shares and q the reference's.

    Args:
        counts: shape (..., bins); NaN comes out where they add up to nothing.
        shares: shape (bins,), above 0, adding up to 1.

    Returns:
        Shape (...).
    """
    with np.errstate(invalid="ignore"):
        found = counts / counts.sum(axis=-1, keepdims=True)
    found = (1 - MIXED) * found + MIXED * shares
    return np.asarray(((found - shares) * np.log(found / shares)).sum(axis=-1))
