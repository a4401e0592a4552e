"""A real service under attack: it stays the same process, does not grow, and answers as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.service.live import Live, serve
from tests.service.wire import ask, post
from tests.service.world import World

MEBIBYTE = 2**20
DEADLINE_SECONDS = 2.0
#: What the worker may grow by: a few bodies of the size that is allowed, as Python keeps them.
GROWTH_BYTES = 150 * MEBIBYTE
FORECAST = "/v1/timeseries/forecast"


@contextmanager
def besieged(city: World, folder: Path, **settings: object) -> Iterator[Live]:
    """A service with tight limits, whose log has no fault of ours at the end."""
    limits = {"deadline_seconds": DEADLINE_SECONDS, "max_body_bytes": MEBIBYTE, "drain_seconds": 0}
    with serve(city.folder, folder, **limits, **settings) as live:
        yield live
        text = live.log.read_text()
        assert "failed\n" not in text, text
        # gRPC's own, of metadata that is no text.
        assert text.count("Traceback") == text.count("Invalid encoding on"), text


@contextmanager
def unharmed(live: Live, city: World, *headers: str) -> Iterator[None]:
    """Whatever happens meanwhile."""
    worker = live.worker
    before = worker.memory_info().rss
    yield
    assert live.worker.pid == worker.pid
    assert worker.memory_info().rss - before < GROWTH_BYTES
    good = ask(live, post(FORECAST, json.dumps(city.document()).encode(), *headers))
    mean = good.json()["outputs"][0]["content"][0]["mean_forecast"]
    assert mean == city.expected([city.origin(0)]).point[0].tolist()
