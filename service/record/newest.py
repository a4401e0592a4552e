"""The newest actual value in the record: how late those are who bring them."""

from __future__ import annotations

from sqlalchemy import func, select

from service.record.reading import reading
from service.record.tables import ACTUALS

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
    last = select(ACTUALS.c.time, ACTUALS.c.value).order_by(ACTUALS.c.received_at.desc()).limit(ROWS).subquery()
    with reading(url) as begin, begin() as connection:
        found = connection.scalar(select(func.max(last.c.time)).where(last.c.value.is_not(None)))
    return None if found is None else int(found)
