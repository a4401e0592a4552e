"""What two versions answered, from what Prometheus has scraped of the service's own metrics (`service.metrics`).

The trap is in the moments. A counter is known at scrapes alone, which are at other moments for each instance, and
PromQL's `increase` stretches what it finds and loses the first value of a series that appears, such as the first
error's. So scrapes themselves are read, and the count at a moment is taken from the line between the two around it, both
within the phase: requests are never given to another phase's weight. That costs up to two scrapes of each phase, and
the judge's guarantee is as good as traffic is steady from one scrape to the next.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from data.sources.address import mask
from deploy.faults import RolloutError
from deploy.router.counters import Counters, is_refusal

TOTAL = "bentoml_service_request_total"
BUCKET = "bentoml_service_request_duration_seconds_bucket"
#: Forecasts by every door, and nothing else: probes and pages are no users' requests.
WORK = ".*(/forecast|:predict|/infer|/Forecast|/ModelInfer|/Call)"
#: Labels that tell counters of one instance apart.
OWN = {"__name__", "endpoint", "http_response_code", "le"}
TIMEOUT_SECONDS = 10.0
MOST_BYTES = 64 * 2**20

Floats = NDArray[np.float64]


class PrometheusError(RolloutError):
    """Prometheus is out of reach, or does not answer what was asked."""

    code = "prometheus_failed"


@dataclass(frozen=True)
class Series:
    """A counter of one instance.

    Attributes:
        labels: of it.
        times: of its scrapes, seconds since 1970, rising, shape (n,).
        values: at these, shape (n,).
    """

    labels: Mapping[str, str]
    times: Floats
    values: Floats

    @property
    def instance(self) -> tuple[tuple[str, str], ...]:
        """What it is a counter of."""
        return tuple(sorted((key, value) for key, value in self.labels.items() if key not in OWN))


class Prometheus:
    """Access to its HTTP API.

    Args:
        url: where it is.
        timeout: of one question, seconds.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout

    def series(self, version: Mapping[str, str], began: float, ended: float) -> list[Series]:
        """All counters of a version's forecasts, with their scrapes from one moment to another.

        Args:
            version: labels that tell it from others (`identity`).
            began: seconds since 1970.
            ended: seconds since 1970.

        Raises:
            PrometheusError: it cannot be read.
        """
        return self._scrapes(selector(version), began, ended)

    def phases(self, metric: str, began: float, ended: float) -> list[tuple[float, float, float]]:
        """Weight, begin and end of each phase of the rollout under way, from a metric of the weight in percent.

        Raises:
            PrometheusError: it cannot be read, or is more than one series.
        """
        found = self._scrapes(metric, began, ended)
        if len(found) > 1:
            raise PrometheusError(f"{metric}: got {len(found)} series, wanted the candidate's alone: name more labels")
        made: list[tuple[float, float, float]] = []
        for at, percent in zip(found[0].times, found[0].values, strict=True) if found else ():
            weight = float(percent) / 100
            if not 0 < weight < 1:
                made = []
            elif made and made[-1][0] == weight:
                made[-1] = (weight, made[-1][1], float(at))
            else:
                made.append((weight, float(at), float(at)))
        return made

    def _scrapes(self, metric: str, began: float, ended: float) -> list[Series]:
        query = f"{metric}[{max(1, math.ceil((ended - began) * 1e3))}ms]"
        found = self._ask({"query": query, "time": f"{ended:.3f}", "timeout": f"{self._timeout:g}s"})
        if not isinstance(found, list):
            raise PrometheusError(f"Prometheus at {mask(self._url)}: got an answer without data.result, wanted series")
        return [_series(one) for one in found]

    def _ask(self, asked: dict[str, str]) -> Any:
        where = f"Prometheus at {mask(self._url)}"
        try:
            with requests.post(
                f"{self._url}/api/v1/query", data=asked, timeout=self._timeout, stream=True, allow_redirects=False
            ) as answer:
                body = bytearray()
                for part in answer.iter_content(2**16):
                    body += part
                    if len(body) > MOST_BYTES:
                        raise PrometheusError(
                            f"{where}: got more than {MOST_BYTES // 2**20} MB of scrapes, wanted less: ask for shorter "
                            "phases, or name labels that leave other deployments out"
                        )
        except (requests.RequestException, ValueError) as err:
            raise PrometheusError(f"{where} cannot be read: {type(err).__name__}; is DEPLOY_PROMETHEUS right?") from err
        try:
            told = json.loads(body)
            if told["status"] == "success":
                return told["data"].get("result")
            reason = str(told.get("error"))[:300]
        except (ValueError, KeyError, TypeError, AttributeError):
            reason = "its answer is no JSON of its API"
        raise PrometheusError(f"{where}: status {answer.status_code}, {reason}")


