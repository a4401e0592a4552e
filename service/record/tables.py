"""The tables of the record, the same in SQLite and PostgreSQL.

A forecast is one row, its numbers little-endian float64 in blobs: a row a step would be 24 times the rows
and indexes for a day ahead, and nobody asks the database for a single step.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    func,
    select,
)

from data.errors import ConfigError

#: Raised with every change of a table. One more table is none: a Bento of before goes on writing beside a newer one, and
#: after a rollback to it.
SCHEMA_VERSION = 1
#: Any number that other programs in the same PostgreSQL do not lock.
_LOCK = 7_313_904_411

METADATA = MetaData()

VERSION = Table("record_version", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))

FORECASTS = Table(
    "forecasts",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("series", String(256), nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("bento", Text, nullable=False),
    Column("origin", BigInteger, nullable=False),
    Column("step_seconds", BigInteger, nullable=False),
    Column("horizon", Integer, nullable=False),
    # Time of the last step, in seconds since 1970: a window of time finds its forecasts by it.
    Column("last_time", BigInteger, nullable=False),
    Column("mean", LargeBinary, nullable=False),
    Column("levels", LargeBinary, nullable=False),
    Column("quantiles", LargeBinary, nullable=False),
)
Index("forecasts_by_last_time", FORECASTS.c.last_time, FORECASTS.c.id)
Index("forecasts_by_age", FORECASTS.c.created_at)

ACTUALS = Table(
    "actuals",
    METADATA,
    Column("series", String(256), primary_key=True),
    Column("time", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double),
    Column("received_at", Double, nullable=False),
    sqlite_with_rowid=False,
)
Index("actuals_by_age", ACTUALS.c.received_at)

# Requests as they came, see `service.record.samples`.
SAMPLES = Table(
    "samples",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("series", String(256), nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("bento", Text, nullable=False),
    Column("origin", BigInteger, nullable=False),
    Column("step_seconds", BigInteger, nullable=False),
    Column("covariates", Text, nullable=False),
    Column("target", LargeBinary, nullable=False),
    Column("past", LargeBinary, nullable=False),
    Column("future", LargeBinary, nullable=False),
    Column("inputs", LargeBinary, nullable=False),
    Column("scale", Double, nullable=False),
)
Index("samples_by_age", SAMPLES.c.created_at)


def create(connection: Connection, shown: str) -> None:
    """Make the tables that are missing, inside the connection's transaction, one process at a time.

    SQLite's own lock (BEGIN IMMEDIATE) keeps other processes out, in PostgreSQL an advisory lock does.

    Args:
        connection: in a transaction.
        shown: the database as it is named to people.

    Raises:
        ConfigError: the tables are of a version that this code does not know.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    VERSION.create(connection, checkfirst=True)
    if not check_version(connection, shown):
        connection.execute(VERSION.insert().values(version=SCHEMA_VERSION))
    METADATA.create_all(connection, checkfirst=True)


def check_version(connection: Connection, shown: str) -> bool:
    """Whether the tables were made before; the version table must exist.

    Raises:
        ConfigError: the tables are of a version that this code does not know.
    """
    found = connection.scalar(select(func.max(VERSION.c.version)))
    if found is not None and found != SCHEMA_VERSION:
        raise ConfigError(
            f"record {shown}: its tables are of version {found}, wanted {SCHEMA_VERSION}, which this code knows: "
            "update bentocast, or give the record another database"
        )
    return found is not None
