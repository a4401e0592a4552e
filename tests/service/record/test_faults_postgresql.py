"""What breaks with a server: it stops, hangs, only reads, or speaks another alphabet."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback

import numpy as np
import pytest
from sqlalchemy import select

from service.record import RecordUnavailableError, pairs
from service.record.reading import reading
from service.record.tables import FORECASTS
from tests.service.record.kept import bring, entry, hours, opened, rows, wait_until
from tests.service.record.postgresql import PASSWORD, Postgresql

pytestmark = pytest.mark.services

OURS = "application_name = 'bentocast-record'"


def test_a_server_that_stops_is_got_over(server: Postgresql, caplog: pytest.LogCaptureFixture) -> None:
    url = server.new_database()
    recorder = opened(url, acknowledge_seconds=1)
    assert bring(recorder, "before") == 1
    server.stop()
    try:
        recorder.put(entry())
        with pytest.raises(RecordUnavailableError, match="see that the database runs and can be reached") as caught:
            bring(recorder, "during")
    finally:
        server.start()
    wait_until(lambda: recorder.stats().written == 1 and recorder.stats().healthy)
    assert bring(recorder, "after") == 1
    recorder.close()
    assert rows(url, "SELECT series FROM actuals WHERE series <> 'during' ORDER BY series") == [("after",), ("before",)]
    told = [record.getMessage() for record in caplog.records if record.name == "bentocast.record"]
    assert ["does not take" in told[0], "works again" in told[1], len(told)] == [True, True, 2]
    everything = "".join([*told, *traceback.format_exception(caught.value)])
    assert PASSWORD not in everything
    assert "tester:***@127.0.0.1" in everything


def test_a_server_that_is_not_there_yet_is_waited_for(server: Postgresql) -> None:
    url = server.new_database()
    server.stop()
    try:
        recorder = opened(url)
        recorder.put(entry())
        assert not recorder.stats().healthy
    finally:
        server.start()
    wait_until(lambda: recorder.stats().written == 1 and recorder.stats().healthy)
    recorder.close()


def test_connections_broken_off_while_idle_are_no_failure(server: Postgresql) -> None:
    url = server.new_database()
    recorder = opened(url)
    bring(recorder)
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}")
    assert bring(recorder, "b") == 1
    recorder.close()
    assert recorder.stats().failed_writes == 0


def _read_while_broken_off(server: Postgresql, url: str) -> None:
    with reading(url) as begin, begin() as connection:
        found = pairs._fetched(connection, select(FORECASTS.c.id))
        assert next(found) == ((1,),)
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}")
        next(found)


def test_a_connection_that_breaks_off_while_it_is_read_is_named(
    server: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.new_database()
    recorder = opened(url)
    recorder.put_many([entry() for _ in range(9)])
    recorder.close()
    monkeypatch.setattr(pairs, "_FETCH", 1)
    with pytest.raises(RecordUnavailableError, match="cannot be read") as caught:
        _read_while_broken_off(server, url)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_hangs_shows_and_does_not_hold_up_the_service(server: Postgresql) -> None:
    url = server.new_database()
    recorder = opened(url, acknowledge_seconds=0.5)
    bring(recorder)
    [(backend,)] = server.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'bentocast-record'")
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(RecordUnavailableError, match=r"within 0.5 s: it is busy"):
            bring(recorder)
        wait_until(lambda: not recorder.stats().healthy)
        recorder.put(entry())
    finally:
        os.kill(backend, signal.SIGCONT)
    wait_until(lambda: recorder.stats().written == 1 and recorder.stats().healthy)
    assert recorder.stats().healthy
    recorder.close()


def test_a_server_that_only_reads_refuses_actuals(server: Postgresql) -> None:
    url = server.new_database()
    opened(url).close()
    server.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    recorder = opened(url, acknowledge_seconds=1)
    with pytest.raises(RecordUnavailableError, match=r"in a read-only transaction.*: make it.* writable"):
        bring(recorder)
    recorder.close(0.1)


def test_a_wrong_password_is_named_but_not_shown(server: Postgresql, caplog: pytest.LogCaptureFixture) -> None:
    url = server.new_database().replace(PASSWORD, "mist-aken")
    recorder = opened(url, acknowledge_seconds=0.5)
    with pytest.raises(RecordUnavailableError, match='password authentication failed for user "tester"') as caught:
        bring(recorder)
    recorder.close(0.1)
    assert "check the user, its password and its rights" in caplog.text
    assert "mist-aken" not in caplog.text + "".join(traceback.format_exception(caught.value))


def test_a_letter_that_the_server_cannot_write_is_refused_alone(server: Postgresql) -> None:
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = server.url("latin")
    recorder = opened(url)
    recorder.put_many([entry(series="a"), entry(series="雪"), entry(series="b")])
    assert bring(recorder, "é") == 1
    with pytest.raises(Exception, match="the database cannot store them"):
        bring(recorder, "雪")
    recorder.close()
    assert rows(url, "SELECT series FROM forecasts ORDER BY series") == [("a",), ("b",)]
    assert (recorder.stats().written, recorder.stats().dropped, recorder.stats().healthy) == (2, 1, True)


def test_writers_of_the_same_values_do_not_block_each_other_for_ever(url: str) -> None:
    async def race() -> None:
        names = [f"s{number}" for number in range(200)]
        for _ in range(10):
            await asyncio.gather(
                *(
                    recorder.put_actuals(order, np.repeat(hours(1), 200), np.ones(200))
                    for recorder in recorders
                    for order in (names, names[::-1])
                )
            )

    recorders = [opened(url) for _ in range(3)]
    asyncio.run(race())
    for recorder in recorders:
        recorder.close()
    assert [recorder.stats().failed_writes for recorder in recorders] == [0, 0, 0]
