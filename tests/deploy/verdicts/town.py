"""Two versions of the service, the traffic that they get, and a real Prometheus that scrapes both."""

from __future__ import annotations

import contextlib
import http.server
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from data.rollout import Judgement
from data.verdict import Verdict
from deploy.verdicts import asked, given
from deploy.verdicts.prometheus import Prometheus
from service.metrics import Metrics
from tests.ports import free_ports
from tests.service.world import World

BINARY = shutil.which("prometheus")
#: Of tests that use it.
MARKS = [
    pytest.mark.services,
    pytest.mark.skipif(BINARY is None, reason="wants Debian's package prometheus: make test-services as root"),
]

#: A scrape carries the moment when it was asked for, up to so long before it was answered.
SCRAPE_TIMEOUT_SECONDS = 0.2
CONFIGURATION = """
global: {{scrape_interval: 250ms, scrape_timeout: {timeout:.0f}ms}}
scrape_configs:
- job_name: bentocast
  static_configs: [{{targets: ["127.0.0.1:{stable}"], labels: {{namespace: prod, rollouts_pod_template_hash: old}}}}]
- job_name: canary
  static_configs: [{{targets: ["127.0.0.1:{candidate}"], labels: {{namespace: prod, rollouts_pod_template_hash: new}}}}]
"""
FORECAST = "/v1/timeseries/forecast"
#: Edges of the service's own histogram are up to 2.5 times apart.
LIMITS = Judgement.model_validate({"requests": 200, "slowness": {"tolerated": 1.5, "excluded": 2.6}})


@dataclass
class Version:
    """The metrics of a version, on a page that can be scraped."""

    metrics: Metrics
    registry: CollectorRegistry

    @classmethod
    def of(cls, world: World, tag: str) -> Version:
        registry = CollectorRegistry()
        return cls(Metrics(replace(world.served, bento=tag), registry), registry)

    @contextlib.contextmanager
    def on_page(self) -> Iterator[int]:
        registry = self.registry

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/plain")
                self.end_headers()
                self.wfile.write(generate_latest(registry))

            def log_message(self, *_: object) -> None: ...

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server.server_port
            server.shutdown()
            thread.join()


@dataclass
class Town:
    """Two versions, Prometheus, and the traffic that they get."""

    stable: Version
    candidate: Version
    source: Prometheus
    url: str
    draw: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.weight = Gauge("canary_weight", "In percent", registry=self.candidate.registry)

    def traffic(self, weight: float, seconds: float, slower: float = 1.0, errors: float = 0.0) -> tuple[float, float]:
        """About 1,000 answers/s, and when they began and ended."""
        self.weight.set(100 * weight)
        began = time.time()
        while time.time() < began + seconds:
            for _ in range(20):
                new = self.draw.random() < weight
                took = self.draw.lognormvariate(-4.5, 0.6) * (slower if new else 1.0)
                status = 500 if new and self.draw.random() < errors else 200
                (self.candidate if new else self.stable).metrics.answered(FORECAST, status, took)
            self.stable.metrics.answered("/readyz", 200, 0.0001)
            time.sleep(0.02)
        return began, time.time()

    def verdict(self, phases: list[tuple[float, tuple[float, float]]], **changes: Any) -> Verdict:
        wanted: dict[str, Any] = {
            "stable": "bentocast:a",
            "candidate": "bentocast:b",
            "labels": {"namespace": "prod"},
            "phases": [{"weight": weight, "began": began, "ended": ended} for weight, (began, ended) in phases],
        }
        return given.on(asked.Asked.model_validate(wanted | changes), LIMITS, self.source, time.time())


@contextlib.contextmanager
def up(city: World, folder: Path) -> Iterator[Town]:
    """With Prometheus up, and some traffic before the candidate."""
    stable, candidate = (Version.of(city, f"bentocast:{name}") for name in "ab")
    port = free_ports()
    url = f"http://127.0.0.1:{port}"
    with stable.on_page() as one, candidate.on_page() as other, (folder / "log").open("wb") as log:
        configuration = folder / "prometheus.yml"
        configuration.write_text(
            CONFIGURATION.format(stable=one, candidate=other, timeout=1e3 * SCRAPE_TIMEOUT_SECONDS)
        )
        assert BINARY is not None
        command = [BINARY, f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
        with subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log) as process:
            try:
                _wait_until_scraped(url, folder / "log")
                made = Town(stable, candidate, Prometheus(url), url)
                made.traffic(0.0, 2.0)
                yield made
            finally:
                process.terminate()


def _wait_until_scraped(url: str, log: Path) -> None:
    """It takes some seconds to begin."""
    late = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.TransportError):
            up = httpx.get(f"{url}/api/v1/query", params={"query": "up == 1"}, trust_env=False)
            if up.status_code == 200 and len(up.json()["data"]["result"]) == 2:
                return
        assert time.monotonic() < late, log.read_text()
        time.sleep(0.1)
