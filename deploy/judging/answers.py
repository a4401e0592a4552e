"""Answers of two versions to the same requests, side by side, from the record of forecasts.

The router gives a copy of a request the name of the original (`x-request-id`), and both versions write what they answer
into one record. So both answers to a request are found there, and no user has to see the candidate's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import SQLAlchemyError

from deploy.faults import RolloutError
from deploy.judging.accuracy import Accuracy
from deploy.judging.counts import Pairs
from service.record.address import Address
from service.record.engine import open_engine
from service.record.join import StoredForecast
from service.record.pairs import decode
from service.record.tables import FORECASTS

Floats = NDArray[np.float64]

#: A forecast differs if more of its steps than this lie outside the stable version's band.
STEPS_OUTSIDE = 0.1
#: The band reaches so many standard deviations to either side, as the stable version's own quantiles tell them.
DEVIATIONS = 2.0
#: Quantiles nearer to the median than so many standard deviations tell none.
NEAREST = 0.25
#: Rows of one look.
MOST_ROWS = 20_000
#: Requests that one version has answered so far.
MOST_WAITING = 10_000
#: Looks that series which the candidate alone has not answered yet are waited for: ten seconds, as rollouts look.
LATE = 20
#: Looks for answers between two for actual values, which come seldom.
PAUSE = 9


@dataclass(frozen=True)
class Forecast:
    """One forecast of one series.

    Attributes:
        origin: seconds since 1970.
        mean: shape (horizon,).
        below: how far the band reaches below the mean, shape (horizon,); 0 where nothing tells.
        above: how far it reaches above.
    """

    origin: int
    mean: Floats
    below: Floats
    above: Floats


def differ(stable: Forecast, candidate: Forecast) -> bool:
    """Whether the candidate's forecast is one that the stable version holds for unlikely.

    The band is `DEVIATIONS` of the stable version's standard deviations to either side, which a model that is better or
    worse rarely leaves (docs/decisions/0012-rollouts.md has figures), and one that is broken does. Where no interval was
    asked for, it is the size of the forecast itself.

    Args:
        stable: its forecast.
        candidate: the other one.
    """
    if stable.origin != candidate.origin or stable.mean.shape != candidate.mean.shape:
        return True
    if not np.isfinite(candidate.mean).all():
        return True
    typical = float(np.abs(stable.mean).mean())
    below, above = (
        np.where(one > 0, one, np.where(other > 0, other, typical))
        for one, other in ((stable.below, stable.above), (stable.above, stable.below))
    )
    slack = 1e-6 * max(typical, 1e-12)  # rounding
    outside = (candidate.mean < stable.mean - below - slack) | (candidate.mean > stable.mean + above + slack)
    return bool(outside.mean() > STEPS_OUTSIDE)


class Answers:
    """Compares as answers and actual values come in.

    Args:
        url: of the record.
        stable: tag of the Bento that serves.
        candidate: tag of the one that gets copies.
        since: seconds since 1970; what was answered before does not count.
        pause: looks for answers from one look for actual values to the next.
    """

    def __init__(self, url: str, stable: str, candidate: str, since: float, pause: int = PAUSE) -> None:
        self._address = Address.parse(url)
        self._engine = open_engine(self._address, reading=True)
        self._tags = (stable, candidate)
        self._since = since
        self._pause = pause
        self._looks = 0
        self._last = 0
        self._behind = self._is_read = False
        self._waiting: dict[str, dict[str, dict[str, StoredForecast]]] = {}
        self._seen: dict[str, int] = {}
        self._damaged: set[str] = set()
        self._accuracy = Accuracy()
        self._pairs = Pairs(0, 0)

    @property
    def accuracy(self) -> Pairs | None:
        """Of all forecasts of the same, so far, in how many the candidate was further off; None without actual values."""
        return self._accuracy.pairs

    def look(self, until: float = math.inf) -> Pairs:
        """All pairs so far: how many differ, and how many do not. A request with several series is one pair.

        Args:
            until: seconds since 1970; what was answered later is no copy. Once it is given, all of it has been answered.

        Raises:
            RolloutError: the record cannot be read.
        """
        try:
            with self._engine.begin() as connection:
                if not self._is_read:
                    self._take(self._rows(connection, until))
                    self._is_read = math.isfinite(until) and not self._behind
                self._match()
                if self._looks % (self._pause + 1) == 0:
                    self._accuracy.look(connection)
        except SQLAlchemyError as err:
            raise RolloutError(
                f"record {self._address.shown} cannot be read ({self._address.explain(err)}): without it the answers "
                "of both versions cannot be compared"
            ) from err
        self._looks += 1
        return self._pairs

    def close(self) -> None:
        """Give the connection back."""
        self._engine.dispose()

    def _take(self, rows: Sequence[Row[Any]]) -> None:
        """Keep what came until it can be compared."""
        self._behind = len(rows) == MOST_ROWS
        for row in rows:
            self._last = row.id
            of_request = self._waiting.setdefault(row.request_id, {})
            stored = decode(row)
            if stored is None:  # a request with a damaged answer waits for it, and is not compared
                self._damaged.add(row.request_id)
            else:
                of_request.setdefault(row.bento, {})[row.series] = stored

    def _match(self) -> None:
        """Compare the requests that both have answered whole by now, or that the candidate will not answer whole."""
        for request, both in list(self._waiting.items()):
            if len(both) == len(self._tags):
                one, other = (both[tag] for tag in self._tags)
                waited = self._looks - self._seen.setdefault(request, self._looks)
                is_short = len(other) < len(one) and waited >= LATE and request not in self._damaged
                if len(one) == len(other) or is_short:
                    self._compare(one, other)
                    self._forget(request)
        while len(self._waiting) > MOST_WAITING:  # the oldest, which one of them never answered
            self._forget(next(iter(self._waiting)))

    def _forget(self, request: str) -> None:
        del self._waiting[request]
        self._seen.pop(request, None)
        self._damaged.discard(request)

    def _compare(self, one: dict[str, StoredForecast], other: dict[str, StoredForecast]) -> None:
        same = one.keys() & other.keys()
        worse = len(same) < len(one) or any(differ(banded(one[name]), banded(other[name])) for name in same)
        self._pairs = Pairs(self._pairs.worse + worse, self._pairs.other + (not worse))
        for name in same:
            if one[name].origin == other[name].origin:
                self._accuracy.add(one[name], other[name])

    def _rows(self, connection: Connection, until: float) -> Sequence[Row[Any]]:
        table = FORECASTS.c
        wanted = (
            select(FORECASTS)
            .where(table.id > self._last, table.created_at >= self._since, table.bento.in_(self._tags))
            .order_by(table.id)
            .limit(MOST_ROWS)
        )
        if math.isfinite(until):
            wanted = wanted.where(table.created_at < until)
        return connection.execute(wanted).all()


def banded(stored: StoredForecast) -> Forecast:
    """A forecast of the record with its band, from the lowest and the highest quantile that were asked for.

    A quantile of a level is taken to be as many standard deviations away as a normal distribution's is, so that the band
    is the same whichever interval a client asks for.
    """
    below, above = np.zeros_like(stored.mean), np.zeros_like(stored.mean)
    if stored.levels.size:
        lowest, highest = int(stored.levels.argmin()), int(stored.levels.argmax())
        low, high = (NormalDist().inv_cdf(float(stored.levels[place])) for place in (lowest, highest))
        if low <= -NEAREST:
            below = np.maximum(0.0, stored.mean - stored.quantiles[lowest]) * DEVIATIONS / -low
        if high >= NEAREST:
            above = np.maximum(0.0, stored.quantiles[highest] - stored.mean) * DEVIATIONS / high
    return Forecast(stored.origin, stored.mean, below, above)
