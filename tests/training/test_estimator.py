"""Which rows a model is trained on, and on which targets."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.features import Design
from data.panel import Panel
from data.params import Trees
from tests.training import tiny
from training import estimator

PARAMS = tiny.params()
CONTEXT = 24
EVERYTHING = 10**9


def hidden(panel: Panel, seed: int, share: float) -> Panel:
    """The panel with some rows marked as estimates in a gap."""
    seen = np.random.default_rng(seed).random(panel.target.size) >= share
    return dataclasses.replace(panel, observed=seen)


def usable(design: Design, panel: Panel) -> list[int]:
    """By a plain loop: observed, the context before and the horizon after within the same series."""
    rows = []
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        rows += [
            row
            for row in range(start, stop)
            if row - start + 1 >= design.context and row + design.horizon < stop and panel.observed[row]
        ]
    return rows


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(30, 90), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_training_origins_are_all_usable_rows_when_there_is_room(lengths: list[int], seed: int, share: float) -> None:
    panel = hidden(tiny.panel(tuple(lengths)), seed, share)
    design = tiny.design(PARAMS, panel)
    assert design.context == CONTEXT
    wanted = usable(design, panel)
    assume(wanted)
    assert estimator.training_origins(design, panel, EVERYTHING).tolist() == wanted


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(30, 400), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.3, 0.9]),
    max_rows=st.integers(6, 2_000),
)
def test_training_origins_of_a_sample_are_usable_and_about_as_many_as_asked(
    lengths: list[int], seed: int, share: float, max_rows: int
) -> None:
    panel = hidden(tiny.panel(tuple(lengths)), seed, share)
    design = tiny.design(PARAMS, panel)
    everything = usable(design, panel)
    assume(everything)
    chosen = estimator.training_origins(design, panel, max_rows).tolist()
    assert chosen
    assert set(chosen) <= set(everything)
    assert len(set(chosen)) == len(chosen)
    if share == 0:
        assert len(chosen) * design.horizon <= max_rows + len(lengths) * design.horizon


@pytest.mark.parametrize("max_rows", [1_100, 1_500, 2_016, 3_000, 6_000])
def test_training_origins_of_a_sample_see_every_hour_of_the_week(max_rows: int) -> None:
    panel = tiny.panel((168 * 40,))
    design = tiny.design(PARAMS, panel)
    chosen = estimator.training_origins(design, panel, max_rows)
    stride = int(np.diff(chosen)[0])
    assert stride > 1
    assert math.gcd(stride, 168) == 1
    assert np.unique(np.diff(chosen)).tolist() == [stride]
    weeks = min(chosen.size, 168)
    assert np.unique(panel.age[chosen] % 168).size == weeks
    assert np.unique(panel.age[chosen] % 24).size == 24


def test_training_origins_of_a_sample_see_every_hour_when_shops_open_five_hours_a_day() -> None:
    panel = tiny.panel((24 * 200,))
    panel = dataclasses.replace(panel, observed=panel.age % 24 < 5)
    design = tiny.design(PARAMS, panel)
    chosen = estimator.training_origins(design, panel, 1_200)
    assert set(panel.age[chosen] % 24) == set(range(5))


def test_training_origins_of_a_sample_of_many_short_series_are_never_none() -> None:
    panel = tiny.panel((CONTEXT + 6 + 4,) * 300)
    design = tiny.design(PARAMS, panel)
    chosen = estimator.training_origins(design, panel, 1_000)
    assert 0.5 * 1_000 <= chosen.size * design.horizon <= 1.5 * 1_000
    assert np.unique(panel.series[chosen]).size > 100


def test_training_origins_of_few_rows_with_a_long_horizon_are_never_none() -> None:
    params = tiny.params({"features": {"horizon": 23}})
    panel = tiny.panel((CONTEXT + 23 + 2,))
    design = tiny.design(params, panel)
    assert estimator.training_origins(design, panel, 10).size == 1


def test_training_origins_are_among_those_allowed() -> None:
    panel = tiny.panel((80, 60))
    design = tiny.design(PARAMS, panel)
    allowed = panel.age < 40
    chosen = estimator.training_origins(design, panel, EVERYTHING, among=allowed)
    assert chosen.tolist() == [row for row in usable(design, panel) if allowed[row]]


def test_training_origins_of_a_short_series_say_how_many_rows_are_wanted() -> None:
    panel = tiny.panel((80, 29, 12))
    with pytest.raises(DataError) as caught:
        estimator.training_origins(tiny.design(PARAMS, panel), panel, EVERYTHING)
    assert caught.value.message == (
        "series 'shop 1' has 29 rows (2 such series), wanted 30 or more: 24 for the longest window and 6 for the horizon; "
        "shorten the windows under features in params.yaml, or remove the series from the table"
    )
    assert caught.value.param == "features"


def test_training_origins_take_a_series_that_is_just_long_enough() -> None:
    panel = tiny.panel((30,))
    assert estimator.training_origins(tiny.design(PARAMS, panel), panel, EVERYTHING).tolist() == [CONTEXT - 1]


@pytest.mark.parametrize("fault", ["nothing observed", "nothing allowed"])
def test_training_origins_of_no_usable_row_say_so(fault: str) -> None:
    panel = tiny.panel((80,))
    nothing = np.zeros(80, bool)
    among = nothing if fault == "nothing allowed" else None
    if fault == "nothing observed":
        panel = dataclasses.replace(panel, observed=nothing)
    with pytest.raises(DataError) as caught:
        estimator.training_origins(tiny.design(PARAMS, panel), panel, EVERYTHING, among=among)
    assert caught.value.message == (
        "no row of the table can be trained on: no origin has enough history and an observed value"
    )


def test_actuals_are_the_values_after_each_origin() -> None:
    panel = tiny.panel((50, 50))
    origins = np.array([3, 40, 70])
    found = estimator.actuals(panel, origins, 4)
    assert found.tolist() == [[panel.target[origin + step] for step in range(1, 5)] for origin in origins]


def test_actuals_in_a_gap_are_not_known() -> None:
    panel = tiny.panel((50,))
    seen = panel.observed.copy()
    seen[[12, 14]] = False
    found = estimator.actuals(dataclasses.replace(panel, observed=seen), np.array([11]), 4)
    assert np.isnan(found).tolist() == [[True, False, True, False]]


def test_fit_leaves_out_rows_in_a_gap() -> None:
    draw = np.random.default_rng(0)
    inputs = draw.random((600, 3)).astype(np.float32)
    target = inputs[:, 0] + 0.1 * draw.standard_normal(600)
    trees = Trees(max_iter=5, min_samples_leaf=5)
    known = draw.random(600) > 0.3
    whole = estimator.fit(inputs, np.where(known, target, np.nan), trees, 1)
    part = estimator.fit(inputs[known], target[known], trees, 1)
    assert np.array_equal(whole.predict(inputs), part.predict(inputs))


def test_fit_gives_the_same_model_for_the_same_seed() -> None:
    draw = np.random.default_rng(0)
    inputs, target = draw.random((600, 6)).astype(np.float32), draw.random(600)
    trees = Trees(max_iter=5, min_samples_leaf=5, max_features=0.3)
    first, again, other = (estimator.fit(inputs, target, trees, seed).predict(inputs) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fit_takes_every_hyper_parameter() -> None:
    trees = Trees(
        loss="squared_error",
        max_iter=3,
        learning_rate=0.25,
        max_leaf_nodes=5,
        min_samples_leaf=7,
        l2_regularization=0.5,
        max_features=0.75,
    )
    draw = np.random.default_rng(0)
    model = estimator.fit(draw.random((200, 2)).astype(np.float32), draw.random(200), trees, 3)
    given = model.get_params()
    assert {name: given[name] for name in trees.model_dump()} == trees.model_dump()
    assert given["early_stopping"] is False
    assert model.n_iter_ == 3
