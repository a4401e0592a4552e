"""Sampled requests, read from the record."""

from __future__ import annotations

from sqlalchemy import inspect, select
from sqlalchemy.exc import SQLAlchemyError

from service.record.address import Address
from service.record.engine import open_engine
from service.record.errors import RecordUnavailableError
from service.record.health import fix
from service.record.samples import SampleEntry, decode
from service.record.tables import SAMPLES, check_version


def sampled(url: str, model_version: str, bento: str, most: int) -> list[SampleEntry]:
    """The newest sampled requests that a Bento answered with a version of the model; none from a record without them.

    Args:
        url: as in `RecordSettings`.
        model_version: in MLflow's registry.
        bento: its tag.
        most: how many.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    address = Address.parse(url)
    if address.path is not None and not address.path.is_file():
        raise RecordUnavailableError(
            f"record {address.shown}: there is no such file: has the service kept a record there?"
        )
    engine = open_engine(address, reading=True)
    try:
        with engine.begin() as connection:
            check_version(connection, address.shown)
            if not inspect(connection).has_table(SAMPLES.name):  # written by a service that takes no samples
                return []
            newest = (
                select(SAMPLES)
                .where(SAMPLES.c.model_version == model_version, SAMPLES.c.bento == bento)
                .order_by(SAMPLES.c.created_at.desc())
                .limit(most)
            )
            return [decode(row) for row in connection.execute(newest)]
    except SQLAlchemyError as err:
        reason = address.explain(err)
        raise RecordUnavailableError(f"record {address.shown} cannot be read: {reason}: {fix(reason)}") from err
    finally:
        engine.dispose()
