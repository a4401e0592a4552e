"""Answers of two versions to the same requests, side by side, from the record of forecasts.

The router gives a copy of a request the name of the original (`x-request-id`), and both versions write what they answer
into one record. So both answers to a request are found there, and no user has to see the candidate's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, select
from sqlalchemy.exc import SQLAlchemyError

from deploy.counts import Pairs
from deploy.faults import RolloutError
from service.record.address import Address
from service.record.engine import open_engine
from service.record.tables import FORECASTS

Floats = NDArray[np.float64]

#: A forecast differs if more of its steps than this lie outside the stable version's band.
STEPS_OUTSIDE = 0.1
#: The band reaches beyond the stable version's interval by so many of its widths.
WIDTHS = 1.0
#: Rows of one look.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Forecast:
    """One forecast of one series.

    Attributes:
        origin: seconds since 1970.
        mean: shape (horizon,).
        low: the lowest quantile that was asked for, shape (horizon,), or the mean.
        high: the highest.
    """

    origin: int
    mean: Floats
    low: Floats
    high: Floats


def differ(stable: Forecast, candidate: Forecast) -> bool:
    """Whether the candidate's forecast is one that the stable version holds for next to impossible.

    The band is the stable version's interval and once its width on either side, which a model that is better or worse
    rarely leaves, and one that is broken does. Where no interval was asked for, the width is the size of the
    forecast itself.

    Args:
        stable: its forecast.
        candidate: the other one.
    """
    if stable.origin != candidate.origin or stable.mean.shape != candidate.mean.shape:
        return True
    if not np.isfinite(candidate.mean).all():
        return True
    width = stable.high - stable.low
    typical = float(np.abs(stable.mean).mean())
    width = np.where(width > 0, width, typical) * WIDTHS
    slack = 1e-6 * max(typical, 1e-12)  # rounding
    outside = (candidate.mean < stable.low - width - slack) | (candidate.mean > stable.high + width + slack)
    return bool(outside.mean() > STEPS_OUTSIDE)


class Answers:
    """Compares as answers come in.

    Args:
        url: of the record.
        stable: tag of the Bento that serves.
        candidate: tag of the one that gets copies.
        since: seconds since 1970; what was answered before does not count.
    """

    def __init__(self, url: str, stable: str, candidate: str, since: float) -> None:
        self._address = Address.parse(url)
        self._engine = open_engine(self._address, reading=True)
        self._tags = (stable, candidate)
        self._since = since
        self._last = 0
        self._waiting: dict[str, dict[str, dict[str, Forecast]]] = {}
        self._pairs = Pairs(0, 0)

    def look(self) -> Pairs:
        """All pairs so far: how many differ, and how many do not. A request with several series is one pair.

        Raises:
            RolloutError: the record cannot be read.
        """
        for row in self._rows():
            self._last = row.id
            of_request = self._waiting.setdefault(row.request_id, {})
            of_request.setdefault(row.bento, {})[row.series] = _decoded(row)
        for request, both in list(self._waiting.items()):
            if len(both) == len(self._tags):
                one, other = (both[tag] for tag in self._tags)
                if len(one) == len(other):
                    worse = one.keys() != other.keys() or any(differ(one[name], other[name]) for name in one)
                    self._pairs = Pairs(self._pairs.worse + worse, self._pairs.other + (not worse))
                    del self._waiting[request]
        return self._pairs

    def close(self) -> None:
        """Give the connection back."""
        self._engine.dispose()

    def _rows(self) -> Sequence[Row[Any]]:
        table = FORECASTS.c
        wanted = (
            select(FORECASTS)
            .where(table.id > self._last, table.created_at >= self._since, table.bento.in_(self._tags))
            .order_by(table.id)
            .limit(MOST_ROWS)
        )
        try:
            with self._engine.begin() as connection:
                return connection.execute(wanted).all()
        except SQLAlchemyError as err:
            raise RolloutError(
                f"record {self._address.shown} cannot be read ({self._address.explain(err)}): without it the answers "
                "of both versions cannot be compared"
            ) from err


def _decoded(row: Row[Any]) -> Forecast:
    mean, quantiles = (np.frombuffer(blob, dtype="<f8") for blob in (row.mean, row.quantiles))
    if not quantiles.size:
        return Forecast(row.origin, mean, mean, mean)
    by_level = quantiles.reshape(-1, mean.size)
    return Forecast(row.origin, mean, np.minimum(by_level.min(axis=0), mean), np.maximum(by_level.max(axis=0), mean))
