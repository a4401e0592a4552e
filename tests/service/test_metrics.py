"""What a worker counts, against numbers counted another way."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.openmetrics.exposition import generate_latest

from data.forecaster import Bins, Forecast, Forecaster
from service import forecasting, metrics
from service.forecasting import Pass
from service.metrics import SAMPLE, Binned, Metrics, ModelMetrics
from tests.service.world import TRAINING_ROWS, World
from training import estimator

SERVICE = {"service_name": "bentocast", "service_version": "abc123", "runner_name": "bentocast"}


class Counted:
    """A worker's metrics, in a registry of their own."""

    def __init__(self, world: World) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(world.served, self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def bins(self, feature: str, world: World) -> list[float]:
        card = world.forecaster.card.reference
        shares = (card.forecast if feature == "forecast" else card.features[feature]).shares
        found = [self.value("model_feature_bin_total", feature=feature, bin=str(place)) for place in range(len(shares))]
        assert self.value("model_feature_bin_total", feature=feature, bin=str(len(shares))) is None
        return [-1.0 if count is None else count for count in found]

    def of(self, name: str, feature: str) -> float | None:
        return self.value(f"model_feature_{name}_total", feature=feature)


@settings(deadline=None)
@given(st.lists(st.integers(1, 3_000), max_size=30))
def test_values_tallied_at_once_are_as_if_observed_one_by_one(sizes: list[int]) -> None:
    registries = CollectorRegistry(), CollectorRegistry()
    at_once, one_by_one = (metrics.Tallied("h", "h", buckets=metrics.BATCH, registry=one) for one in registries)
    at_once.tally(sizes)
    for size in sizes:
        one_by_one.observe(size)
    at_once_told, told = (
        [(one.name, one.labels, one.value) for metric in registry.collect() for one in metric.samples]
        for registry in registries
    )
    assert [one for one in at_once_told if one[0] != "h_created"] == [one for one in told if one[0] != "h_created"]


@pytest.fixture
def counted(city: World) -> Counted:
    return Counted(city)


def watched(world: World, count: int) -> Pass:
    _, seen = forecasting.answer(world.forecaster, [world.ask(*world.histories(count))])
    return seen


def changed(seen: Pass, column: int, values: list[float]) -> Pass:
    """The pass, with other values in the first rows of a column."""
    inputs = seen.inputs.copy()
    inputs[: len(values), column] = values
    return replace(seen, inputs=inputs)


class TestRequests:
    def test_are_counted_by_template_and_status(self, counted: Counted) -> None:
        for endpoint, status, seconds in (("/a", 200, 0.002), ("/a", 200, 0.3), ("/a", 400, 0.1), ("other", 404, 0.0)):
            counted.metrics.answered(endpoint, status, seconds)
        labels = {"endpoint": "/a", "http_response_code": "200", **SERVICE}
        assert counted.value("bentoml_service_request_total", **labels) == 2
        assert counted.value("bentoml_service_request_duration_seconds_count", **labels) == 2
        assert counted.value("bentoml_service_request_duration_seconds_sum", **labels) == pytest.approx(0.302)
        assert counted.value("bentoml_service_request_duration_seconds_bucket", le="0.001", **labels) == 0
        assert counted.value("bentoml_service_request_duration_seconds_bucket", le="0.0025", **labels) == 1
        assert counted.value("bentoml_service_request_duration_seconds_bucket", le="+Inf", **labels) == 2
        for endpoint, code in (("/a", "400"), ("other", "404")):
            labels |= {"endpoint": endpoint, "http_response_code": code}
            assert counted.value("bentoml_service_request_total", **labels) == 1

    def test_failures_that_are_expected_are_there_from_the_start(self, counted: Counted) -> None:
        counted.metrics.expect("/a")
        for status in ("500", "503", "504"):
            labels = {"endpoint": "/a", "http_response_code": status, **SERVICE}
            assert counted.value("bentoml_service_request_total", **labels) == 0
            assert counted.value("bentoml_service_request_duration_seconds_count", **labels) is None
        counted.metrics.answered("/a", 503, 0.1)
        labels |= {"http_response_code": "503"}
        assert counted.value("bentoml_service_request_total", **labels) == 1
        assert counted.value("bentoml_service_request_duration_seconds_count", **labels) == 1

    def test_buckets_tell_the_limits_that_alerts_ask_for(self) -> None:
        assert {0.1, 0.25, 0.5} <= set(metrics.LATENCY)
        assert list(metrics.LATENCY) == sorted(metrics.LATENCY)

    def test_last_one_is_told_once_a_forecast_was_made(self, counted: Counted, city: World) -> None:
        labels = {"service_name": "bentocast:abc123", "service_version": "abc123"}
        counted.metrics.tick()
        assert counted.value("bentoml_service_last_request_timestamp_seconds", **labels) == 0
        counted.metrics.model.watch(watched(city, 1))
        counted.metrics.tick()
        last = counted.value("bentoml_service_last_request_timestamp_seconds", **labels)
        assert last is not None
        assert last > 1.7e9

    def test_a_project_without_a_bento_has_a_name_too(self, plain: World) -> None:
        registry = CollectorRegistry()
        Metrics(replace(plain.served, bento="bentocast"), registry).answered("/a", 200, 0.0)
        labels = SERVICE | {"service_version": "not available", "endpoint": "/a", "http_response_code": "200"}
        assert registry.get_sample_value("bentoml_service_request_total", labels) == 1


class TestModel:
    def test_says_what_is_served(self, city: World) -> None:
        registry = CollectorRegistry()
        Metrics(replace(city.served, lineage={"run_id": "r1", "git_commit": "c0ffee"}), registry)
        labels = {"model": "bentocast", "version": "7", "bento": "bentocast:abc123"}
        wanted = labels | {"run_id": "r1", "git_commit": "c0ffee"}
        assert registry.get_sample_value("model_info", wanted) == 1
        until = registry.get_sample_value("model_trained_until_timestamp_seconds")
        assert until == np.datetime64("2024-04-30T23:00:00", "s").astype(np.int64)

    def test_numbers_beyond_all_of_training_are_counted(self, city: World) -> None:
        reference = city.forecaster.card.reference.model_copy(update={"largest": 3.0})
        card = city.forecaster.card.model_copy(update={"reference": reference})
        forecaster = Forecaster(card, city.forecaster._session)
        registry = CollectorRegistry()
        counting = Metrics(replace(city.served, forecaster=forecaster), registry)
        seen = watched(city, 1)
        point = np.full(seen.forecast.point.shape, 30.0)
        point[0, :2] = 30.001, -31.0
        inputs = seen.inputs.copy()
        inputs[0, 1], inputs[3, 2] = np.inf, -np.inf
        counting.model.watch(replace(seen, inputs=inputs, forecast=Forecast(point, np.ones_like(point))))
        assert registry.get_sample_value("model_input_infinite_total") == 0
        counting.tick()
        assert registry.get_sample_value("model_output_extreme_total", {"output": "mean"}) == 2
        assert registry.get_sample_value("model_output_extreme_total", {"output": "spread"}) == 0
        assert registry.get_sample_value("model_input_infinite_total") == 2

    def test_lineage_that_is_not_known(self, counted: Counted) -> None:
        labels = {"model": "bentocast", "version": "7", "bento": "bentocast:abc123"}
        assert counted.value("model_info", **labels, run_id="unknown", git_commit="unknown") == 1

    def test_series_rows_and_passes(self, counted: Counted, city: World) -> None:
        assert counted.metrics.model.tick() is False
        for count in (1, 5, 3):
            counted.metrics.model.watch(watched(city, count))
        assert counted.value("model_series_total") == 0
        assert counted.metrics.model.tick() is True
        assert counted.value("model_series_total") == 9
        assert counted.value("model_rows_total") == 9 * 12
        assert counted.value("model_sampled_series_total") == 9
        assert counted.value("model_batch_series_count") == 3
        assert counted.value("model_batch_series_sum") == 9
        assert counted.value("model_batch_series_bucket", le="4.0") == 2
        assert counted.metrics.model.tick() is False
        assert counted.value("model_series_total") == 9

    @pytest.mark.parametrize(("output", "wrong"), [("mean", np.nan), ("mean", np.inf), ("spread", -np.inf)])
    def test_numbers_that_are_none(self, counted: Counted, city: World, output: str, wrong: float) -> None:
        seen = watched(city, 2)
        point, spread = seen.forecast.point.copy(), seen.forecast.spread.copy()
        (point if output == "mean" else spread)[1, 3:5] = wrong
        counted.metrics.model.watch(replace(seen, forecast=Forecast(point, spread)))
        assert counted.value("model_output_nonfinite_total", output=output) == 0
        counted.metrics.model.tick()
        assert counted.value("model_output_nonfinite_total", output=output) == 2
        other = "spread" if output == "mean" else "mean"
        assert counted.value("model_output_nonfinite_total", output=other) == 0


class TestReference:
    def test_shares_are_those_of_the_card(self, counted: Counted, city: World) -> None:
        reference = city.forecaster.card.reference
        assert set(reference.features) == set(city.forecaster.design.names)
        for feature, bins in {**reference.features, "forecast": reference.forecast}.items():
            for place, share in enumerate(bins.shares):
                assert counted.value("model_feature_reference_ratio", feature=feature, bin=str(place)) == share
            assert sum(bins.shares) == pytest.approx(1, abs=0.01)
        for feature, bins in reference.features.items():
            assert counted.value("model_feature_reference_missing_ratio", feature=feature) == bins.missing

    def test_every_counter_is_there_from_the_start(self, counted: Counted, city: World) -> None:
        """A rate needs two points: a counter that comes into being at its first value has none."""
        for feature in (*city.forecaster.design.names, "forecast"):
            assert set(counted.bins(feature, city)) == {0.0}
            assert counted.of("missing", feature) == counted.of("outside", feature) == 0

    def test_a_model_without_a_reference_counts_the_rest(self, plain: World) -> None:
        card = plain.forecaster.card
        bare = card.reference.model_copy(update={"features": {}, "forecast": Bins(edges=(), shares=(1.0,))})
        forecaster = Forecaster(card.model_copy(update={"reference": bare}), plain.forecaster._session)
        registry = CollectorRegistry()
        counting = ModelMetrics(replace(plain.served, forecaster=forecaster), registry)
        counting.watch(watched(plain, 2))
        counting.tick()
        assert registry.get_sample_value("model_series_total") == 2
        assert registry.get_sample_value("model_feature_bin_total", {"feature": "forecast", "bin": "0"}) == 48


def oracle(bins: Bins, values: NDArray[np.float64]) -> list[int]:
    """Values in each bin, counted one by one: a bin holds its upper edge."""
    edges = [-math.inf, *bins.edges, math.inf]
    inside = [(values > low) & (values <= high) for low, high in itertools.pairwise(edges)]
    inside[0] |= values == -math.inf
    return [int(chosen.sum()) for chosen in inside]


class TestDistributions:
    def test_of_histories_are_counted_as_training_counts(self, counted: Counted, city: World) -> None:
        seen = watched(city, 40)
        counted.metrics.model.watch(seen)
        counted.metrics.model.tick()
        design, reference = city.forecaster.design, city.forecaster.card.reference
        for place, column in enumerate(design.columns):
            values = seen.inputs[:, place].astype(np.float64)
            if column.known == "origin":
                values = values[::12]
            assert counted.bins(column.name, city) == oracle(reference.features[column.name], values[~np.isnan(values)])
            assert counted.of("missing", column.name) == np.isnan(values).sum()
        scaled = (seen.forecast.point / seen.scale[:, None]).ravel()
        assert counted.bins("forecast", city) == oracle(reference.forecast, scaled)

    def test_of_steps_that_nobody_asked_for_are_not_counted(self, counted: Counted, city: World) -> None:
        """What is known ahead is not sent for them: it would be missing, eleven times of twelve."""
        one, few = (city.ask(city.history(0, steps=steps), horizon=steps) for steps in (1, 3))
        _, seen = forecasting.answer(city.forecaster, [one, few, city.ask(city.history(1))])
        counted.metrics.model.watch(seen)
        counted.metrics.model.tick()
        for name in ("future_temperature", "step", "hour"):
            assert sum(counted.bins(name, city)) == 1 + 3 + 12
            assert counted.of("missing", name) == 0
        matched = [name for name in city.forecaster.design.names if name.startswith("matched_mean")]
        assert matched
        assert all(sum(counted.bins(name, city)) + (counted.of("missing", name) or 0) == 16 for name in matched)
        scaled = seen.forecast.point / seen.scale[:, None]
        answered = np.concatenate([scaled[0, :1], scaled[1, :3], scaled[2]])
        assert counted.bins("forecast", city) == oracle(city.forecaster.card.reference.forecast, answered)
        assert sum(counted.bins("lag_1", city)) == 3

    def test_of_the_training_data_have_the_shares_of_the_card(self, city: World) -> None:
        """The same bins, counted here and there: what training saw is no drift."""
        design, reference = city.forecaster.design, city.forecaster.card.reference
        origins = estimator.training_origins(design, city.panel, max_rows=TRAINING_ROWS)
        inputs = city.features(*origins)
        registry = CollectorRegistry()
        model = ModelMetrics(city.served, registry)
        for place, name in enumerate(design.names):
            bins = reference.features[name]
            (binned,) = [made for made in model._features if made.feature == name]
            binned.count(inputs[:, place].astype(np.float64))
            labels = [{"feature": name, "bin": number} for number in binned.names]
            counts = np.array([registry.get_sample_value("model_feature_bin_total", label) for label in labels])
            assert np.allclose(counts / counts.sum(), bins.shares, atol=0.001)
            assert registry.get_sample_value("model_feature_outside_total", {"feature": name}) == 0

    def test_of_a_feature_known_at_the_origin_count_once_a_series(self, counted: Counted, city: World) -> None:
        counted.metrics.model.watch(watched(city, 3))
        counted.metrics.model.tick()
        totals = {
            column.name: sum(counted.bins(column.name, city)) + (counted.of("missing", column.name) or 0)
            for column in city.forecaster.design.columns
        }
        assert totals["lag_1"] == totals["past_rain"] == 3
        assert totals["step"] == totals["hour"] == totals["future_temperature"] == 36

    def test_values_missing_and_outside(self, counted: Counted, city: World) -> None:
        names = city.forecaster.design.names
        place = names.index("future_temperature")
        reference = city.forecaster.card.reference.features["future_temperature"]
        assert reference.low is not None
        assert reference.high is not None
        odd = [
            math.nan,
            math.nan,
            reference.low,
            reference.high,
            reference.low - 1,
            reference.high + 1,
            math.inf,
            -math.inf,
        ]
        seen = watched(city, 1)
        seen = changed(seen, place, odd)
        counted.metrics.model.watch(seen)
        counted.metrics.model.tick()
        known = seen.inputs[:, place].astype(np.float64)
        known = known[~np.isnan(known)]
        assert counted.of("missing", "future_temperature") == 2
        assert (
            counted.of("outside", "future_temperature")
            == ((known < reference.low) | (known > reference.high)).sum()
            == 4
        )
        assert counted.bins("future_temperature", city) == oracle(reference, known)

    def test_of_much_are_those_of_the_first(self, counted: Counted, city: World) -> None:
        """Under load some series are looked at, and how many there were is told; forecasts are looked at all."""
        place = city.forecaster.design.names.index("future_temperature")
        first, then = watched(city, SAMPLE), watched(city, SAMPLE - 1)
        counted.metrics.model.watch(first)
        counted.metrics.model.watch(changed(then, place, [math.nan] * then.inputs.shape[0]))
        point = then.forecast.point.copy()
        point[3, 4] = math.nan
        counted.metrics.model.watch(replace(then, forecast=Forecast(point, then.forecast.spread)))
        counted.metrics.model.tick()
        assert counted.value("model_series_total") == 3 * SAMPLE - 2
        assert counted.value("model_batch_series_count") == 3
        assert counted.value("model_batch_series_sum") == 3 * SAMPLE - 2
        assert counted.value("model_sampled_series_total") == SAMPLE
        assert not counted.of("missing", "future_temperature")
        assert sum(counted.bins("step", city)) == SAMPLE * 12
        assert sum(counted.bins("forecast", city)) == SAMPLE * 12
        assert counted.value("model_output_nonfinite_total", output="mean") == 1
        counted.metrics.model.watch(then)
        counted.metrics.model.tick()
        assert counted.value("model_sampled_series_total") == 2 * SAMPLE - 1

    def test_of_a_pass_larger_than_a_sample(self, counted: Counted, city: World) -> None:
        """Of a large request not the first series alone, which may be in an order."""
        many = 3 * SAMPLE
        seen = watched(city, many)
        place = city.forecaster.design.names.index("future_temperature")
        horizon = city.forecaster.design.horizon
        counted.metrics.model.watch(changed(seen, place, [math.nan] * (many * horizon // 2)))
        counted.metrics.model.tick()
        assert counted.value("model_sampled_series_total") == SAMPLE
        assert sum(counted.bins("lag_1", city)) == SAMPLE
        assert counted.of("missing", "future_temperature") == SAMPLE * horizon // 2

    @settings(deadline=None)
    @given(
        edges=st.lists(st.floats(-1e6, 1e6), max_size=9, unique=True).map(sorted),
        values=arrays.arrays(np.float64, st.integers(0, 60), elements=st.floats(width=32) | st.integers(-3, 3)),
        at_edges=st.lists(st.integers(0, 8), max_size=5),
        low=st.none() | st.floats(-10, 0),
        high=st.none() | st.floats(0, 10),
    )
    def test_any_values(
        self,
        plain: World,
        edges: list[float],
        values: NDArray[np.float64],
        at_edges: list[int],
        low: float | None,
        high: float | None,
    ) -> None:
        values = np.append(values, [edges[place] for place in at_edges if place < len(edges)])
        registry = CollectorRegistry()
        bins = Bins(edges=tuple(edges), shares=(1.0,) * (len(edges) + 1), low=low, high=high)
        binned = Binned("x", 0, False, bins, ModelMetrics(plain.served, registry))  # noqa: FBT003
        binned.count(values)
        known = values[~np.isnan(values)]
        counts = [
            registry.get_sample_value("model_feature_bin_total", {"feature": "x", "bin": n}) for n in binned.names
        ]
        assert counts == oracle(bins, known)
        beyond = sum((low is not None and value < low) or (high is not None and value > high) for value in known)
        assert registry.get_sample_value("model_feature_outside_total", {"feature": "x"}) == beyond
        assert registry.get_sample_value("model_feature_missing_total", {"feature": "x"}) == values.size - known.size


def test_the_page_can_be_read_and_does_not_grow(counted: Counted, city: World) -> None:
    """Whatever is forecast and however often, there are the same lines."""

    def lines() -> list[str]:
        counted.metrics.model.watch(watched(city, 3))
        counted.metrics.answered("/a", 200, 0.1)
        counted.metrics.tick()
        page = generate_latest(counted.registry).decode()  # type: ignore[no-untyped-call]
        return [line.rpartition(" ")[0] for line in page.splitlines()]

    first = lines()
    assert first == lines()
    assert len(first) < 1_500


def test_watching_costs_no_copy(counted: Counted, city: World) -> None:
    """What is watched is kept until it is counted, at most a quarter of a second, and then let go."""
    model = counted.metrics.model
    for _ in range(3):
        model.watch(watched(city, 1))
    assert len(model._seen) == 3
    model.tick()
    assert not model._seen


def test_the_memory_of_a_worker_is_on_the_page(counted: Counted) -> None:
    counted.metrics.tick()
    page = generate_latest(counted.registry).decode()  # type: ignore[no-untyped-call]
    (line,) = [line for line in page.splitlines() if line.startswith("worker_resident_memory_bytes{")]
    assert 20e6 < float(line.rpartition(" ")[2]) < 20e9
    assert "service_version=" in line


class TestWorkers:
    """The page of several processes, of which some are gone."""

    def wrote(self, folder: Path, pid: int, healthy: float) -> None:
        """As a worker does in its own file."""
        file = MmapedDict(str(folder / f"gauge_livemin_{pid}.db"))  # type: ignore[no-untyped-call]
        file.write_value(mmap_key("record_healthy", "record_healthy", [], [], "healthy"), healthy, 1.0)  # type: ignore[no-untyped-call]
        file.close()  # type: ignore[no-untyped-call]

    def test_a_killed_one_is_forgotten(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else its alert fires until the whole service starts again."""
        dead = subprocess.Popen([sys.executable, "-c", ""])
        assert dead.wait() == 0
        self.wrote(tmp_path, dead.pid, 0)
        self.wrote(tmp_path, os.getpid(), 1)
        self.wrote(tmp_path, 1, 1)  # alive, and of another user
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        assert b"\nrecord_healthy 1.0\n" in metrics.page()
        kept = {file.name for file in tmp_path.iterdir()}
        assert kept == {f"gauge_livemin_{os.getpid()}.db", "gauge_livemin_1.db"}

    def test_another_that_forgets_at_the_same_time_is_no_fault(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "gauge_livemin_7.db").touch()

        def gone(_: int) -> bool:
            (tmp_path / "gauge_livemin_7.db").unlink()
            return False

        monkeypatch.setattr(metrics, "_is_alive", gone)
        monkeypatch.setattr(
            "prometheus_client.multiprocess.glob.glob", lambda _: [str(tmp_path / "gauge_livemin_7.db")]
        )
        metrics.forget_the_dead(tmp_path)
        assert not list(tmp_path.iterdir())

    def test_of_another_user_is_alive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(_: int, __: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "kill", forbidden)
        assert metrics._is_alive(1)
