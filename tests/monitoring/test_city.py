"""What happens in simulated months, and what faults make of it."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from data.sources import sample
from monitoring.faults import LoopError
from monitoring.simulation import proof
from monitoring.simulation.city import City
from monitoring.simulation.faults import FAULTS
from tests.data import project

PARAMS = project.changed()
MADE = PARAMS.ingest.sample.model_copy(update={"stations": 3, "start": "2024-01-01", "end": "2024-04-30T23:00"})


@pytest.fixture(scope="module")
def city() -> City:
    return City.of(PARAMS, MADE)


def test_the_city_is_the_sample_on_a_grid(city: City) -> None:
    frame = sample.generate(MADE)
    assert city.target.shape == (len(city.names), city.hours.size)
    assert city.hours.size == 24 * (31 + 29 + 31 + 30)
    for row in frame.sample(50, random_state=0).itertuples():
        if row.station in city.names:
            place = city.at(np.datetime64(str(row.hour)))
            assert city.target[city.names.index(row.station), place] == row.rides
            assert city.covariates["temperature"][place] == row.temperature
    assert all(np.isfinite(values).all() for values in city.covariates.values())


def test_the_table_holds_what_was_reported_before_an_hour(city: City) -> None:
    until = city.at(np.datetime64("2024-03-01"))
    made = city.table(PARAMS, until)
    frame = sample.generate(MADE)
    wanted = frame[(frame.hour < "2024-03-01") & frame.station.isin(city.names)].reset_index(drop=True)
    assert list(made.columns) == list(wanted.columns)
    assert len(made) == len(wanted)
    assert (made.rides.to_numpy() == wanted.rides.to_numpy()).all()
    assert (made.hour.to_numpy() == wanted.hour.to_numpy()).all()
    assert city.table(PARAMS, until, until - 24).hour.min() >= np.datetime64("2024-02-29")


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.covariate])
def test_a_sensor_at_fault_reports_something_else_from_its_hour_on(city: City, name: str) -> None:
    fault = FAULTS[name]
    assert fault.covariate is not None
    covariate, report = fault.covariate
    since = city.at(np.datetime64("2024-03-01"))
    wrong = city.reported(covariate, since, report)
    true, told = city.covariates[covariate], wrong.covariates[covariate]
    assert (told[:since] == true[:since]).all()
    assert (told[since + 48 :] != true[since + 48 :]).mean() > 0.9
    assert np.isfinite(told).all()
    assert wrong.target is city.target


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.code])
def test_the_code_of_a_fault_is_code(name: str) -> None:
    ast.parse(FAULTS[name].code)


def test_each_of_the_tests_that_can_be_shown_has_a_fault() -> None:
    assert len(FAULTS) == 9
    assert {fault.test for fault in FAULTS.values()} == {
        "invariants", "skew", "staleness", "numerics", "cost", "quality",
    }  # fmt: skip
    assert {name for name, fault in FAULTS.items() if fault.heals} == {"regime", "stopped"}


def test_an_unknown_simulation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LoopError, match="got 'rain', wanted one of quiet, drift, sensor"):
        proof.check(["quiet", "rain"])
