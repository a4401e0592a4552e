"""SQLAlchemy's engine for either database, set up so that what is committed is on disk and nothing waits for ever."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url

from data.errors import ConfigError
from service.record.address import Address

#: How long SQLite waits for another process' transaction.
BUSY_SECONDS = 5.0
#: PostgreSQL: no statement takes longer, and a server that went silent is given up after about 20 s.
_POSTGRESQL = {
    "connect_timeout": "5",
    "options": "-c statement_timeout=10000 -c lock_timeout=5000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
    "application_name": "bentocast-record",
}


def open_engine(address: Address, *, reading: bool = False) -> Engine:
    """An engine with at most one connection.

    Args:
        address: where.
        reading: transactions only read: in SQLite they neither lock nor make a file.

    Raises:
        ConfigError: the driver is not installed, or the URL has an option that it does not know.
    """
    try:
        url = make_url(address.url)
        postgresql = url.get_backend_name() == "postgresql"
        settings: dict[str, Any] = {key: value for key, value in _POSTGRESQL.items() if key not in url.query}
        engine = create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            pool_timeout=1,
            pool_pre_ping=postgresql,
            hide_parameters=True,
            connect_args=settings if postgresql else {"timeout": BUSY_SECONDS, "isolation_level": None},
        )
    except ImportError as err:
        raise ConfigError(f"record {address.shown}: {err}: pip install '.[postgres]'") from err
    except Exception as err:
        raise ConfigError(f"record {address.shown}: {address.explain(err)}") from None
    if address.path is not None:
        _set_up_sqlite(engine, address.path, reading=reading)
    return engine


def _set_up_sqlite(engine: Engine, path: Path, *, reading: bool) -> None:
    begin = "BEGIN" if reading else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _: object) -> None:
        try:
            if reading:
                connection.execute("PRAGMA query_only = ON")
            else:
                _make_durable(connection, path)
        except BaseException:
            connection.close()
            raise


def _make_durable(connection: sqlite3.Connection, path: Path) -> None:
    """Readers beside writers (WAL), every commit on disk before it returns, a log that shrinks again."""
    if _switch_to_wal(connection) != "wal":
        raise sqlite3.OperationalError(
            f"{path} is on a file system without locks and shared memory, wanted a local disk"
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """The first worker changes the file; SQLite does not wait for its turn at that, so this does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as err:
            if "locked" not in str(err) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
