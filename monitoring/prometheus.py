"""Metrics from a Prometheus server, by its HTTP API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import requests

from data.sources import address
from monitoring.metrics import ANY, Labels, MetricsError, Sample

#: What Prometheus may take to answer.
TIMEOUT_SECONDS = 30.0
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus server at one moment.

    Attributes:
        url: of the server.
        now: seconds since 1970.
    """

    url: str
    now: float

    def last(self, name: str, where: Labels = ANY) -> list[Sample]:
        """See `monitoring.metrics.Metrics`."""
        return self.query(name + _selector(where))

    def increase(self, name: str, seconds: float, where: Labels = ANY) -> list[Sample]:
        """See `monitoring.metrics.Metrics`."""
        return self.query(f"increase({name}{_selector(where)}[{round(seconds * 1e3)}ms])")

    def over(self, name: str, seconds: float, step: float, where: Labels = ANY) -> list[tuple[Labels, Points]]:
        """See `monitoring.metrics.Metrics`."""
        return self.range(name + _selector(where), seconds, step)

    @property
    def shown(self) -> str:
        """Its address, for people."""
        return address.mask(self.url)

    def range(self, expression: str, seconds: float, step: float) -> list[tuple[Labels, Points]]:
        """Any expression over time, as `over`.

        Raises:
            MetricsError: the server does not answer, or does not understand.
        """
        asked = {"query": expression, "start": self.now - seconds, "end": self.now, "step": step}
        return [
            (_labels(one["metric"]), [(float(at), float(value)) for at, value in one["values"]])
            for one in self._ask("query_range", asked)
        ]

    def query(self, expression: str) -> list[Sample]:
        """Any expression that gives an instant vector.

        Raises:
            MetricsError: the server does not answer, or does not understand.
        """
        return [
            Sample(_labels(one["metric"]), float(one["value"][1]))
            for one in self._ask("query", {"query": expression, "time": self.now})
        ]

    def _ask(self, kind: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        shown = self.shown
        try:
            answer = requests.post(f"{self.url.rstrip('/')}/api/v1/{kind}", data=asked, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as err:
            raise MetricsError(
                f"Prometheus does not answer at {shown} ({type(err).__name__}): start it (`make monitoring`), or set "
                "monitoring.prometheus in params.yaml to one that runs"
            ) from err
        told = _json(answer)
        if not isinstance(told, dict) or told.get("status") not in ("success", "error"):
            raise MetricsError(
                f"what answers at {shown} is no Prometheus (HTTP status {answer.status_code}): set monitoring.prometheus in "
                "params.yaml to the address of one"
            )
        if told["status"] == "error":
            raise MetricsError(
                f"Prometheus at {shown} refuses {asked['query']!r}: {told.get('error', 'without a reason')}"
            )
        found: list[dict[str, Any]] = told["data"]["result"]
        return found


def _json(answer: requests.Response) -> Any:
    """What an answer says, None if that is no JSON."""
    try:
        return answer.json()
    except requests.JSONDecodeError:
        return None


def _selector(where: Labels) -> str:
    """`{name="value"}`; values are written as Go writes strings: as JSON does, but for letters beyond 16 bits."""
    pairs = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(where.items()))
    return "{" + ",".join(pairs) + "}" if where else ""


def _labels(metric: dict[str, str]) -> Labels:
    return {name: value for name, value in metric.items() if name not in ("__name__", "job")}
