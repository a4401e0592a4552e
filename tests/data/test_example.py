"""The example request holds what a model of the declaration needs, and no more than a client would know."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from data import example
from data.declaration import Declaration
from data.errors import DataError
from data.features import Design, scale_floor
from data.panel import Panel
from data.params import Params
from tests.data import project

COVARIATES = ("temperature", "rain", "wind", "holiday", "workingday")


@pytest.fixture(scope="module")
def params() -> Params:
    return project.changed({"series.covariates": {"future": list(COVARIATES), "past": ["price"]}})


@pytest.fixture(scope="module")
def panel() -> Panel:
    generator = np.random.default_rng(0)
    return Panel(
        ids=("s01", "s02"),
        offsets=np.array([0, 1_000, 2_100]),
        starts=np.array(["2024-01-01T00", "2024-02-01T05"], dtype="datetime64[s]"),
        step_seconds=3_600,
        target=generator.poisson(9.0, 2_100).astype(np.float64),
        observed=np.ones(2_100, dtype=np.bool_),
        covariates={name: generator.integers(0, 9, 2_100).astype(np.float64) for name in (*COVARIATES, "price")},
    )


def test_example_asks_for_the_last_horizon_again(params: Params, panel: Panel) -> None:
    body = example.request(params, panel, ["s02"])
    design = Design(Declaration(series=params.series, features=params.features), scale_floor(panel))
    (sent,) = body["inputs"]
    first, origin = 2_100 - design.horizon - design.context, 2_100 - design.horizon
    assert (sent["name"], sent["frequency"], sent["type"]) == ("s02", "1h", "univariate_time_series")
    assert sent["series"] == panel.target[first:origin].tolist()
    assert sent["start_timestamp"] == str(panel.times[first])
    assert sent["past_covariates"] == {name: panel.covariates[name][first:origin].tolist() for name in design.past}
    assert sent["future_covariates"] == {name: panel.covariates[name][origin:].tolist() for name in design.future}
    assert set(sent["past_covariates"]) == {"price", "workingday"}
    assert body["options"] == {"horizon": 24, "quantiles": [0.1, 0.5, 0.9]}
    assert json.loads(json.dumps(body)) == body


def test_example_is_of_the_first_series_unless_others_are_named(params: Params, panel: Panel) -> None:
    assert [sent["name"] for sent in example.request(params, panel, [])["inputs"]] == ["s01"]
    assert [sent["name"] for sent in example.request(params, panel, ["s02", "s01"])["inputs"]] == ["s02", "s01"]


def test_example_of_fewer_steps(params: Params, panel: Panel) -> None:
    assert example.request(params, panel, [], 3)["options"]["horizon"] == 3


def test_example_of_an_unknown_series_is_refused_with_the_known_ones(params: Params, panel: Panel) -> None:
    with pytest.raises(DataError) as caught:
        example.request(params, panel, ["s01", "s99"])
    assert caught.value.message == "the table has no series 's99', wanted one of s01, s02"
    assert caught.value.exit_code == 3


def test_examples_are_requests_for_the_first_series_with_what_really_came(panel: Panel) -> None:
    params = project.changed({"train.examples": 2})
    observed = panel.observed.copy()
    observed[-1] = False
    made = example.examples(params, dataclasses.replace(panel, observed=observed))
    assert [one.request for one in made] == [example.request(params, panel, [name]) for name in ("s01", "s02")]
    assert made[0].actuals == tuple(panel.target[976:1_000])
    assert made[1].actuals == (*panel.target[2_076:2_099], None)


def test_no_examples_unless_they_are_asked_for(panel: Panel) -> None:
    assert example.examples(project.changed({"train.examples": 0}), panel) == []
    assert example.examples(project.changed({"train.examples": project.DELETED}), panel) == []
