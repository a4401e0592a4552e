"""The newest actual values in the record: how late those are who bring them."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Select, Subquery, func, select

from data.shown import SOME
from service.record.reading import reading
from service.record.tables import ACTUALS, FORECASTS

#: Of so many that came in last: an index finds them, and nobody brings more that are old at once. Of so many forecasts
#: the series are known.
ROWS = 100_000


class Newest(NamedTuple):
    """The newest actual values that are numbers; times in seconds since 1970.

    Attributes:
        at: of any series; None if there is none.
        by_series: of each series that was forecast and of which any ever came.
        asked: how many series were forecast.
        later: how many values are of later times than may be.
        later_series: names of series that they are of, a few.
    """

    at: int | None
    by_series: dict[str, int]
    asked: int
    later: int
    later_series: tuple[str, ...]


def newest(url: str, since: float, until: int) -> Newest:
    """Time of the newest actual value that is a number: of any series, and of each that was forecast.

    Args:
        url: as in `RecordSettings`.
        since: seconds since 1970, UTC: series count that were forecast at that moment or later.
        until: seconds since 1970, as in the record; what is of later (a client's clock is wrong) tells no age.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    forecasts = (
        select(FORECASTS.c.series)
        .where(FORECASTS.c.created_at >= since)
        .order_by(FORECASTS.c.created_at.desc())
        .limit(ROWS)
        .subquery()
    )
    asked = select(forecasts.c.series).distinct().subquery()
    # The key finds it, without a look at the others of its series.
    of_series = (
        select(ACTUALS.c.time)
        .where(ACTUALS.c.series == asked.c.series, ACTUALS.c.time <= until, ACTUALS.c.value.is_not(None))
        .order_by(ACTUALS.c.time.desc())
        .limit(1)
        .correlate(asked)
        .scalar_subquery()
    )
    last = _last()
    ahead = last.c.value.is_not(None) & (last.c.time > until)
    with reading(url) as begin, begin() as connection:
        at = connection.scalar(newest_time(until))
        found = connection.execute(select(asked.c.series, of_series)).all()
        later = connection.scalar(select(func.count()).select_from(last).where(ahead)) or 0
        names = connection.scalars(select(last.c.series).where(ahead).distinct().limit(SOME)).all() if later else []
    return Newest(
        at=None if at is None else int(at),
        by_series={series: int(time) for series, time in found if time is not None},
        asked=len(found),
        later=int(later),
        later_series=tuple(sorted(names)),
    )


def newest_time(until: int) -> Select[Any]:
    """Of any series, the time of the newest actual value that is a number, no later than may be."""
    last = _last()
    return select(func.max(last.c.time)).where(last.c.value.is_not(None), last.c.time <= until)


def _last() -> Subquery:
    """The actual values that came in last."""
    came = select(ACTUALS.c.series, ACTUALS.c.time, ACTUALS.c.value).order_by(ACTUALS.c.received_at.desc())
    return came.limit(ROWS).subquery()
