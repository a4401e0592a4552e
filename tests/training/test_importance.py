"""Which columns matter, told by a model that has not seen the rows it is asked on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance

from data.features import Design
from data.panel import Panel
from data.params import Params
from tests.training import tiny
from training import backtest, estimator, importance
from training.backtest import Backtested
from training.forecasts import Forecasts

PANEL = tiny.panel()


def backtested(config: Params, panel: Panel) -> tuple[Design, Backtested]:
    design = tiny.design(config, panel)
    return design, backtest.run(config, design, panel, design.origin_table(panel))


def scaled(forecasts: Forecasts) -> NDArray[np.float64]:
    return np.asarray((forecasts.actual / forecasts.scale[:, None]).ravel())


def noisy(changes: dict[str, Any]) -> tuple[Params, Panel]:
    """A longer table with a covariate that says nothing."""
    panel = tiny.panel((1_152, 1_152))
    noise = np.random.default_rng(1).random(panel.target.size)
    config = tiny.params(
        {
            "series": {"covariates": {"future": ["rain", "noise"]}},
            "backtest": {"fold": "10d", "every": "10d", "stride": 1},
            **changes,
        }
    )
    return config, dataclasses.replace(panel, covariates={**panel.covariates, "noise": noise})


def test_by_column_finds_what_matters_most() -> None:
    design, made = backtested(*noisy({}))
    found = importance.by_column(design, made, 0)
    assert set(found) == set(design.names)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert list(found)[:3] == ["hour", "future_rain", "seasonal_lag_1d"]
    assert abs(found["future_noise"]) < found["seasonal_lag_1d"] / 4


def test_by_column_agrees_with_scikit_learn_on_the_last_fold() -> None:
    """The slow oracle, averaged over shuffles; the folds before the last may hold anything."""
    design, made = backtested(tiny.params({"backtest": {"stride": 1}}), PANEL)
    last = made.forecasts.take(made.forecasts.fold == 3)
    oracle = permutation_importance(
        made.model, last.inputs, scaled(last), scoring="neg_mean_absolute_error", n_repeats=20, random_state=0
    )
    early = made.forecasts.fold < 3
    actual = np.where(early[:, None], 1e6, made.forecasts.actual)
    found = importance.by_column(design, made._replace(forecasts=dataclasses.replace(made.forecasts, actual=actual)), 0)
    assert np.array([found[name] for name in design.names]) == pytest.approx(oracle.importances_mean, abs=0.01)


def test_by_column_noise_is_nothing_though_the_trees_have_learnt_it_by_heart() -> None:
    wild = {"max_iter": 100, "learning_rate": 0.3, "max_leaf_nodes": 64, "min_samples_leaf": 2}
    config, panel = noisy({"train": {"max_rows": 10**6, "point": wild}})
    design, made = backtested(config, panel)
    last = made.forecasts.take(made.forecasts.fold == 3)
    seen = estimator.fit(last.inputs, scaled(last), config.train.point, 0)
    by_heart = importance.by_column(design, made._replace(model=seen), 0)["future_noise"]
    assert by_heart > 0.04
    assert abs(importance.by_column(design, made, 0)["future_noise"]) < by_heart / 4


def test_by_column_leaves_out_what_was_not_observed() -> None:
    design, made = backtested(tiny.params(), PANEL)
    hidden = np.random.default_rng(0).random(made.forecasts.actual.shape) < 0.5
    gappy = dataclasses.replace(made.forecasts, actual=np.where(hidden, np.nan, made.forecasts.actual))
    found = importance.by_column(design, made._replace(forecasts=gappy), 0)
    assert np.isfinite(list(found.values())).all()
    nothing = dataclasses.replace(made.forecasts, actual=np.full_like(gappy.actual, np.nan))
    found = importance.by_column(design, made._replace(forecasts=nothing), 0)
    assert list(found) == design.names
    assert np.isnan(list(found.values())).all()
