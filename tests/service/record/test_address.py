"""Database URLs: read, refused with a reason, and never shown with a password."""

from __future__ import annotations

import logging
import re
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ConfigError
from service.record import RecordSettings
from service.record.address import Address
from service.record.health import Health

WITH_PASSWORD = "postgresql+psycopg://ann:p%40ss-word@db.example:5432/record?sslmode=require"
#: Characters that a URL shows as they are.
PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!$,.;-_~"


def test_address_knows_the_file_of_sqlite() -> None:
    assert Address.parse("sqlite:///out/record.db").path == Path("out/record.db")
    assert Address.parse("sqlite:////srv/a:b@c/record.db").path == Path("/srv/a:b@c/record.db")
    assert Address.parse("sqlite:////srv/a:b@c/record.db").shown == "sqlite:////srv/a:b@c/record.db"
    assert Address.parse("sqlite:///record.db?timeout=5").path == Path("record.db")


def test_address_takes_postgresql_with_and_without_its_driver() -> None:
    assert Address.parse("postgresql://ann@db/record").url == "postgresql+psycopg://ann@db/record"
    assert Address.parse(WITH_PASSWORD).url == WITH_PASSWORD
    assert Address.parse(WITH_PASSWORD).path is None


def test_address_shows_no_password() -> None:
    address = Address.parse(WITH_PASSWORD)
    assert address.shown == "postgresql+psycopg://ann:***@db.example:5432/record?sslmode=require"
    assert "p%40ss" not in repr(address)
    for text in ('host "p@ss-word" is unknown', "got p%40ss-word"):
        assert address.hide(text) == re.sub("p@ss-word|p%40ss-word", "***", text)


def test_address_shows_no_password_of_its_options() -> None:
    address = Address.parse("postgresql://db/record?password=letmein&sslmode=require&sslpassword=key-word")
    assert address.shown == "postgresql://db/record?password=***&sslmode=require&sslpassword=***"
    assert address.hide("letmein and key-word") == "*** and ***"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://ann:secret@db/record", "got 'mysql://ann:***@db/record', wanted 'sqlite:///PATH' or 'postgresql"),
        ("postgresql+asyncpg://ann:secret@db/record", "got 'postgresql+asyncpg://ann:***@db/record', wanted "),
        ("record.db", "got 'record.db', wanted 'sqlite:///PATH'"),
        ("", "got '', wanted 'sqlite:///PATH'"),
        ("postgresql://ann:se@cret@db/record", "got 'postgresql://ann:***@db/record', wanted one @ before the host"),
        ("sqlite://", "wanted the path of a file"),
        ("sqlite:///:memory:", "the record outlives the process"),
        ("sqlite:///file:record?mode=memory&uri=true", "wanted the path of a file"),
        ("sqlite://record.db", "'sqlite:///PATH' (four slashes if it starts at the root)"),
    ],
)
def test_address_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        Address.parse(url)
    assert "secret" not in str(caught.value)
    assert "cret" not in str(caught.value)


@settings(deadline=None)
@given(st.text(PLAIN, min_size=6, max_size=30))
def test_address_never_shows_a_password(password: str) -> None:
    address = Address.parse(f"postgresql+psycopg://u:{password}@127.0.0.1/d")
    assert password not in address.shown
    assert password not in repr(address)
    assert password not in address.hide(f'could not connect: "{password}"')


def test_settings_hide_the_url() -> None:
    settings = RecordSettings.model_validate({"url": WITH_PASSWORD})
    assert "p%40ss" not in repr(settings)
    assert settings.address.url == WITH_PASSWORD
    with pytest.raises(ConfigError, match="record: got 'mysql://a:") as caught:
        RecordSettings.model_validate({"url": "mysql://a:secret@db/r"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"queue_entries": 0}, {"retention_seconds": 0}, {"flush_seconds": -1}, {"batch_entries": 0}, {"entries": 3}],
)
def test_settings_refuse_what_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RecordSettings.model_validate({"url": "sqlite:///record.db"} | wrong)


def test_health_tells_once_and_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(Address.parse(WITH_PASSWORD))
    with caplog.at_level(logging.WARNING):
        for now in (0.0, 1.0, 2.0):
            health.failed(OSError("no route to p@ss-word"), now, waiting=7)
        health.works(3.0, dropped=2)
        health.works(4.0, dropped=2)
    broke, mended = [record.getMessage() for record in caplog.records]
    assert broke == (
        "record postgresql+psycopg://ann:***@db.example:5432/record?sslmode=require does not take what is written: "
        "no route to ***: see that the database runs and can be reached from here; forecasts go on, 7 of them wait, "
        "what does not fit in the queue is dropped, actual values are refused with 503"
    )
    assert mended.endswith("works again after 3 s; 2 forecasts were dropped since this worker started")
    assert (health.failures, health.good) == (3, True)


def test_health_tells_of_a_database_that_comes_and_goes_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(Address.parse("sqlite:///record.db"))
    with caplog.at_level(logging.WARNING):
        for now in range(0, 120, 2):
            health.failed(OSError("database is locked"), now, waiting=0)
            health.works(now + 1, dropped=0)
    assert len(caplog.records) == 4
    assert "end the process that holds it" in caplog.records[0].getMessage()


def test_health_tells_of_a_lasting_failure_after_the_quiet_minute(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(Address.parse("sqlite:///record.db"))
    health.failed(OSError("one"), 0.0, waiting=0)
    health.works(1.0, dropped=0)
    for now in range(2, 70):
        health.failed(OSError("two"), now, waiting=0)
    assert [
        ("one" in record.getMessage(), "two" in record.getMessage())
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ] == [
        (True, False),
        (False, True),
    ]


def test_health_waits_longer_and_longer() -> None:
    health = Health(Address.parse("sqlite:///record.db"))
    pauses = []
    for _ in range(8):
        health.failed(OSError("no"), 100.0, waiting=0)
        pauses.append(health.retry_at - 100.0)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    health.works(101.0, dropped=0)
    health.failed(OSError("no"), 102.0, waiting=0)
    assert health.retry_at == 102.25


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("postgresql://ann:hush-hush@db:port/record", "invalid literal"),
        ("postgresql://ann:hush-hush@127.0.0.1:1/record?unknown_option=1", "unknown_option"),
    ],
)
def test_engine_errors_hold_no_password(url: str, fault: str) -> None:
    pytest.importorskip("psycopg", reason="no psycopg: pip install '.[postgres]'")
    from service.record.database import Database

    with pytest.raises(Exception, match=fault) as caught:
        Database.make(Address.parse(url)).check()
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_driver_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    from service.record.engine import open_engine

    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(
        ConfigError, match=r"record postgresql://ann:\*\*\*@db/record: .*psycopg.*: pip install '\.\[postgres\]'"
    ):
        open_engine(Address.parse("postgresql://ann:secret@db/record"))
