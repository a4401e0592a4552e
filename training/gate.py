"""The gate between challenger and champion: pure, from errors on the same targets to a verdict.

The challenger is compared with the champion pair by pair, on out-of-sample forecasts of the same
series, origin and step. Errors of neighbouring origins go together, so the interval of the ratio is
bootstrapped over days of origins, not over single errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.params import Gate
from data.verdict import Check, Outcome, Verdict

Floats = NDArray[np.float64]

RESAMPLES = 2_000


def judge(figures: dict[str, float], gate: Gate, versus_champion: Check | None) -> Verdict:
    """The verdict on a challenger.

    Args:
        figures: `metrics.summary` of its backtest.
        gate: the limits.
        versus_champion: as `compare` gives it, or None when there is no champion to compare with.
    """
    checks = [Check.at_most("MAE / seasonal naive", figures["mae_ratio"], gate.max_ratio_to_naive)]
    for name, value in figures.items():
        if name.startswith("coverage_"):
            level = float(name.removeprefix("coverage_")) / 100
            low, high = max(0.0, level - gate.coverage_tolerance), min(1.0, level + gate.coverage_tolerance)
            checks.append(Check.between(f"coverage of the {level * 100:g}% interval", value, low, high))
    return Verdict.of(checks + ([versus_champion] if versus_champion else []))


def compare(challenger: Floats, champion: Floats, days: NDArray[np.int64], gate: Gate, seed: int = 0) -> Check:
    """Whether the challenger's errors are no larger than the champion's, beyond the limit.

    Args:
        challenger: shape (pairs,), absolute errors.
        champion: shape (pairs,), absolute errors on the same targets; pairs with a NaN are left out.
        days: shape (pairs,), the day of each pair's origin; days are resampled whole.
        gate: limit, confidence and the fewest days.
        seed: of the resampling.

    Returns:
        Pass if the interval of the ratio of mean errors lies at or below the limit, fail if it lies
        above, else (or with too few days) inconclusive.
    """
    name = "MAE / champion's"
    known = ~(np.isnan(challenger) | np.isnan(champion))
    kinds, code = np.unique(days[known], return_inverse=True)
    if kinds.size < gate.min_days:
        text = f"{name}: {kinds.size} days with forecasts of both < {gate.min_days} (fewest)"
        return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=text, numbers={"days": float(kinds.size)})
    sums = np.stack([np.bincount(code, weights=errors[known]) for errors in (challenger, champion)])
    if not sums[1].sum() > 0:
        return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=f"{name}: the champion made no error on these rows")
    ratio = float(sums[0].sum() / sums[1].sum())
    weights = np.random.default_rng(seed).multinomial(kinds.size, np.full(kinds.size, 1 / kinds.size), RESAMPLES)
    drawn = (weights @ sums[0]) / np.maximum(weights @ sums[1], 1e-300)
    tail = (1 - gate.confidence) / 2
    low, high = (float(edge) for edge in np.quantile(drawn, [tail, 1 - tail]))
    low, high = min(low, ratio), max(high, ratio)  # few and skewed days with a low confidence can leave it outside
    limit = gate.max_ratio_to_champion
    outcome = Outcome.PASS if high <= limit else Outcome.FAIL if low > limit else Outcome.INCONCLUSIVE
    text = (
        f"{name} {ratio:.4f} ({gate.confidence:.0%} interval {low:.4f} to {high:.4f}) "
        f"{'<=' if outcome is Outcome.PASS else '>' if outcome is Outcome.FAIL else 'around'} {limit:.4g} (limit), "
        f"{int(known.sum())} pairs on {kinds.size} days"
    )
    numbers = {"ratio": ratio, "low": low, "high": high, "limit": limit, "pairs": float(known.sum())}
    return Check(name=name, outcome=outcome, text=text, numbers=numbers)
