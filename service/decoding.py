"""JSON, numbers and times of clients into ours, with errors that say where and what was wrong."""

from __future__ import annotations

import datetime as dt
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.errors import RequestError
from service import faults
from service.faults import short

Floats = NDArray[np.float64]
T = TypeVar("T")


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """Read JSON of a declared shape.

    Raises:
        RequestError: it is not JSON, or not of that shape.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as err:
        raise faults.of_shape(err, bytes(body), decoder.type) from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise faults.of_syntax(err, bytes(body)) from err
    except RecursionError as err:
        raise RequestError("body: it is nested too deeply, wanted the API's own shape") from err


def floats(values: list[float | None] | list[float]) -> Floats:
    """Shape (values,): numbers of a client, None as NaN."""
    try:
        return np.fromiter(values, np.float64, len(values))
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
