"""The section of params.yaml on load tests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from data.section import Section, Share


class LoadLimits(Section):
    """How much worse a candidate may be than the baseline; null measures without judging.

    Ratios candidate / baseline, but for `errors`: the difference of the shares of requests that failed.
    """

    p50: Annotated[float, Field(ge=1)] | None = 1.05
    p95: Annotated[float, Field(ge=1)] | None = 1.15
    p99: Annotated[float, Field(ge=1)] | None = 1.25
    throughput: Annotated[float, Field(gt=0, le=1)] | None = 0.95
    processor: Annotated[float, Field(ge=1)] | None = 1.05
    memory: Annotated[float, Field(ge=1)] | None = 1.10
    errors: Annotated[float, Field(ge=0, lt=1)] | None = 0.001


class LoadGate(Section):
    """How two Bentos are compared under load (see `loadtests.gate`)."""

    #: Share of the baseline's throughput at which latencies are measured.
    load: Share = 0.3
    #: Requests under way at once while throughput is measured.
    connections: int = Field(default=8, ge=1, le=512)
    #: Of one measurement of latencies; of throughput three quarters of it.
    seconds: float = Field(default=1.0, ge=0.2, le=60)
    #: Most rounds; fewer when the verdict is clear before.
    rounds: int = Field(default=40, ge=1, le=500)
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    limits: LoadLimits = LoadLimits()


class Objective(Section):
    """What users are promised (SLO): an answer in `seconds` for `percentile` of requests, and few errors."""

    seconds: float = Field(default=0.1, gt=0, le=60)
    percentile: Share = 0.99
    errors: float = Field(default=0.001, ge=0, lt=1)


class LoadHistory(Section):
    """How far figures may creep over versions (see `loadtests.history`)."""

    #: How many gates back.
    versions: int = Field(default=10, ge=2, le=1_000)
    #: Largest ratio of the newest version to the oldest of them.
    limit: float = Field(default=1.15, gt=1)


class Loadtest(Section):
    """Load tests: the protocol that users speak, the objective, the gate between two Bentos."""

    protocol: Literal["native", "v2", "binary", "grpc"] = "native"
    objective: Objective = Objective()
    gate: LoadGate = LoadGate()
    history: LoadHistory = LoadHistory()
