"""The writer's turns against a store that does as it is told: groups, retries, refusals, old rows."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from data.errors import ConfigError, RequestError
from service.record import RecordSettings
from service.record.actuals import Actuals, ActualsQueue
from service.record.entries import ForecastQueue
from service.record.errors import RefusedRowsError
from service.record.writer import Writer
from tests.service.record.kept import entry, hours


@dataclass
class FakeStore:
    """Keeps what it is given, or fails, or refuses series whose name is bad."""

    forecasts: list[list[str]] = field(default_factory=list)
    actuals: list[list[str]] = field(default_factory=list)
    samples: list[list[str]] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)
    cutoffs: list[float] = field(default_factory=list)
    old: int = 0
    checks: int = 0
    fails: Exception | None = None

    def check(self) -> None:
        self.checks += 1
        self._fail()

    def write_forecasts(self, rows: Sequence[dict[str, Any]]) -> None:
        self.forecasts.append(self._taken(rows))

    def write_actuals(self, rows: Sequence[dict[str, Any]]) -> None:
        self.actuals.append(self._taken(rows))

    def write_samples(self, rows: Sequence[dict[str, Any]]) -> None:
        self.samples.append(self._taken(rows))

    def delete_older(self, than: float, limit: int) -> bool:
        self._fail()
        self.cutoffs.append(than)
        self.deleted.append(min(limit, self.old))
        self.old -= self.deleted[-1]
        return self.deleted[-1] == limit

    def close(self) -> None:
        """Nothing to let go of."""

    def _taken(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        self._fail()
        names = [row["series"] for row in rows]
        if "bad" in names:
            raise RefusedRowsError("no such letter")
        return names

    def _fail(self) -> None:
        if self.fails is not None:
            raise self.fails


class Desk:
    """A writer with all that belongs to it, and a clock that stands still."""

    def __init__(self, **settings: Any) -> None:
        self.settings = RecordSettings(**{"url": "sqlite:///record.db", "batch_entries": 3, **settings})
        self.now = 1_000.0
        self.store = FakeStore()
        self.forecasts = ForecastQueue(self.settings.queue_entries, 10**9, self.settings.batch_entries)
        self.actuals = ActualsQueue()
        self.writer = Writer(self.store, self.forecasts, self.actuals, self.settings, lambda: self.now)

    def put(self, *names: str) -> None:
        self.forecasts.put([entry(series=name) for name in names])

    def bring(self, name: str) -> Future[int]:
        return self.actuals.put(Actuals.checked([name], hours(1), np.array([1.0])))


def test_turn_writes_a_batch_and_comes_back_for_a_full_one() -> None:
    desk = Desk()
    desk.put(*"abcdefg")
    assert [desk.writer.turn() for _ in range(3)] == [0.0, 0.2, 0.2]
    assert desk.store.forecasts == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert desk.writer.written == 7
    assert len(desk.forecasts) == 0


def test_turn_writes_all_waiting_actuals_in_one_transaction() -> None:
    desk = Desk()
    futures = [desk.bring(name) for name in "abc"]
    desk.writer.turn()
    assert desk.store.actuals == [["a", "b", "c"]]
    assert [future.result(0) for future in futures] == [1, 1, 1]


def test_turn_without_work_writes_nothing() -> None:
    desk = Desk()
    desk.writer.turn()
    assert (desk.store.forecasts, desk.store.actuals, desk.writer.last_write) == ([], [], 0.0)


def test_failure_keeps_everything_and_is_tried_again_later() -> None:
    desk = Desk()
    desk.put("a", "b")
    future = desk.bring("x")
    desk.store.fails = OSError("disk full")
    assert desk.writer.turn() == 0.25
    assert (desk.writer.health.good, desk.writer.health.failures, len(desk.forecasts)) == (False, 1, 2)
    desk.store.fails = None
    desk.now += 0.1
    assert desk.writer.turn() == pytest.approx(0.15)
    assert (desk.store.forecasts, future.done()) == ([], False)
    desk.now += 0.2
    desk.writer.turn()
    assert (desk.store.forecasts, future.result(0)) == ([["a", "b"]], 1)
    assert (desk.writer.health.good, desk.writer.written) == (True, 2)


def test_recovery_is_seen_when_nothing_waits() -> None:
    desk = Desk()
    desk.put("a")
    desk.store.fails = OSError("gone")
    desk.writer.turn()
    desk.forecasts.done(1)
    desk.now += 1
    desk.writer.turn()
    assert (desk.store.checks, desk.writer.health.good) == (1, False)
    desk.store.fails = None
    desk.now += 1
    desk.writer.turn()
    assert (desk.store.checks, desk.writer.health.good) == (2, True)


def test_forecasts_that_cannot_be_stored_are_dropped_alone(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.put("a", "bad", "x" * 300, "b", "bad")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            desk.writer.turn()
    assert [*itertools.chain(*desk.store.forecasts)] == ["a", "b"]
    assert (desk.writer.written, desk.writer.refused, len(desk.forecasts)) == (2, 3, 0)
    assert desk.writer.health.good
    assert [record.getMessage() for record in caplog.records] == [
        "record: a forecast cannot be stored and is dropped: no such letter"
    ]


def test_forecasts_that_cannot_be_stored_are_counted_once_though_the_database_fails() -> None:
    desk = Desk()
    desk.put("a", "x" * 300)
    desk.store.fails = OSError("gone")
    for _ in range(3):
        desk.writer.turn()
        desk.now += 10
    desk.store.fails = None
    desk.writer.turn()
    assert (desk.writer.written, desk.writer.refused, desk.store.forecasts) == (1, 1, [["a"]])


def test_what_is_no_entry_does_not_stop_the_writer() -> None:
    desk = Desk()
    desk.forecasts.put([None, entry(origin="yesterday"), entry(series="a")])  # type: ignore[list-item]
    desk.writer.turn()
    assert (desk.store.forecasts, desk.writer.refused, desk.writer.health.good) == ([["a"]], 2, True)


def test_actuals_that_cannot_be_stored_are_refused_alone() -> None:
    desk = Desk()
    futures = [desk.bring(name) for name in ("a", "bad", "b")]
    desk.writer.turn()
    assert desk.store.actuals == [["a"], ["b"]]
    assert [futures[0].result(0), futures[2].result(0)] == [1, 1]
    with pytest.raises(RequestError, match="actual values: the database cannot store them: no such letter"):
        futures[1].result(0)
    assert len(desk.actuals.group()) == 0


def test_old_rows_go_a_few_at_a_time_until_none_is_left_then_once_a_minute() -> None:
    desk = Desk()
    desk.store.old = 15
    pauses = [desk.writer.turn() for _ in range(4)]
    assert desk.store.deleted == [6, 6, 3]
    assert pauses == [0.0, 0.0, 0.2, 0.2]
    desk.now += 61
    desk.writer.turn()
    assert desk.store.deleted == [6, 6, 3, 0]
    assert time.time() - desk.store.cutoffs[0] == pytest.approx(90 * 86_400, abs=60)


def test_begin_goes_on_without_a_database_but_not_with_one_of_the_future() -> None:
    desk = Desk()
    desk.store.fails = OSError("not yet")
    desk.writer.begin()
    assert not desk.writer.health.good
    desk.store.fails = ConfigError("version 99")
    with pytest.raises(ConfigError, match="version 99"):
        desk.writer.begin()


def test_a_turn_that_hangs_shows() -> None:
    desk = Desk(acknowledge_seconds=5)
    seen: list[bool] = []

    class Hanging(FakeStore):
        def write_forecasts(self, rows: Sequence[dict[str, Any]]) -> None:
            for _ in range(2):
                desk.now += 3
                seen.append(desk.writer.stuck)
            super().write_forecasts(rows)

    desk.writer._store = Hanging()
    desk.put("a")
    desk.writer.turn()
    assert seen == [False, True]
    assert not desk.writer.stuck
