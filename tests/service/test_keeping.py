"""What waits for the record until it can be opened, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service import forecasting, keeping
from service.keeping import Keeper
from service.record import RecordSettings
from tests.service.record.kept import change, opened, rows
from tests.service.world import World


class Kept:
    """A worker's keeper of a record, and its metrics."""

    def __init__(self, world: World, url: str) -> None:
        self._world = world
        self.registry = CollectorRegistry()
        self.keeper = Keeper(world.served, RecordSettings(url=url, flush_seconds=0.01), self.registry)

    def forecast(self, count: int) -> None:
        question = self._world.ask(*self._world.histories(count))
        (answer,), _ = forecasting.answer(self._world.forecaster, [question])
        self.keeper.keep(question, answer)

    def value(self, name: str) -> float | None:
        self.keeper.tick()
        return self.registry.get_sample_value(f"record_{name}")

    async def until(self, name: str, wanted: float) -> None:
        while self.value(name) != wanted:
            await asyncio.sleep(0.005)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A record whose tables are of a version that is not known."""
    made = f"sqlite:///{tmp_path}/record.db"
    opened(made).close()
    change(made, "UPDATE record_version SET version = version + 90")
    return made


def test_a_record_that_cannot_be_opened_is_tried_again(
    city: World, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "RETRY_SECONDS", 0.01)
    kept = Kept(city, url)

    async def live() -> None:
        task = asyncio.create_task(kept.keeper.open())
        kept.forecast(3)
        await kept.until("healthy", 0)
        await asyncio.sleep(0.05)
        assert kept.value("forecasts_queued") == 3
        change(url, "UPDATE record_version SET version = version - 90")
        await kept.until("forecasts_written_total", 3)
        await task
        await kept.keeper.close(10)

    asyncio.run(asyncio.wait_for(live(), 30))
    assert (kept.value("healthy"), kept.value("forecasts_dropped_total")) == (1, 0)
    assert rows(url, "SELECT count(*) FROM forecasts") == [(3,)]
    (told,) = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert told.startswith("the record is not kept, and tried again every 0.01 s: record sqlite:///")


def test_what_has_no_room_before_the_record_is_open_is_counted(
    city: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MOST_WAITING", 5)
    kept = Kept(city, url)
    kept.forecast(4)
    assert kept.value("forecasts_dropped_total") == 0
    kept.forecast(4)
    assert (kept.value("forecasts_dropped_total"), kept.value("forecasts_queued")) == (3, 5)
    asyncio.run(kept.keeper.close(1))
    assert (kept.value("forecasts_dropped_total"), kept.value("forecasts_queued")) == (8, 0)
