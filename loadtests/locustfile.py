"""A user who asks for forecasts: `locust --headless -u 8 -t 30s` against a running service.

The request is made from what the service says it wants (`GET /v1/timeseries/models`), so it fits any
model; the answer is checked, not only its status.
"""

from __future__ import annotations

import math
import random
from typing import Any

from locust import HttpUser, between, task


class Forecaster(HttpUser):
    """Asks for one series, sometimes for many."""

    host = "http://127.0.0.1:3000"
    wait_time = between(0.05, 0.2)

    def on_start(self) -> None:
        """Learn what the model wants."""
        self.wanted = self.client.get("/v1/timeseries/models").json()["models"][0]

    @task(9)
    def one(self) -> None:
        """One series."""
        self._ask(1, "one series")

    @task(1)
    def many(self) -> None:
        """A panel of 32 series."""
        self._ask(32, "32 series")

    def _ask(self, count: int, name: str) -> None:
        body = {"inputs": [_series(self.wanted, place) for place in range(count)], "options": {"quantiles": [0.1, 0.9]}}
        with self.client.post("/v1/timeseries/forecast", json=body, name=name, catch_response=True) as answer:
            fault = _fault(answer.json(), count, self.wanted["horizon"]) if answer.ok else answer.text[:200]
            if fault:
                answer.failure(fault)


def _series(wanted: dict[str, Any], place: int) -> dict[str, Any]:
    length, horizon = wanted["context_length"], wanted["horizon"]
    level = random.uniform(5, 500)
    values = [round(level * (1.2 + math.sin(step / 3.8)) * random.uniform(0.8, 1.2), 1) for step in range(length)]
    return {
        "name": f"series {place}",
        "series": values,
        "start_timestamp": "2024-01-01T00:00:00",
        "past_covariates": {name: [1.0] * length for name in wanted["past_covariates"]},
        "future_covariates": {name: [1.0] * horizon for name in wanted["future_covariates"]},
    }


def _fault(answer: dict[str, Any], count: int, horizon: int) -> str | None:
    """What is wrong with an answer, or None."""
    outputs = answer.get("outputs", [])
    if len(outputs) != count:
        return f"got {len(outputs)} forecasts, wanted {count}"
    for output in outputs:
        content = output["content"][0]
        lines = [content["mean_forecast"], *content["quantiles"].values()]
        if any(len(line) != horizon or not all(map(math.isfinite, line)) for line in lines):
            return f"{content['name']}: not {horizon} finite numbers"
        if any(low > high for low, high in zip(content["quantiles"]["0.1"], content["quantiles"]["0.9"], strict=True)):
            return f"{content['name']}: the 10 % quantile lies above the 90 % quantile"
    return None
