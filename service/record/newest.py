"""The newest actual value in the record: how late those are who bring them."""

from __future__ import annotations

from sqlalchemy import func, select

from service.record.reading import reading
from service.record.tables import ACTUALS

#: Of so many that came in last: an index finds them, and nobody brings more that are old at once.
ROWS = 100_000


def newest(url: str, until: int) -> tuple[int | None, int]:
    """Time of the newest actual value that is a number, and how many are of later times than may be.

    Args:
        url: as in `RecordSettings`.
        until: seconds since 1970, as in the record; what is of later (a client's clock is wrong) tells no age.

    Returns:
        Seconds since 1970, None if there is none up to then; and how many are later.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    last = select(ACTUALS.c.time, ACTUALS.c.value).order_by(ACTUALS.c.received_at.desc()).limit(ROWS).subquery()
    known = last.c.value.is_not(None)
    with reading(url) as begin, begin() as connection:
        found = connection.scalar(select(func.max(last.c.time)).where(known, last.c.time <= until))
        later = connection.scalar(select(func.count()).select_from(last).where(known, last.c.time > until))
    return (None if found is None else int(found)), int(later or 0)