def identity(version: str, by: str | None, labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of a version's counters.

    Args:
        version: a Bento's tag, or the value of the label `by`.
        by: the label that tells versions apart; None: they carry the tag themselves.
        labels: of both versions.
    """
    if by is not None:
        return {by: version, **labels}
    name, _, number = version.partition(":")
    return {"service_name": name, "service_version": number, **labels}


def selector(version: Mapping[str, str]) -> str:
    """PromQL that chooses a version's counters."""
    matchers = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in version.items()]
    return "{" + ",".join([f'__name__=~"{TOTAL}|{BUCKET}"', f'endpoint=~"{WORK}"', *matchers]) + "}"


def interval(found: Sequence[Series]) -> float:
    """Seconds from one scrape to the next, the middle of all; 0 if nothing was scraped twice."""
    gaps = [np.diff(one.times) for one in found if one.times.size > 1]
    return float(np.median(np.concatenate(gaps))) if gaps else 0.0


def span(versions: Sequence[Sequence[Series]], began: float) -> tuple[float, float]:
    """The part of a phase in which every instance has a scrape before and after; empty if the end is not after the begin.

    Args:
        versions: series of each version.
        began: the phase.
    """
    step = max(map(interval, versions))
    newest = max((float(one.times[-1]) for version in versions for one in version), default=began)
    return began + step, newest - step


def grown(found: Sequence[Series], since: float, until: float) -> Counters:
    """What was counted from one moment to another, of all instances together.

    A counter that falls has begun anew. One that appears on an instance that was scraped before begins at 0; what an
    instance had counted when it was scraped for the first time is not known to be of this phase, and left out.
    """
    first: dict[tuple[tuple[str, str], ...], float] = {}
    for one in found:
        first[one.instance] = min(first.get(one.instance, math.inf), float(one.times[0]))
    step = interval(found)
    requests, errors, refused = 0.0, 0.0, 0.0
    within: dict[float, float] = {}
    for one in found:
        more = _growth(one, since, until, step if one.times[0] > first[one.instance] else None)
        if one.labels["__name__"] == BUCKET:
            edge = float(one.labels["le"])
            within[edge] = within.get(edge, 0.0) + more
        else:
            requests += more
            code = one.labels.get("http_response_code", "")
            errors += more if code.startswith("5") else 0.0
            refused += more if is_refusal(code) else 0.0
    rising, most = {}, 0
    for edge in sorted(within):  # buckets of an instance that began anew may disagree by a few
        most = max(most, round(within[edge]))
        rising[edge] = most
    whole = max(round(requests), round(errors), round(refused))
    return Counters(whole, round(errors), rising, round(refused))


def _growth(one: Series, since: float, until: float, step: float | None) -> float:
    more = np.diff(one.values)
    more = np.where(more < 0, one.values[1:], more)
    times, rising = one.times, np.concatenate([[0.0], np.cumsum(more)])
    if step is not None:
        times = np.concatenate([[times[0] - step], times])
        rising = np.concatenate([[0.0], rising + one.values[0]])
    low, high = np.interp([since, until], times, rising)
    return float(high - low)


def _series(one: dict[str, Any]) -> Series:
    times, values = zip(*one["values"], strict=True)
    return Series(one["metric"], np.array(times, dtype=np.float64), np.array(values, dtype=np.float64))
