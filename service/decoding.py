"""JSON, numbers and times of clients into ours, with errors that say where and what was wrong."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
import numpy as np
import simdjson
from msgspec import Raw
from numpy.typing import NDArray

from data.errors import RequestError
from service import faults
from service.faults import short

Floats = NDArray[np.float64]
#: An array of numbers as messages declare it.
Numbers = list[float | None]
T = TypeVar("T")
Made = TypeVar("Made")
_LOCAL = threading.local()


class NotPlainError(Exception):
    """An array that is not simply numbers."""


class Reader(Generic[T]):
    """Reads messages of a declared type, whose arrays of numbers are most of their bytes.

    The usual array holds numbers and nothing else. It is read by simdjson straight into an array, without an
    object for each number. A message with anything else in one of them, or with a fault anywhere, is read again
    the slow way, which takes what is missing as NaN and says what is wrong.

    Args:
        declared: a msgspec.Struct; its arrays are `Numbers`.
    """

    def __init__(self, declared: type[T]) -> None:
        self._careful = msgspec.json.Decoder(declared)
        self._quick: msgspec.json.Decoder[T] = msgspec.json.Decoder(_raw_numbers(declared))

    def read(self, body: bytes, made: Callable[[T], Made]) -> Made:
        """What is made of a message.

        Args:
            body: JSON.
            made: turns the message's arrays into floats by `floats`, and no other way.

        Raises:
            RequestError: the body is not JSON, or not of the declared shape.
        """
        try:
            return made(self._quick.decode(body))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, NotPlainError):
            return made(decode(self._careful, body))


def _raw_numbers(declared: Any) -> Any:
    """A type whose arrays of numbers are left as they were sent."""
    if declared == Numbers:
        return Raw
    if isinstance(declared, type) and issubclass(declared, msgspec.Struct):
        optional: Any = msgspec.field  # its types know one of the two ways at a time
        fields = [
            (
                field.name,
                _raw_numbers(field.type),
                optional(default=field.default, default_factory=field.default_factory),
            )
            for field in msgspec.structs.fields(declared)
        ]
        return msgspec.defstruct(declared.__name__, fields, frozen=True, kw_only=True)
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is Annotated:
        return Annotated[_raw_numbers(arguments[0]), *declared.__metadata__]
    if origin in (Union, UnionType):
        return reduce(or_, map(_raw_numbers, arguments))
    if origin in (list, dict):
        return origin[tuple(map(_raw_numbers, arguments))]
    return declared


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


def floats(values: list[float | None] | list[float] | Raw) -> Floats:
    """Shape (values,): numbers of a client, None as NaN.

    Raises:
        NotPlainError: it was left as it was sent, and there is something else than numbers in it.
    """
    if isinstance(values, Raw):
        return _plain_floats(bytes(values))
    try:
        return np.fromiter(values, np.float64, len(values))
    except TypeError:
        return np.array(values, dtype=np.float64)


def _plain_floats(text: bytes) -> Floats:
    """The numbers of a JSON array."""
    if text.rfind(b"[") != 0:  # simdjson would make one array of nested ones
        raise NotPlainError
    try:
        parser = _LOCAL.parser
    except AttributeError:
        parser = _LOCAL.parser = simdjson.Parser()
    try:
        return np.frombuffer(parser.parse(text).as_buffer(of_type="d"), np.float64)
    except (ValueError, TypeError, RuntimeError) as err:
        raise NotPlainError from err


def moment(text: str, where: str) -> np.datetime64:
    """The wall time of an ISO 8601 timestamp; an offset is dropped, as it is in training.

    Raises:
        RequestError: it is not a timestamp, or has a fraction of a second, which training refuses too.
    """
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as err:
        raise RequestError(
            f"{where}: got {short(text)}, wanted ISO 8601 such as 2024-05-01T13:00", param=where
        ) from err
    if time.microsecond:
        raise RequestError(f"{where}: got {short(text)}, wanted whole seconds such as 2024-05-01T13:00", param=where)
    return np.datetime64(time.replace(tzinfo=None), "s")
