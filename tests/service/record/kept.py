"""Entries to keep, ways to see what was kept, and a wait for what another thread does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sqlalchemy
from numpy.typing import NDArray

from service.record import ForecastEntry, Recorder, RecordSettings

ORIGIN = np.datetime64("2024-05-01T00:00:00", "s")
HOUR = np.timedelta64(3_600, "s")


def entry(**changes: Any) -> ForecastEntry:
    """A forecast of three steps and two quantiles."""
    return ForecastEntry(
        request_id="request-1",
        series="s01",
        model_name="bentocast",
        model_version="7",
        bento="bentocast:abc123",
        created_at=time.time(),
        origin=ORIGIN,
        step_seconds=3_600,
        mean=np.array([1.0, 2.0, 3.0]),
        quantiles={0.9: np.array([2.0, 3.0, 4.0]), 0.1: np.array([0.0, 1.0, 2.0])},
    )._replace(**changes)


def hours(count: int, first: int = 1) -> NDArray[np.datetime64]:
    """The times of steps after the origin."""
    return ORIGIN + HOUR * np.arange(first, first + count)


def opened(url: str, **settings: Any) -> Recorder:
    """A recorder that does not wait for more to come."""
    return Recorder.open(RecordSettings(url=url, **{"flush_seconds": 0.02, **settings}))


def bring(recorder: Recorder, name: str = "a") -> int:
    """Bring one actual value and wait for its acknowledgement."""
    return asyncio.run(recorder.put_actuals([name], hours(1), np.array([1.0])))


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a query gives, read by another connection."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sqlalchemy.text(statement))]


def change(url: str, *statements: str) -> None:
    """Change the database behind the recorder's back."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for another thread or process."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
