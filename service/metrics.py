"""The metrics of a worker: BentoML's own, with labels that cannot grow, and the model's.

Imported only in a worker: prometheus_client decides when it is imported whether several processes share a
page, by a variable that `bentoml serve` sets for its workers.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import math
import os
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from data.forecaster import Bins, Forecast
from service import dependencies, memory
from service.forecasting import Pass
from service.inputs import Inputs
from service.served import Served

#: Seconds; fine around the time a forecast takes, so that a limit on it can be told.
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)
#: Series that are looked at between two counts: the first ones, or some of a large pass; of the others forecasts alone are.
#: What is kept until the next count costs more than the counting does: memory that the next pass gets at once is still
#: in the processor's cache.
SAMPLE = 64
#: A forecast so many times as large as anything that training saw is extreme.
EXTREME = 10.0
NAMESPACE = "bentoml_service"
#: Statuses of forecasts that fail for a reason of ours.
FAILURES = (500, 503, 504)


class Metrics:
    """What a worker counts.

    Args:
        served: the model.
        registry: where the metrics are kept.
    """

    def __init__(self, served: Served, registry: CollectorRegistry = REGISTRY) -> None:
        self.served = served
        bento, _, version = served.bento.partition(":")
        self._service = {"service_name": bento, "service_version": version or "not available", "runner_name": bento}
        labels = ["endpoint", "service_name", "service_version", "runner_name", "http_response_code"]
        self._total = Counter(f"{NAMESPACE}_request_total", "Requests answered", labels, registry=registry)
        self._duration = Histogram(
            f"{NAMESPACE}_request_duration_seconds",
            "Time to answer a request",
            labels,
            buckets=LATENCY,
            registry=registry,
        )
        self._last = Gauge(
            f"{NAMESPACE}_last_request_timestamp_seconds",
            "When a request was answered last",
            ["service_name", "service_version"],
            registry=registry,
            multiprocess_mode="max",
        ).labels(served.bento, self._service["service_version"])
        # The largest worker: each one's own series would be without end, since workers are started again.
        self._memory = Gauge(
            "worker_resident_memory_bytes",
            "Resident memory of the largest worker",
            ["service_version"],
            registry=registry,
            multiprocess_mode="livemax",
        ).labels(self._service["service_version"])
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._refused: collections.Counter[tuple[str, int]] = collections.Counter()
        self.model = ModelMetrics(served, registry)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answer.

        Args:
            endpoint: the template of the path, or the name of the gRPC method.
            status: of HTTP, or the one that stands for gRPC's.
            seconds: from the first byte of the headers to the last of the answer.
        """
        total, duration = self._child(endpoint, status)
        total.inc()
        duration.observe(seconds)

    def expect(self, endpoint: str) -> None:
        """Have the failures of what gives forecasts on the page from the start, at 0.

        A series that comes into being with its first failure has no rise: a burst that is over before the next scrape
        would never have been.

        Args:
            endpoint: as `answered` is told of it.
        """
        for status in FAILURES:
            self._total.labels(endpoint=endpoint, http_response_code=str(status), **self._service)

    def _child(self, endpoint: str, status: int) -> tuple[Counter, Histogram]:
        child = self._children.get((endpoint, status))
        if child is None:
            labels = {"endpoint": endpoint, "http_response_code": str(status), **self._service}
            child = self._total.labels(**labels), self._duration.labels(**labels)
            self._children[endpoint, status] = child
        return child

    def refused(self, endpoint: str, status: int) -> None:
        """Count a request that was refused by its head: brought to the page by `tick`, and of no duration."""
        self._refused[endpoint, status] += 1

    def tick(self) -> None:
        """Bring to the page what is counted in memory; called a few times a second."""
        for (endpoint, status), count in self._refused.items():
            self._child(endpoint, status)[0].inc(count)
        self._refused.clear()
        self._memory.set(memory.resident())
        self._last.set_to_current_time() if self.model.tick() else None


