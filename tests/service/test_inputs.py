"""What clients sent, as counted against the limits of the model's columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from data import invariants
from data.features import Design
from data.params import ColumnLimits
from service import forecasting, inputs
from service.histories import History
from service.metrics import Metrics
from tests.service.world import World

LIMITS = {
    "rides": ColumnLimits(high=1_000),
    "temperature": ColumnLimits(low=-40, high=45, constant="6h"),
    "rain": ColumnLimits(low=0),
}


class Counted:
    """A worker's counts of inputs, for a model whose columns have limits."""

    def __init__(self, world: World) -> None:
        card, series = world.forecaster.card, world.forecaster.card.declaration.series
        limited = card.declaration.model_copy(update={"series": series.model_copy(update={"limits": LIMITS})})
        self.world, self.registry = world, CollectorRegistry()
        self.inputs = inputs.Inputs(Design(limited, card.scale_floor), self.registry)

    def send(self, *histories: History) -> None:
        _, seen = forecasting.answer(self.world.forecaster, [self.world.ask(*histories)])
        self.inputs.count([seen])

    def values(self, column: str) -> float | None:
        return self.registry.get_sample_value("model_input_values_total", {"column": column})

    def broken(self) -> dict[tuple[str, str], float]:
        found = {
            (column, kind): self.registry.get_sample_value(
                "model_input_violation_total", {"column": column, "kind": kind}
            )
            for column in ("rides", "temperature", "workingday", "rain")
            for kind in invariants.KINDS
        }
        assert None not in found.values(), "every child is there from the start"
        return {key: value for key, value in found.items() if value}


@pytest.fixture
def counted(city: World) -> Counted:
    return Counted(city)


def test_nothing_is_broken_before_anything_was_sent(counted: Counted) -> None:
    assert counted.broken() == {}
    assert counted.values("rides") == 0


def test_values_that_keep_their_limits_are_counted_alone(counted: Counted, city: World) -> None:
    counted.send(*city.histories(3))
    context, horizon = city.forecaster.design.context, city.forecaster.design.horizon
    assert counted.broken() == {}
    assert counted.values("rides") == counted.values("rain") == 3 * context
    assert counted.values("temperature") == 3 * horizon
    assert counted.values("workingday") == 3 * (context + horizon)


def test_changed_unit_stuck_sensor_and_missing_values_are_seen(counted: Counted, city: World) -> None:
    history, context = city.history(), city.forecaster.design.context
    target = history.values * 1_000
    target[[3, 5]] = np.nan
    stuck = np.full(12, 7.0)
    stuck[-1] = 50.0
    counted.send(replace(history, values=target, future_covariates={**history.future_covariates, "temperature": stuck}))
    found = counted.broken()
    assert found.pop(("rides", "high")) == int((target > 1_000).sum()) > context / 2
    assert found == {("rides", "missing"): 2, ("temperature", "constant"): 11, ("temperature", "high"): 1}


def test_values_that_no_feature_looks_at_are_not_counted(counted: Counted, city: World) -> None:
    history, context = city.history(length=city.forecaster.design.context + 10), city.forecaster.design.context
    values = history.values.copy()
    values[:10] = 5_000
    counted.send(replace(history, values=values))
    assert counted.broken() == {}
    assert counted.values("rides") == context


def test_many_series_are_sampled(counted: Counted, city: World) -> None:
    counted.send(*city.histories(inputs.SAMPLE + 5))
    assert counted.values("temperature") == inputs.SAMPLE * 12


def test_a_tick_of_the_worker_counts_what_was_sent(plain: World) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(plain.served, registry)
    _, seen = forecasting.answer(plain.forecaster, [plain.ask(plain.history())])
    metrics.model.watch(seen)
    assert registry.get_sample_value("model_input_values_total", {"column": "rides"}) == 0
    metrics.tick()
    context = plain.forecaster.design.context
    assert registry.get_sample_value("model_input_values_total", {"column": "rides"}) == context
