"""The exporter: runs the seven tests again and again, and tells Prometheus what they found.

Each test has a thread of its own, so one that hangs holds up neither the others nor the page; the time of its last run
stands still then, and an alert tells.
"""

from __future__ import annotations

import http.server
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from data import command
from data.verdict import Outcome, Verdict

#: What `ml_test_outcome` is.
OUTCOMES = {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 1, Outcome.FAIL: 2, Outcome.ERROR: 3}
#: Checks of one test that have series, and letters of their names.
MOST_CHECKS, LONGEST_NAME = 100, 64
#: The page is drawn from many questions to Prometheus and the record: so long all who ask get the same one.
PAGE_SECONDS = 10.0


@dataclass(frozen=True)
class Run:
    """A run of one test.

    Attributes:
        verdict: of it.
        ended: seconds since 1970.
        seconds: that it took.
    """

    verdict: Verdict
    ended: float
    seconds: float


class Exporter(Collector):
    """Runs tests, and has the last run of each.

    Args:
        names: of the tests.
        run: runs one.
        every: seconds from the beginning of a run to the next.
    """

    def __init__(self, names: Collection[str], run: Callable[[str], Verdict], every: float) -> None:
        self.runs: dict[str, Run] = {}
        self._names, self._run, self._every = tuple(names), run, every
        self._over = threading.Event()

    def start(self) -> None:
        """Begin."""
        for name in self._names:
            threading.Thread(target=self._repeat, args=(name,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Begin no more runs; one that is under way is not waited for."""
        self._over.set()

    def last(self) -> dict[str, Run | None]:
        """The last run of each test, None for one that has not ended yet."""
        return {name: self.runs.get(name) for name in self._names}

    def collect(self) -> Iterator[Metric]:
        """The last runs, for Prometheus."""
        runs = dict(self.runs)
        yield _gauge("outcome", "0 pass, 1 inconclusive, 2 fail, 3 error", (
            ((name,), OUTCOMES[one.verdict.outcome]) for name, one in runs.items()
        ))  # fmt: skip
        yield _gauge("run_timestamp_seconds", "When the last run of the test ended, 0 before the first one", (
            ((name,), runs[name].ended if name in runs else 0.0) for name in self._names
        ))  # fmt: skip
        yield _gauge("duration_seconds", "How long the last run took", (
            ((name,), one.seconds) for name, one in runs.items()
        ))  # fmt: skip
        for number in ("value", "limit"):
            found = {
                (name, check.name[:LONGEST_NAME]): check.numbers[number]
                for name, one in runs.items()
                for check in itertools.islice(one.verdict.checks, MOST_CHECKS)
                if number in check.numbers
            }
            yield _gauge(f"check_{number}", f"The {number} of a check", found.items(), "check")

    def _repeat(self, name: str) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                verdict = self._run(name)
            except Exception as err:  # it shows as stale; the next run may go better
                command.say(f"{name}: not run: {type(err).__name__}: {err}")
            else:
                seconds = time.monotonic() - began
                self.runs[name] = Run(verdict, time.time(), seconds)
                command.say(f"{name}: {verdict.outcome} after {seconds:.1f} s")
            self._over.wait(max(0.0, began + self._every - time.monotonic()))


def _document(run: Run | None) -> object:
    if run is None:
        return None
    return {"ended": run.ended, "seconds": run.seconds, **document(run.verdict)}


def document(verdict: Verdict) -> dict[str, Any]:
    """A verdict for programs, ready for JSON: a number that is NaN or infinite is null."""
    made: dict[str, Any] = json.loads(verdict.model_dump_json())
    return made


def _gauge(name: str, text: str, samples: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> GaugeMetricFamily:
    made = GaugeMetricFamily(f"ml_test_{name}", text, labels=("test", *labels))
    for values, value in samples:
        made.add_metric(values, value)
    return made


class Server(http.server.ThreadingHTTPServer):
    """Serves `/metrics` to Prometheus, `/verdicts` (JSON) to programs and `/` to people.

    Args:
        address: host and port; 0 is any free one.
        exporter: whose runs they are.
        page: makes the page for people.
        others: what is on the page besides.
    """

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], exporter: Exporter, page: Callable[[], str], *others: Collector
    ) -> None:
        super().__init__(address, _Handler)
        self._page, self._drawing = page, threading.Lock()
        self._drawn, self._drawn_at = b"", -math.inf
        self.exporter = exporter
        self.registry = CollectorRegistry()
        for collector in (exporter, *others):
            self.registry.register(collector)

    def drawn(self) -> bytes:
        """The page, drawn once for all who ask at about the same time."""
        with self._drawing:
            if time.monotonic() - self._drawn_at > PAGE_SECONDS:
                self._drawn, self._drawn_at = self._page().encode(), time.monotonic()
            return self._drawn


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    timeout = 10

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, "text/html; charset=utf-8", self.server.drawn())
        elif path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
        elif path == "/verdicts":
            told = json.dumps({name: _document(run) for name, run in self.server.exporter.last().items()}, indent=2)
            self._answer(200, "application/json", told.encode())
        else:
            self._answer(
                404, "text/plain; charset=utf-8", b"/ is for people, /metrics for Prometheus, /verdicts for programs\n"
            )

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Scrapes are no news."""
