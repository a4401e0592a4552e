"""Forecasts on their way into the record: cheap to hand over, checked and encoded later, by the writer."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: What the record takes.
MAX_TEXT = 256
MAX_VALUES = 1_000_000
MAX_STEP_SECONDS = 366 * 86_400
EARLIEST, LATEST = np.datetime64("1900-01-01", "s"), np.datetime64("2200-01-01", "s")
_EARLIEST, _LATEST = (int(time.astype(np.int64)) for time in (EARLIEST, LATEST))

_FLOAT, _SECOND = np.dtype("<f8"), np.dtype("datetime64[s]")
#: Fields of an entry that are texts; they come first.
_TEXTS = ("request_id", "series", "model_name", "model_version", "bento")


class ForecastEntry(NamedTuple):
    """One forecast of one series, as it was answered; a tuple, which is made in a quarter of a dataclass's time.

    Attributes:
        request_id: the request it was answered to.
        series: its name.
        model_name: the model that made it.
        model_version: its version.
        bento: tag of the Bento that answered.
        created_at: when it was answered, in seconds since 1970, UTC.
        origin: time of the last known value.
        step_seconds: time between two steps.
        mean: shape (horizon,). The arrays are kept as they are: they must not change after the entry was put.
        quantiles: by level, each of shape (horizon,).
    """

    request_id: str
    series: str
    model_name: str
    model_version: str
    bento: str
    created_at: float
    origin: np.datetime64
    step_seconds: int
    mean: Floats
    quantiles: Mapping[float, Floats]


class ForecastQueue:
    """Forecasts that wait for the writer: bounded, and never in the way of who puts them."""

    def __init__(self, entries: int, size_bytes: int, batch: int) -> None:
        self.dropped = 0
        self._batch = batch
        self._room = entries
        self._room_bytes = size_bytes
        self._bytes = 0
        self._entries: deque[ForecastEntry] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entries: Sequence[ForecastEntry]) -> bool:
        """Take what there is room for, drop and count the rest; whether that made a batch full."""
        waiting = self._entries
        with self._lock:
            before = len(waiting)
            for entry in entries:
                size = _size(entry)
                if len(waiting) >= self._room or self._bytes + size > self._room_bytes:
                    self.dropped += 1
                else:
                    waiting.append(entry)
                    self._bytes += size
            return before < self._batch <= len(waiting)

    def first(self, count: int) -> list[ForecastEntry]:
        """The oldest entries, which stay until they are `done`."""
        with self._lock:
            return list(islice(self._entries, count))

    def done(self, count: int) -> None:
        """Let go of the oldest entries: they are written, or never will be; `close` may have been quicker."""
        with self._lock:
            for _ in range(min(count, len(self._entries))):
                self._bytes -= _size(self._entries.popleft())

    def close(self) -> None:
        """Drop and count what waits, and all that comes."""
        with self._lock:
            self.dropped += len(self._entries)
            self._entries.clear()
            self._bytes = 0
            self._room = 0


def _size(entry: ForecastEntry) -> int:
    """Bytes of an entry's numbers; what is no entry is refused later, by `encode`."""
    try:
        return entry.mean.nbytes * (1 + len(entry.quantiles))
    except (AttributeError, TypeError):
        return 0


def encode_all(entries: Sequence[ForecastEntry]) -> list[dict[str, Any] | Exception]:
    """The row of each entry, or why it has none, in order.

    Entries of one shape, as those of one model are, are checked and encoded together in a fifth of the time.
    """
    try:
        return list(_together(entries))
    except Exception:
        return [_row_or_fault(entry) for entry in entries]


def _row_or_fault(entry: ForecastEntry) -> dict[str, Any] | Exception:
    try:
        return encode(entry)
    except Exception as err:
        return err


