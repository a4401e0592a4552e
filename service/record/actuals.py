"""Actual values on their way into the record: whoever brings them waits until they are on disk."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from data.errors import BentocastError, RequestError
from service.record.entries import EARLIEST, LATEST, Floats, check_text
from service.record.errors import RecordUnavailableError

#: Rows of one call: what a database surely writes within the time that a client waits.
MAX_ROWS = 100_000
#: Rows that may wait at once.
MAX_WAITING = 1_000_000


@dataclass(frozen=True)
class Actuals:
    """Checked actual values of one call.

    Attributes:
        series: names, one for each value.
        times: shape (n,), seconds since 1970.
        values: shape (n,), NaN where it is known that there is no value.
        received_at: seconds since 1970, UTC.
    """

    series: list[str]
    times: NDArray[np.int64]
    values: Floats
    received_at: float

    @classmethod
    def checked(cls, series: list[str], times: NDArray[np.datetime64], values: Floats) -> Self:
        """Check what a client brings.

        Raises:
            RequestError: names the value at fault, what was got and what is wanted.
        """
        _check_sizes(series, times, values)
        for name in set(series):
            _check_name(series, name)
        outside = ~((times >= EARLIEST) & (times <= LATEST))
        if outside.any():
            place = int(np.flatnonzero(outside)[0])
            raise _refused("times", place, f"got {times[place]}, wanted a time between {EARLIEST} and {LATEST}")
        infinite = np.isinf(values)
        if infinite.any():
            place = int(np.flatnonzero(infinite)[0])
            raise _refused(
                "values", place, f"got {values[place]}, wanted a finite number, or NaN where there is no value"
            )
        seconds = times.astype("datetime64[s]").astype(np.int64)
        return cls(list(series), seconds, values.astype(np.float64), time.time())


def _check_sizes(series: list[str], times: NDArray[np.datetime64], values: Floats) -> None:
    if not len(series) == times.size == values.size or times.ndim != 1 or values.ndim != 1:
        raise RequestError(
            f"actual values: got {len(series)} series, {times.size} times and {values.size} values, wanted as many of each",
            param="values",
        )
    if len(series) > MAX_ROWS:
        raise RequestError(
            f"actual values: got {len(series)}, wanted at most {MAX_ROWS}: send several requests", param="values"
        )


def _check_name(series: list[str], name: str) -> None:
    try:
        check_text("", name)
    except ValueError as err:
        place = series.index(name)
        raise _refused("series", place, str(err).removeprefix(": ")) from err


def _refused(name: str, place: int, text: str) -> RequestError:
    return RequestError(f"{name}[{place}]: {text}", param=f"{name}[{place}]")


@dataclass(frozen=True, eq=False)
class Call:
    """One client's values, and the future that it waits on."""

    actuals: Actuals
    future: Future[int] = field(default_factory=Future)

    def acknowledge(self) -> None:
        """Tell the client, if it still waits."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(len(self.actuals.series))

    def refuse(self, err: BentocastError) -> None:
        """Tell the client that its values were not taken."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(err)


class ActualsQueue:
    """Calls that wait for the writer."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._lock = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._calls)

    def put(self, actuals: Actuals) -> Future[int]:
        """Wait in line.

        Raises:
            RecordUnavailableError: too many wait, or the record is closed.
        """
        call = Call(actuals)
        with self._lock:
            if self._closed:
                raise RecordUnavailableError("record: it is closed, this worker ends: send the actual values again")
            waiting = sum(len(other.actuals.series) for other in self._calls)
            if waiting + len(actuals.series) > MAX_WAITING:
                raise RecordUnavailableError(
                    f"record: {waiting} actual values wait to be written, at most {MAX_WAITING} may: send them again later"
                )
            self._calls.append(call)
        return call.future

    def group(self) -> list[Call]:
        """The first calls that fit in one transaction, without those that nobody waits for any more."""
        with self._lock:
            self._calls = [call for call in self._calls if not call.future.done()]
            rows, calls = 0, list[Call]()
            for call in self._calls:
                rows += len(call.actuals.series)
                if calls and rows > MAX_ROWS:
                    break
                calls.append(call)
            return calls

    def done(self, calls: list[Call]) -> None:
        """Acknowledge calls whose values are on disk."""
        gone = set(calls)
        with self._lock:
            self._calls = [call for call in self._calls if call not in gone]
        for call in calls:
            call.acknowledge()

    def close(self) -> None:
        """Refuse who waits, and who comes."""
        with self._lock:
            self._closed = True
            calls, self._calls = self._calls, []
        for call in calls:
            call.refuse(
                RecordUnavailableError("record: it was closed before the actual values were on disk: send them again")
            )


def rows(calls: list[Call]) -> list[dict[str, Any]]:
    """The rows of a group, the last of each (series, time), in the order of their key.

    All writers keep to that order, or two of them could wait for each other in PostgreSQL.
    """
    last: dict[tuple[str, int], tuple[float, float]] = {}
    for call in calls:
        taken = call.actuals
        keys = zip(taken.series, taken.times.tolist(), strict=True)
        last |= zip(keys, ((value, taken.received_at) for value in taken.values.tolist()), strict=True)
    return [
        {"series": series, "time": when, "value": None if value != value else value, "received_at": received_at}
        for (series, when), (value, received_at) in sorted(last.items())
    ]
