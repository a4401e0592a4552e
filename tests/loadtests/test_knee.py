from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.loadtest import Objective
from loadtests.faults import LoadtestError
from loadtests.knee import search
from loadtests.knee.search import CLOSE, Limit, Probe
from tests.loadtests.store import ROOT, Store
from tests.ports import free_ports
from tests.service.live import Server

OBJECTIVE = Objective(seconds=0.1, percentile=0.99, errors=0.001)


def _service(knee: float, wrong: float = 0.0, seed: int = 0) -> Callable[[float], Probe]:
    """Keeps the objective up to a rate; a probe is wrong now and then."""
    draw = np.random.default_rng(seed)

    def ask(rate: float) -> Probe:
        kept = bool((rate <= knee) != (draw.random() < wrong))
        return Probe(rate, 0.05 if kept else 0.5, 0.0, 0.001, 0.2, kept)

    return ask


@given(st.floats(0.5, 1e6), st.floats(1.0, 1e4))
def test_the_knee_lies_between_what_was_kept_and_what_broke(knee: float, start: float) -> None:
    if knee < start / 900:
        return
    found = search.search(_service(knee), start, OBJECTIVE)
    assert found.kept <= knee < found.broken
    assert found.broken <= found.kept * CLOSE
    assert found.limit is Limit.SERVICE
    assert len(found.probes) < 60


def test_a_probe_that_is_wrong_now_and_then_is_outvoted() -> None:
    found = [search.search(_service(800.0, 0.05, seed), 100.0, OBJECTIVE).kept for seed in range(200)]
    assert sum(700 < kept <= 800 for kept in found) > 180


def test_no_rate_keeps_the_objective() -> None:
    wanted = r"the objective is not kept at any rate: at .* the latency is 500.0 ms \(limit 100 ms\) and 0.0% of requests fail"
    with pytest.raises(LoadtestError, match=wanted):
        search.search(_service(0.0), 100.0, OBJECTIVE)


def test_no_rate_breaks_it() -> None:
    found = search.search(_service(math.inf), 1.0, OBJECTIVE)
    assert (found.broken, found.limit) == (math.inf, Limit.NONE)


def test_a_generator_that_breaks_first_is_named() -> None:
    def ask(rate: float) -> Probe:
        made = _service(500.0)(rate)
        return made if made.kept else dataclasses.replace(made, fault="99% of a core, late by 80.0 ms (p99)")

    assert search.search(ask, 100.0, OBJECTIVE).limit is Limit.GENERATOR


class Told:
    """As `loadtests.arrivals.Told`, which cannot be imported without gevent taking over this process."""

    def __init__(self, latency: float, faults: int = 0, late: float = 0.001, generator: float = 0.2) -> None:
        self.latency, self.late, self.generator = latency, [late] * 100, generator
        self.failed = faults
        self.asked = 100

    def percentile(self, _: float) -> float:
        return self.latency


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (Told(0.09), "kept"),
        (Told(0.11), "broken"),
        (Told(0.01, faults=1), "broken"),
        (Told(float("nan"), faults=100), "broken"),
        (Told(0.2, late=0.06), "generator"),
        (Told(0.2, generator=0.95), "generator"),
        (Told(0.05, generator=0.95), "kept"),
    ],
)
def test_a_probe_is_judged(told: Any, wanted: str) -> None:
    made = search.probe(told, 50.0, OBJECTIVE)
    assert (made.kept, made.fault is not None) == (wanted == "kept", wanted == "generator")


def test_a_probe_without_requests() -> None:
    told: Any = Told(0.1)
    told.asked = 0
    with pytest.raises(LoadtestError, match=r"no request was due at 0.001 requests/s: make the probes longer"):
        search.probe(told, 0.001, OBJECTIVE)


def _knee(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    asked = [sys.executable, "-m", "loadtests", "knee", "--seconds", "0.5", "--out", str(folder), *arguments]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)


def test_of_a_service_that_runs(service: Server, tmp_path: Path) -> None:
    done = _knee(tmp_path, "--host", service.url)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "knee.json").read_text())
    assert 1 < told["kept"] < told["broken"] <= told["kept"] * CLOSE
    assert f"up to {told['kept']:,.0f} requests/s, broken at {told['broken']:,.0f} (native)" in done.stdout
    easy = [probe["kept"] for probe in told["probes"] if probe["rate"] < told["kept"] / 2]
    assert sum(easy) >= len(easy) / 2  # a probe is half a second, and the machine does other work: see the votes above
    assert (tmp_path / "knee.html").read_text().count("<svg") == 1


def test_of_a_bento(store: Store, tmp_path: Path) -> None:
    params = store.params("knee")
    done = store.run(params, "knee", "--bento", store.tag, "--seconds", "0.3", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{store.tag}: keeps 99 % within 100 ms and at most 0.10% errors up to ")


def test_nothing_there(tmp_path: Path) -> None:
    host = f"http://127.0.0.1:{free_ports()}"
    done = _knee(tmp_path, "--host", host)
    assert done.returncode == 9
    assert f"{host} cannot be asked: no bentocast service answers at {host} (ConnectionRefusedError: " in done.stderr
    assert "start the service, or say where it is with --host" in done.stderr
