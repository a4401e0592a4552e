"""One suite for both databases: what is put in comes out, what is acknowledged is there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data.errors import ConfigError, RequestError
from service.record import RecordUnavailableError
from service.record.address import Address
from service.record.database import Database
from tests.service.record.kept import ORIGIN, change, entry, hours, opened, rows, wait_until

ROOT = Path(__file__).parents[3]


def test_forecasts_are_kept(url: str) -> None:
    recorder = opened(url)
    recorder.put(entry(created_at=1e9, series="Straße 雪"))
    recorder.close()
    [(*texts, origin, last_time, step, horizon, mean, levels, quantiles)] = rows(
        url,
        "SELECT created_at, request_id, series, model_name, model_version, bento, origin, last_time, step_seconds, "
        "horizon, mean, levels, quantiles FROM forecasts",
    )
    assert texts == [1e9, "request-1", "Straße 雪", "bentocast", "7", "bentocast:abc123"]
    assert (origin, step, horizon) == (int(ORIGIN.astype(np.int64)), 3_600, 3)
    assert last_time == origin + 3 * 3_600
    assert np.frombuffer(mean, "<f8").tolist() == [1.0, 2.0, 3.0]
    assert np.frombuffer(levels, "<f8").tolist() == [0.1, 0.9]
    assert np.frombuffer(quantiles, "<f8").reshape(2, 3).tolist() == [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]


def test_close_writes_all_that_waits(url: str) -> None:
    recorder = opened(url, flush_seconds=30, batch_entries=100)
    recorder.put_many([entry(series=str(number)) for number in range(1_234)])
    recorder.close()
    stats = recorder.stats()
    assert (stats.written, stats.dropped, stats.queued, stats.failed_writes) == (1_234, 0, 0, 0)
    assert stats.healthy
    assert stats.last_write_timestamp == pytest.approx(time.time(), abs=60)
    assert rows(url, "SELECT count(*), min(series), max(series) FROM forecasts") == [(1_234, "0", "999")]


def test_actuals_are_on_disk_when_they_are_acknowledged(url: str) -> None:
    async def bring() -> int:
        return await recorder.put_actuals(["a", "a", "b"], hours(3), np.array([1.5, np.nan, -2.0]))

    recorder = opened(url)
    assert asyncio.run(bring()) == 3
    start = int(hours(1)[0].astype(np.int64))
    assert rows(url, "SELECT series, time, value FROM actuals ORDER BY series, time") == [
        ("a", start, 1.5),
        ("a", start + 3_600, None),
        ("b", start + 7_200, -2.0),
    ]
    recorder.close()


def test_a_later_actual_replaces_an_earlier_one(url: str) -> None:
    async def bring() -> None:
        for value in (1.0, np.nan, 3.0):
            await recorder.put_actuals(["a"], hours(1), np.array([value]))
        await recorder.put_actuals(["a"] * 3, np.repeat(hours(1, 5), 3), np.array([1.0, 2.0, 4.0]))

    recorder = opened(url)
    asyncio.run(bring())
    recorder.close()
    assert rows(url, "SELECT value FROM actuals ORDER BY time") == [(3.0,), (4.0,)]


def test_no_actuals_are_no_work(url: str) -> None:
    async def bring() -> int:
        return await recorder.put_actuals([], hours(0), np.empty(0))

    recorder = opened(url)
    assert asyncio.run(bring()) == 0
    recorder.close()


def test_calls_at_the_same_time_share_transactions(url: str) -> None:
    async def bring() -> list[int]:
        return await asyncio.gather(
            *(recorder.put_actuals([f"s{number}"], hours(1), np.array([1.0])) for number in range(300))
        )

    recorder = opened(url)
    commits = 0
    write = recorder._store.write_actuals

    def counted(given: object) -> None:
        nonlocal commits
        commits += 1
        write(given)  # type: ignore[arg-type]

    recorder._store.write_actuals = counted  # type: ignore[method-assign,assignment]
    assert asyncio.run(bring()) == [1] * 300
    recorder.close()
    assert commits < 50
    assert rows(url, "SELECT count(*) FROM actuals") == [(300,)]


def test_wrong_actuals_are_the_clients_fault(url: str) -> None:
    async def bring() -> None:
        await recorder.put_actuals(["a"], hours(1), np.array([np.inf]))

    recorder = opened(url)
    with pytest.raises(RequestError, match=r"values\[0\]: got inf"):
        asyncio.run(bring())
    recorder.close()


def test_a_client_that_leaves_withdraws_its_values(sqlite: str) -> None:
    async def leave() -> None:
        task = asyncio.ensure_future(recorder.put_actuals(["a"], hours(1), np.array([1.0])))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    recorder = opened(sqlite)
    asyncio.run(leave())
    recorder.close()
    assert len(recorder._actuals) == 0
    assert recorder.stats().healthy


def test_a_full_queue_drops_and_counts(sqlite: str) -> None:
    recorder = opened(sqlite, queue_entries=10, flush_seconds=60)
    recorder.put_many([entry()] * 25)
    for _ in range(5):
        recorder.put(entry())
    assert (recorder.stats().queued, recorder.stats().dropped) == (10, 20)
    recorder.close()
    assert (recorder.stats().written, recorder.stats().queued) == (10, 0)


def test_a_closed_recorder_takes_no_more(sqlite: str) -> None:
    recorder = opened(sqlite)
    recorder.close()
    recorder.put(entry())
    assert recorder.stats().dropped == 1
    with pytest.raises(RecordUnavailableError, match="record: it is closed"):
        asyncio.run(recorder.put_actuals(["a"], hours(1), np.array([1.0])))
    recorder.close()


def test_old_rows_are_deleted(url: str) -> None:
    for_ever = opened(url, retention_seconds=1e10)
    old = time.time() - 91 * 86_400
    for_ever.put_many([entry(created_at=old)] * 95 + [entry()])
    asyncio.run(for_ever.put_actuals(["a"] * 60, hours(60), np.ones(60)))
    for_ever.close()
    change(url, f"UPDATE actuals SET received_at = {old} WHERE value = 1 AND time <> {int(hours(1)[0].astype(int))}")
    recorder = opened(url, batch_entries=10)
    wait_until(lambda: rows(url, "SELECT count(*) FROM forecasts") == [(1,)])
    wait_until(lambda: rows(url, "SELECT count(*) FROM actuals") == [(1,)])
    recorder.close()
    assert recorder.stats().failed_writes == 0


def test_a_sweep_deletes_the_oldest_rows_and_only_so_many(url: str) -> None:
    recorder = opened(url, retention_seconds=1e10)
    recorder.put_many([entry(created_at=float(number)) for number in range(25)])
    recorder.close()
    database = Database.make(Address.parse(url))
    left = []
    for more in (True, True, False):
        assert database.delete_older(than=24.0, limit=10) is more
        left += rows(url, "SELECT count(*), min(created_at) FROM forecasts")
    database.close()
    assert left == [(15, 10.0), (5, 20.0), (1, 24.0)]


def test_tables_are_made_by_many_at_once(url: str) -> None:
    together = threading.Barrier(8)

    def check() -> None:
        database = Database.make(Address.parse(url))
        together.wait()
        database.check()
        database.close()

    with ThreadPoolExecutor(8) as pool:
        for made in [pool.submit(check) for _ in range(8)]:
            made.result()
    assert rows(url, "SELECT version FROM record_version") == [(1,)]


def test_tables_of_the_future_are_refused(url: str) -> None:
    opened(url).close()
    change(url, "UPDATE record_version SET version = 99", "DROP TABLE actuals")
    with pytest.raises(
        ConfigError, match="its tables are of version 99, wanted 1, which this code knows: update"
    ) as caught:
        opened(url)
    assert Address.parse(url).shown in str(caught.value)
    with pytest.raises(Exception, match="actuals"):
        rows(url, "SELECT * FROM actuals")  # nothing was made in a database that is not understood


def test_plans_use_the_indexes(sqlite: str) -> None:
    opened(sqlite).close()
    for query, index in (
        ("SELECT * FROM forecasts WHERE (last_time, id) > (5, 1) ORDER BY last_time, id", "forecasts_by_last_time"),
        ("SELECT id FROM forecasts WHERE created_at < 5 ORDER BY created_at LIMIT 3", "forecasts_by_age"),
        ("SELECT series, time FROM actuals WHERE received_at < 5 ORDER BY received_at LIMIT 3", "actuals_by_age"),
        ("SELECT * FROM actuals WHERE series IN ('a', 'b') AND time BETWEEN 1 AND 2", "PRIMARY KEY"),
    ):
        plan = " ".join(str(row[-1]) for row in rows(sqlite, f"EXPLAIN QUERY PLAN {query}"))
        assert index in plan
        assert "TEMP B-TREE" not in plan


def test_sqlite_syncs_every_commit(sqlite: str) -> None:
    database = Database.make(Address.parse(sqlite))
    with database._transaction() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    database.close()
    assert found == ["wal", 2]


def test_the_folder_of_a_sqlite_database_is_made(tmp_path: Path) -> None:
    recorder = opened(f"sqlite:///{tmp_path}/far/away/record.db")
    recorder.put(entry())
    recorder.close()
    assert (tmp_path / "far" / "away" / "record.db").exists()


def test_importing_the_record_does_not_import_sqlalchemy() -> None:
    code = "import sys, service.record; assert not {'sqlalchemy', 'sqlite3', 'asyncpg', 'psycopg'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
