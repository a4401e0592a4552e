"""How much each column matters: what the last fold's forecasts lose without it.

Measured by the model that has not seen the fold: one that has would find a use for noise too.
"""

from __future__ import annotations

import numpy as np

from data.features import Design
from training.backtest import Backtested

#: Most rows that columns are shuffled on.
ROWS = 4_000


def by_column(design: Design, made: Backtested, seed: int) -> dict[str, float]:
    """Permutation importance (Breiman 2001, "Random forests", section 10).

    Args:
        design: the features.
        made: the backtest.
        seed: of the shuffling.

    Returns:
        How much the scaled absolute error rises on average when a column is shuffled, largest first; NaN
        where nothing was observed in the last fold.
    """
    last = made.forecasts.take(made.forecasts.fold == made.forecasts.fold[-1])
    draw = np.random.default_rng(seed)
    actual = (last.actual / last.scale[:, None]).ravel()
    known = draw.permutation(np.flatnonzero(~np.isnan(actual)))[:ROWS]
    if not known.size:
        return dict.fromkeys(design.names, np.nan)
    inputs, actual = last.inputs[known], actual[known]
    before = np.abs(made.model.predict(inputs) - actual).mean()
    rises = {}
    for place, name in enumerate(design.names):
        shuffled = inputs.copy()
        shuffled[:, place] = draw.permutation(shuffled[:, place])
        rises[name] = float(np.abs(made.model.predict(shuffled) - actual).mean() - before)
    return dict(sorted(rises.items(), key=lambda item: -item[1]))