class ModelMetrics:
    """What the model took and gave.

    Distributions are counted in the bins of the training data, which `model_feature_reference_ratio` gives:
    drift is then a rule over counters, and nothing is kept. A feature that is known at the origin has one
    value for all steps and counts once a series; of the others those steps count that were asked for.
    """

    def __init__(self, served: Served, registry: CollectorRegistry) -> None:
        card, design = served.forecaster.card, served.forecaster.design
        self._horizon = design.horizon
        self._made: deque[Forecast] = deque()
        self._seen: deque[Pass] = deque()
        self._room = SAMPLE
        self._series = Counter("model_series_total", "Series forecast", registry=registry)
        self._rows = Counter("model_rows_total", "Rows of the model's input (series x steps)", registry=registry)
        self._passes = Tallied(
            "model_batch_series", "Series taken through the model in one pass", buckets=BATCH, registry=registry
        )
        self._sampled = Counter("model_sampled_series_total", "Series whose inputs were counted", registry=registry)
        self._wrong = Counter(
            "model_output_nonfinite_total", "Forecasts that are NaN or infinite", ["output"], registry=registry
        )
        self._extreme = Counter(
            "model_output_extreme_total",
            f"Forecasts larger than {EXTREME:g} times the largest value of training",
            ["output"],
            registry=registry,
        )
        for output in ("mean", "spread"):
            self._wrong.labels(output)
            self._extreme.labels(output)
        self._limit = math.inf if card.reference.largest is None else EXTREME * card.reference.largest
        self._infinite = Counter(
            "model_input_infinite_total", "Values of features that are infinite in float32", registry=registry
        )
        shape = ("feature", "bin")
        self._bins = Counter(
            "model_feature_bin_total", "Values of a feature by bin of training", shape, registry=registry
        )
        self._missing = Counter(
            "model_feature_missing_total", "Values of a feature missing", ["feature"], registry=registry
        )
        self._outside = Counter(
            "model_feature_outside_total", "Values of a feature beyond all of training", ["feature"], registry=registry
        )
        reference = Gauge(
            "model_feature_reference_ratio",
            "Share of training in a bin",
            shape,
            registry=registry,
            multiprocess_mode="max",
        )
        self._features = [
            Binned(name, place, column.known == "origin", card.reference.features[name], self)
            for place, (name, column) in enumerate(zip(design.names, design.columns, strict=True))
            if name in card.reference.features
        ]
        self._forecast = Binned("forecast", -1, False, card.reference.forecast, self)  # noqa: FBT003
        noise = Gauge(
            "model_feature_reference_psi",
            "Largest PSI of a stretch of training of this length against the whole",
            ["feature", "stretch"],
            registry=registry,
            multiprocess_mode="max",
        )
        for stretch, by_feature in card.reference.noise.items():
            for feature, psi in by_feature.items():
                noise.labels(feature, stretch).set(psi)
        for binned in (*self._features, self._forecast):
            for name, share in zip(binned.names, binned.bins.shares, strict=True):
                reference.labels(binned.feature, name).set(share)
        missing = Gauge(
            "model_feature_reference_missing_ratio",
            "Share of a feature's values that were missing in training",
            ["feature"],
            registry=registry,
            multiprocess_mode="max",
        )
        for binned in self._features:
            if binned.bins.missing is not None:
                missing.labels(binned.feature).set(binned.bins.missing)
        self._inputs = Inputs(design, registry)
        self._told(served, registry)

    @staticmethod
    def _told(served: Served, registry: CollectorRegistry) -> None:
        card = served.forecaster.card
        Gauge(
            "model_info",
            "The model served, by its labels",
            ["model", "version", "bento", "run_id", "git_commit"],
            registry=registry,
            multiprocess_mode="livemax",
        ).labels(
            served.model,
            served.model_version,
            served.bento,
            served.lineage.get("run_id", "unknown"),
            served.lineage.get("git_commit", "unknown"),
        ).set(1)
        info = Gauge(
            "model_dependency_info",
            "What the service runs on, by its labels",
            ["package", "version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        for package, version in dependencies.versions().items():
            info.labels(package, version).set(1)
        until = float(np.datetime64(card.trained_until, "s").astype(np.int64))
        Gauge(
            "model_trained_until_timestamp_seconds",
            "Time of the last row of the training data",
            registry=registry,
            multiprocess_mode="livemax",
        ).set(until)

    def watch(self, seen: Pass) -> None:
        """Take note of a pass; costs a microsecond, from any thread."""
        self._made.append(seen.forecast)
        if self._room > 0:
            self._room -= seen.scale.size
            self._seen.append(seen)

    def tick(self) -> bool:
        """Count what was noted; whether there was anything."""
        made = [self._made.popleft() for _ in range(len(self._made))]
        seen = [self._seen.popleft() for _ in range(len(self._seen))]
        self._room = SAMPLE
        if made:
            self._forecasts(made)
        if seen:
            self._distributions(seen)
            self._inputs.count(seen)
        return bool(made)

    def _forecasts(self, made: Sequence[Forecast]) -> None:
        """Of all passes: how many series, and what no forecast should be."""
        sizes = [one.point.shape[0] for one in made]
        self._series.inc(sum(sizes))
        self._rows.inc(sum(sizes) * self._horizon)
        self._passes.tally(sizes)
        for output in ("mean", "spread"):
            values = np.concatenate([(one.point if output == "mean" else one.spread).ravel() for one in made])
            largest = np.abs(values, out=values).max(initial=0.0)
            if largest <= min(self._limit, sys.float_info.max):  # neither is true of NaN
                continue
            wrong = values.size - int(np.isfinite(values).sum())
            if wrong:
                self._wrong.labels(output).inc(wrong)
            extreme = int((values > self._limit).sum())
            if extreme:
                self._extreme.labels(output).inc(extreme)

    def _distributions(self, taken: Sequence[Pass]) -> None:
        """The bins of a sample of the series."""
        rest, inputs, scaled, asked = SAMPLE, [], [], []
        for seen in taken:
            if not rest:
                break
            size = seen.scale.size
            # Series of a large request may be in an order: its first ones would stand for nothing but themselves.
            part = slice(None, None, -(-size // rest))
            rows = seen.inputs.reshape(size, self._horizon, -1)[part]
            inputs.append(rows.reshape(-1, rows.shape[2]))
            scaled.append((seen.forecast.point[part] / seen.scale[part, None]).ravel())
            asked.append(_asked(seen, self._horizon)[part].ravel())
            rest -= rows.shape[0]
        self._sampled.inc(SAMPLE - rest)
        matrix, wanted = np.concatenate(inputs).T.astype(np.float64), np.concatenate(asked)
        infinite = int(np.isinf(matrix).sum())
        if infinite:
            self._infinite.inc(infinite)
        for binned in self._features:
            column = matrix[binned.place]
            binned.count(column[:: self._horizon] if binned.once else column[wanted])
        self._forecast.count(np.concatenate(scaled)[wanted])


def _asked(seen: Pass, horizon: int) -> NDArray[np.bool_]:
    """Shape (series, horizon): the steps that were asked for; of others the model is told nothing that is known ahead."""
    steps = np.repeat([one.steps for one in seen.questions], [len(one.names) for one in seen.questions])
    return np.arange(horizon) < steps[:, None]


class Tallied(Histogram):
    """A histogram that takes many values at once, with one write for each bucket."""

    def tally(self, values: Iterable[float]) -> None:
        """As if each value were observed."""
        counted = collections.Counter(values)
        by_bucket: collections.Counter[int] = collections.Counter()
        for value, many in counted.items():
            by_bucket[bisect.bisect_left(self._upper_bounds, value)] += many
        self._sum.inc(sum(value * many for value, many in counted.items()))
        for place, many in by_bucket.items():
            self._buckets[place].inc(many)


class Binned:
    """Counters of one distribution.

    Args:
        feature: its name.
        place: of its column.
        once: whether all steps of a series have the same value.
        bins: of the training data.
        of: whose counters these are.
    """

    def __init__(self, feature: str, place: int, once: bool, bins: Bins, of: ModelMetrics) -> None:  # noqa: FBT001
        self.feature, self.place, self.once, self.bins = feature, place, once, bins
        self.names = [str(number) for number in range(len(bins.shares))]
        self._edges = np.array(bins.edges)
        self._low = -math.inf if bins.low is None else bins.low
        self._high = math.inf if bins.high is None else bins.high
        # Every bin is there from the start, at 0: a rate needs two points.
        self._counters = [of._bins.labels(feature, name) for name in self.names]  # noqa: SLF001
        self._missing = of._missing.labels(feature)  # noqa: SLF001
        self._outside = of._outside.labels(feature)  # noqa: SLF001

    def count(self, values: NDArray[np.float64]) -> None:
        """Add values to the counters; a value that is an edge counts into the bin below it, as in training."""
        known = values[~np.isnan(values)]
        counts = np.bincount(np.searchsorted(self._edges, known, side="left"), minlength=len(self.names))
        for counter, number in zip(self._counters, counts.tolist(), strict=True):
            if number:
                counter.inc(number)
        missing, outside = values.size - known.size, int(((known < self._low) | (known > self._high)).sum())
        if missing:
            self._missing.inc(missing)
        if outside:
            self._outside.inc(outside)


def page() -> bytes:
    """The page that Prometheus reads: of all workers if there are several processes."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_the_dead(folder: Path) -> None:
    """Remove the live gauges of workers that have ended without saying so: killed ones, for lack of memory say."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        if not _is_alive(pid):
            with contextlib.suppress(FileNotFoundError):  # another worker was quicker
                multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
