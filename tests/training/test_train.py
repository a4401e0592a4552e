"""The final fit: one model on everything, exported, described, and answering as it was trained to."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from data.forecaster import Forecaster, save
from data.panel import Panel
from data.params import Params
from tests.training import tiny
from training import estimator, intervals, train
from training.train import Trained

pytestmark = pytest.mark.filterwarnings(tiny.BOOLEANS)

PARAMS = tiny.params()
PANEL = tiny.panel()


def trained(config: Params = PARAMS, panel: Panel = PANEL) -> Trained:
    design = tiny.design(config, panel)
    return train.run(config, design, panel, design.origin_table(panel), tiny.backtested(config, panel))


@pytest.fixture(scope="module")
def once() -> Trained:
    return trained()


def test_run_answers_as_the_estimator_does(once: Trained, tmp_path: Path) -> None:
    design = tiny.design(PARAMS, PANEL)
    known = design.origin_table(PANEL)
    origins = estimator.training_origins(design, PANEL, PARAMS.train.max_rows)
    rows = design.rows(PANEL, origins, known[:, origins])
    target = (estimator.actuals(PANEL, origins, 6) / rows.scale[:, None]).ravel()
    point = estimator.fit(rows.inputs, target, PARAMS.train.point, PARAMS.train.seed)
    spread = intervals.fit_spread(tiny.backtested(PARAMS, PANEL), PARAMS.train)
    save(tmp_path / "model", once.card, once.onnx)
    found = Forecaster.load(tmp_path / "model").run(rows.inputs)
    assert found[0] == pytest.approx(point.predict(rows.inputs), rel=1e-6)
    assert found[1] == pytest.approx(np.maximum(spread.predict(rows.inputs), 0.01), rel=1e-6)
    assert once.parity.relative <= 1e-6


def test_run_trains_up_to_the_last_value(once: Trained) -> None:
    assert once.card.trained_from == str(PANEL.times.min())
    assert once.card.trained_until == str(PANEL.times.max())
    target = PANEL.target.copy()
    target[-1] *= 3
    config = tiny.params({"train": {"max_rows": 10**6}})
    before, after = (trained(config, panel).onnx for panel in (PANEL, dataclasses.replace(PANEL, target=target)))
    assert before != after


def test_run_describes_what_it_trained(once: Trained) -> None:
    design = tiny.design(PARAMS, PANEL)
    card = once.card
    assert card.onnx_sha256 == hashlib.sha256(once.onnx).hexdigest()
    assert card.columns == tuple(design.names)
    assert card.declaration == design.declaration
    assert card.scale_floor == design.floor
    origins = estimator.training_origins(design, PANEL, PARAMS.train.max_rows)
    assert card.training_rows == origins.size * 6 <= PARAMS.train.max_rows
    assert len(card.calibration.quantiles) == 6
    made = tiny.backtested(PARAMS, PANEL)
    spreads = intervals.forward_spread(made, PARAMS.train)
    assert card.calibration == intervals.calibrate(made, spreads, 28 * 86_400)


def test_run_gives_the_same_bytes_again(once: Trained) -> None:
    again = trained()
    assert again.onnx == once.onnx
    assert again.card == once.card


def test_run_keeps_a_reference_of_every_feature_and_of_the_forecast(once: Trained) -> None:
    design = tiny.design(PARAMS, PANEL)
    reference = once.card.reference
    assert list(reference.features) == design.names
    for bins in (*reference.features.values(), reference.forecast):
        assert len(bins.shares) == len(bins.edges) + 1
        assert sum(bins.shares) == pytest.approx(1.0)
        assert min(bins.shares) > 0
        assert list(bins.edges) == sorted(set(bins.edges))
    assert (min(reference.features["step"].edges), max(reference.features["step"].edges)) == (1.0, 6.0)
    assert reference.features["future_rain"].edges == (0.0, 1.0)


def test_run_refuses_an_export_that_answers_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "PARITY_LIMIT", 1e-12)
    with pytest.raises(
        ModelError, match=r"^the ONNX model differs from scikit-learn by \S+e-0\d \(relative\) on \d+ rows"
    ):
        trained()


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_run_takes_series_that_never_change(value: float, tmp_path: Path) -> None:
    """An idle shop: no split, no error, no spread; the forecast is the value itself."""
    panel = dataclasses.replace(PANEL, target=np.full_like(PANEL.target, value))
    made = trained(PARAMS, panel)
    save(tmp_path / "model", made.card, made.onnx)
    origins = np.array([100, 700])
    forecaster = Forecaster.load(tmp_path / "model")
    forecast = forecaster.forecast(panel, origins)
    assert forecast.point == pytest.approx(np.full((2, 6), value))
    assert (forecaster.quantile(forecast, 0.9) >= forecast.point).all()


def test_run_leaves_out_what_was_not_observed() -> None:
    hidden = np.random.default_rng(0).random(PANEL.target.size) < 0.3
    config = tiny.params({"series": {"gaps": {"target": "interpolate"}}})
    wild = np.where(hidden, 0.0, PANEL.target)
    made = trained(config, dataclasses.replace(PANEL, target=wild, observed=~hidden))
    assert made.parity.relative <= 1e-6
    # Were the zeros of the gaps forecast, the lowest bin of what was trained on would reach down to them.
    assert made.card.reference.forecast.edges[0] > 0.3


@settings(deadline=None, max_examples=60)
@given(values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(5.0), st.just(float("nan"))), min_size=1, max_size=60))
def test_bins_count_a_value_at_an_edge_into_the_bin_below(values: list[float]) -> None:
    known = [value for value in values if value == value]
    if not known:
        return
    bins = train._bins(np.array(values))
    counts = [0] * len(bins.shares)
    for value in known:
        counts[sum(edge < value for edge in bins.edges)] += 1
    wanted = [(count + 0.5) / (len(known) + 0.5 * len(counts)) for count in counts]
    assert list(bins.shares) == pytest.approx(wanted)
    assert bins.missing == pytest.approx(1 - len(known) / len(values))
