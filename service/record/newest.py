"""The newest actual value in the record: how late those are who bring them."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from service.record.address import Address
from service.record.engine import open_engine
from service.record.errors import RecordUnavailableError
from service.record.health import fix
from service.record.tables import ACTUALS, check_version

#: Of so many that came in last: an index finds them, and nobody brings more that are old at once.
ROWS = 100_000


def newest(url: str) -> int | None:
    """Time of the newest actual value that is a number, in seconds since 1970; None if there is none.

    Args:
        url: as in `RecordSettings`.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    address = Address.parse(url)
    if address.path is not None and not address.path.is_file():
        raise RecordUnavailableError(
            f"record {address.shown}: there is no such file: has the service kept a record there?"
        )
    last = select(ACTUALS.c.time, ACTUALS.c.value).order_by(ACTUALS.c.received_at.desc()).limit(ROWS).subquery()
    engine = open_engine(address, reading=True)
    try:
        with engine.begin() as connection:
            check_version(connection, address.shown)
            found = connection.scalar(select(func.max(last.c.time)).where(last.c.value.is_not(None)))
    except SQLAlchemyError as err:
        reason = address.explain(err)
        raise RecordUnavailableError(f"record {address.shown} cannot be read: {reason}: {fix(reason)}") from err
    finally:
        engine.dispose()
    return None if found is None else int(found)
