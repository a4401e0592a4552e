"""What is written to the record, each call one transaction: when it returns, its rows are on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Delete, delete, select, tuple_
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from service.record.address import Address
from service.record.engine import open_engine
from service.record.errors import RefusedRowsError
from service.record.pace import in_slices
from service.record.tables import ACTUALS, FORECASTS, SAMPLES, create

#: Device and inode of each file of a SQLite database.
Identity = tuple[tuple[int, int], ...]


class Database:
    """The record's database, used by one thread at a time; after any failure it connects anew."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._engine = open_engine(address)
        self._ready = False
        self._files: Identity = ()
        upsert = _insert(self._engine.dialect.name)(ACTUALS)
        self._upsert = upsert.on_conflict_do_update(
            index_elements=[ACTUALS.c.series, ACTUALS.c.time],
            set_={"value": upsert.excluded.value, "received_at": upsert.excluded.received_at},
        )

    @classmethod
    def make(cls, address: Address) -> Self:
        """Prepare for a database, with the folder it is to lie in; it may be out of reach for now.

        Raises:
            ConfigError: the URL cannot be followed.
        """
        database = cls(address)
        if address.path is not None:
            with_folder(address.path)
        return database

    def check(self) -> None:
        """Connect and make the tables that are missing.

        Raises:
            ConfigError: the tables are of a version that this code does not know.
            Exception: whatever the driver says when the database does not work.
        """
        with self._transaction():
            pass

    def write_forecasts(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add forecasts.

        Raises:
            RefusedRowsError: the database works, but one of the rows cannot be stored.
            Exception: whatever the driver says when the database does not work.
        """
        with self._transaction() as connection:
            for some in in_slices(rows):
                connection.execute(FORECASTS.insert(), some)

    def write_samples(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add sampled requests.

        Raises:
            Exception: as `write_forecasts`.
        """
        with self._transaction() as connection:
            connection.execute(SAMPLES.insert(), list(rows))

    def write_actuals(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add actual values, or replace those that are there.

        Raises:
            Exception: as `write_forecasts`.
        """
        with self._transaction() as connection:
            for some in in_slices(rows):
                connection.execute(self._upsert, some)

    def delete_older(self, than: float, limit: int) -> bool:
        """Delete at most `limit` rows of each table that came in before a time; whether there may be more."""
        with self._transaction() as connection:
            return max([connection.execute(statement).rowcount for statement in _deletes(than, limit)]) >= limit

    def close(self) -> None:
        """Let go of the connection."""
        self._ready = False
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                if not self._ready:
                    create(connection, self._address.shown)
                yield connection
            self._check_files()
        except (DataError, IntegrityError, UnicodeError) as err:
            raise RefusedRowsError(self._address.explain(err)) from err
        except StatementError as err:
            if isinstance(err, DBAPIError):
                self.close()
                raise
            raise RefusedRowsError(self._address.explain(err)) from err
        except BaseException:
            self.close()
            raise

    def _check_files(self) -> None:
        """See that what was committed is in the files that are there: SQLite goes on writing to deleted ones."""
        if self._address.path is not None:
            files = _identity(self._address.path)
            if self._ready and files != self._files:
                raise FileNotFoundError(f"{self._address.path} was deleted or replaced while it was open")
            self._files = files
        self._ready = True


def _insert(dialect: str) -> Any:
    """The dialect's own insert, which knows `on_conflict_do_update`; that of the other costs memory and time."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    from sqlalchemy.dialects import sqlite

    return sqlite.insert


def with_folder(path: Path) -> None:
    """Make the folder of a file, if the file system lets us; connecting says what is wrong if it does not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return


def _identity(path: Path) -> Identity:
    """The database and its log, in which commits stand until they are moved over."""
    states = [file.stat() for file in (path, path.with_name(f"{path.name}-wal"))]
    return tuple((state.st_dev, state.st_ino) for state in states)


def _deletes(than: float, limit: int) -> list[Delete]:
    """Rows that another worker is deleting are skipped; SQLite has one writer and ignores that."""
    forecasts = (
        select(FORECASTS.c.id).where(FORECASTS.c.created_at < than).order_by(FORECASTS.c.created_at).limit(limit)
    )
    samples = select(SAMPLES.c.id).where(SAMPLES.c.created_at < than).order_by(SAMPLES.c.created_at).limit(limit)
    key = (ACTUALS.c.series, ACTUALS.c.time)
    actuals = select(*key).where(ACTUALS.c.received_at < than).order_by(ACTUALS.c.received_at).limit(limit)
    return [
        delete(FORECASTS).where(FORECASTS.c.id.in_(forecasts.with_for_update(skip_locked=True))),
        delete(SAMPLES).where(SAMPLES.c.id.in_(samples.with_for_update(skip_locked=True))),
        delete(ACTUALS).where(tuple_(*key).in_(actuals.with_for_update(skip_locked=True))),
    ]
