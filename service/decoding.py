"""JSON, numbers and times of clients into ours, with errors that say where and what was wrong."""

from __future__ import annotations

import datetime as dt
import re
from array import array
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.errors import RequestError

Floats = NDArray[np.float64]
T = TypeVar("T")

#: Characters of a client's own value that an error message repeats.
MAX_SHOWN = 60
_AT = re.compile(r"^(?P<text>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Read JSON of a declared shape.

    Raises:
        RequestError: it is not JSON, or not of that shape.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as err:
        found = _AT.match(str(err))
        where = _path(found["path"] or "") if found else ""
        text = cut(found["text"] if found else str(err), 200)
        text = text[:1].lower() + text[1:]
        raise RequestError(f"{where or 'body'}: {text}", param=where or None) from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise RequestError(f"body: {cut(str(err), 200)}") from err
    except RecursionError as err:
        raise RequestError("body: it is nested too deeply, wanted the API's own shape") from err


def floats(values: list[float | None] | list[float]) -> Floats:
    """Shape (values,): numbers of a client, None as NaN."""
    try:
        return np.frombuffer(array("d", values))  # type: ignore[type-var]
    except TypeError:
        return np.array(values, dtype=np.float64)


def moment(text: str, where: str) -> np.datetime64:
    """The wall time of an ISO 8601 timestamp; an offset is dropped, as it is in training.

    Raises:
        RequestError: it is not a timestamp.
    """
    try:
        return np.datetime64(dt.datetime.fromisoformat(text).replace(tzinfo=None), "s")
    except ValueError as err:
        raise RequestError(
            f"{where}: got {short(text)}, wanted ISO 8601 such as 2024-05-01T13:00", param=where
        ) from err


def short(value: Any) -> str:
    """A client's value as text, no longer than a message needs."""
    return cut(repr(value[: 2 * MAX_SHOWN] if isinstance(value, str | bytes) else value), MAX_SHOWN)


def _path(path: str) -> str:
    """`$.inputs[0].series[3]` as `inputs[0].series[3]`."""
    return cut(path.removeprefix("$").removeprefix("."), 200)


def cut(text: str, length: int) -> str:
    """A text, no longer than so many characters."""
    return text if len(text) <= length else text[: length - 3] + "..."
