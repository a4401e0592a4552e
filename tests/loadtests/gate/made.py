"""What a gate would have found."""

from __future__ import annotations

import datetime as dt

import numpy as np

from data.loadtest import Loadtest
from data.verdict import Check, Outcome, Verdict
from loadtests.gate.bentos import Bento
from loadtests.gate.judge import Round, Side, judge
from loadtests.gate.measured import SIDES, Gated, Measured


def gated(ratio: float = 1.0, faults: int = 0, rounds: int = 12) -> Gated:
    draw = np.random.default_rng(0)
    measured = Measured(rate=200.0, capacity=800.0)
    for _ in range(rounds):
        noise = draw.lognormal(0, 0.01, 5)
        base = Side(0.002, 0.004, 0.008, 1_000.0, 0.001, 2e8, 3_000, 0)
        p50, p95, p99 = (value * ratio * noise[place] for place, value in enumerate((base.p50, base.p95, base.p99)))
        throughput, processor = base.throughput / ratio * noise[3], base.processor * ratio * noise[4]
        other = Side(p50, p95, p99, throughput, processor, 2e8, 3_000, faults)
        measured.rounds.append(Round(base, other))
    for side in SIDES:
        measured.latencies[side] = draw.lognormal(-6, 0.4, 3_000).tolist()
    if faults:
        measured.faults["candidate"] = {"StatusError: 500: <script>alert(1)</script>": faults * rounds}
    settings = Loadtest()
    verdict = judge(measured.rounds, settings.gate.limits, 0.95, 4)
    ready = Check(name="generator", outcome=Outcome.PASS, text="generator: 10% of a core, late by 1.00 ms (p99)")
    bentos = {"baseline": Bento("bentocast:one", {}), "candidate": Bento("bentocast:two", {"mlflow_version": "7"})}
    began = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)
    whole = Verdict.of([*verdict.checks, ready])
    return Gated(began, 65.4, bentos, settings, 42, measured, whole, dict.fromkeys(SIDES, 5.0))