def _together(entries: Sequence[ForecastEntry]) -> Iterator[dict[str, Any]]:
    """The rows of entries that have the same levels and steps, and no fault.

    Raises:
        Exception: they have not, or one is at fault.
    """
    levels = sorted(entries[0].quantiles)
    means = np.array([entry.mean for entry in entries], dtype=_FLOAT)
    quantiles = np.array([[entry.quantiles[level] for level in levels] for entry in entries], dtype=_FLOAT)
    if means.ndim != 2 or any(len(entry.quantiles) != len(levels) for entry in entries):
        raise ValueError("entries of several shapes")
    size = means.shape[1]
    _check_numbers(means.ravel()[:size], levels, quantiles[0])
    if quantiles.shape != (len(entries), len(levels), *([size] if levels else [])) or _infinite(means.ravel()):
        raise ValueError("entries of several shapes, or an infinite value")
    if _infinite(quantiles.ravel()):
        raise ValueError("an infinite value")
    encoded_levels = np.array(levels, dtype=_FLOAT).tobytes()
    origins = np.array([entry.origin for entry in entries], dtype=_SECOND).view(np.int64).tolist()
    seen: set[object] = set()
    for place, (entry, origin) in enumerate(zip(entries, origins, strict=True)):
        for name, text in zip(_TEXTS, entry, strict=False):
            if text not in seen:
                check_text(name, text)
                seen.add(text)
        _check_times(entry, origin)
        yield _row(entry, origin, size, means[place].tobytes(), encoded_levels, quantiles[place].tobytes())


def encode(entry: ForecastEntry) -> dict[str, Any]:
    """The row of an entry.

    Raises:
        ValueError: the entry is not one that the record takes; the message says which value and why.
    """
    for name, text in zip(_TEXTS, entry, strict=False):
        check_text(name, text)
    levels = sorted(entry.quantiles)
    mean = np.asarray(entry.mean, dtype=_FLOAT)
    quantiles = np.array([entry.quantiles[level] for level in levels], dtype=_FLOAT)
    _check_numbers(mean, levels, quantiles)
    origin = int(entry.origin.astype(_SECOND).view(np.int64))
    _check_times(entry, origin)
    return _row(entry, origin, mean.size, mean.tobytes(), np.array(levels, dtype=_FLOAT).tobytes(), quantiles.tobytes())


def _row(
    entry: ForecastEntry, origin: int, horizon: int, mean: bytes, levels: bytes, quantiles: bytes
) -> dict[str, Any]:
    return {
        "created_at": float(entry.created_at),
        "request_id": entry.request_id,
        "series": entry.series,
        "model_name": entry.model_name,
        "model_version": entry.model_version,
        "bento": entry.bento,
        "origin": origin,
        "step_seconds": int(entry.step_seconds),
        "horizon": horizon,
        "last_time": origin + horizon * int(entry.step_seconds),
        "mean": mean,
        "levels": levels,
        "quantiles": quantiles,
    }


def check_text(name: str, text: object) -> None:
    """Refuse a text that a database cannot hold.

    Raises:
        ValueError: it is too long, or holds a character that is none.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        got = f"{len(text)} characters" if isinstance(text, str) else repr(text)
        raise ValueError(f"{name}: got {got}, wanted a text of at most {MAX_TEXT} characters")
    if "\0" in text or not (text.isascii() or _encodable(text)):
        raise ValueError(f"{name}: got {text!r}, wanted a text without NUL and without halves of surrogate pairs")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_numbers(mean: Floats, levels: list[float], quantiles: Floats) -> None:
    if mean.ndim != 1 or not 1 <= mean.size * (1 + len(levels)) <= MAX_VALUES:
        raise ValueError(
            f"mean, quantiles: got shape {mean.shape} and {len(levels)} levels, wanted one dimension and at most "
            f"{MAX_VALUES} numbers in all"
        )
    if levels and quantiles.shape != (len(levels), mean.size):
        raise ValueError(f"quantiles: got shape {quantiles.shape}, wanted {(len(levels), mean.size)}, as the mean has")
    if levels and not (levels[0] > 0 and levels[-1] < 1):
        raise ValueError(f"quantiles: got levels {levels}, wanted numbers between 0 and 1")
    if _infinite(mean) or _infinite(quantiles):
        raise ValueError("mean, quantiles: got an infinite value, wanted finite ones, or NaN where there is none")


def _infinite(values: Floats) -> bool:
    """Whether a value is infinite; the sum of squares of ordinary values tells in a third of the time."""
    return not math.isfinite(np.vdot(values, values)) and bool(np.isinf(values).any())


def _check_times(entry: ForecastEntry, origin: int) -> None:
    if not (math.isfinite(entry.created_at) and _EARLIEST <= origin <= _LATEST):
        raise ValueError(
            f"created_at, origin: got {entry.created_at} and {entry.origin}, wanted times between {EARLIEST} and {LATEST}"
        )
    if not 1 <= entry.step_seconds <= MAX_STEP_SECONDS:
        raise ValueError(f"step_seconds: got {entry.step_seconds}, wanted 1 to {MAX_STEP_SECONDS}")
