"""The series with most forecasts that came true lately: what a person is shown, found without reading the record."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Select, exists, func, select

from service.record.newest import ROWS, newest_time
from service.record.reading import reading
from service.record.tables import ACTUALS, FORECASTS


class Busiest(NamedTuple):
    """A series, and the time in which its forecasts came true: from `begin` to `end`, in seconds since 1970."""

    series: str
    begin: int
    end: int


def busiest(url: str, until: int, seconds: int) -> Busiest | None:
    """Of the time that ends with the newest actual value, or with the last forecast if that is earlier.

    Args:
        url: as in `RecordSettings`.
        until: seconds since 1970; actual values of later times (a client's clock is wrong) are none.
        seconds: length of that time.

    Returns:
        The first by name if several have as many; None if nothing came true in that time.

    Raises:
        ConfigError: the URL cannot be followed, or the tables are of a version that this code does not know.
        RecordUnavailableError: the database cannot be read.
    """
    with reading(url) as begin, begin() as connection:
        came, forecast = (
            connection.scalar(newest_time(until)),
            connection.scalar(select(func.max(FORECASTS.c.last_time))),
        )
        if came is None or forecast is None:
            return None
        end = min(int(came), int(forecast))
        series = connection.scalar(_most(end - seconds, end))
    return None if series is None else Busiest(series, end - seconds, end)


def _most(begin: int, end: int) -> Select[Any]:
    near = (
        select(FORECASTS.c.series)
        .where(FORECASTS.c.last_time >= begin, FORECASTS.c.origin < end)
        .order_by(FORECASTS.c.last_time.desc(), FORECASTS.c.id.desc())
        .limit(ROWS)
        .subquery()
    )
    many = select(near.c.series, func.count().label("forecasts")).group_by(near.c.series).subquery()
    came = exists().where(
        ACTUALS.c.series == many.c.series, ACTUALS.c.time.between(begin, end), ACTUALS.c.value.is_not(None)
    )
    return select(many.c.series).where(came).order_by(many.c.forecasts.desc(), many.c.series).limit(1)
