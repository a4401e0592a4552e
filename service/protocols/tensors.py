"""Tensors of the Open Inference Protocol (V2): names, shapes, datatypes, and their little-endian bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import RequestError
from service.faults import short

MAX_DIMENSIONS = 3
MAX_TENSORS = 600
BYTES, BOOL = "BYTES", "BOOL"
#: Little-endian NumPy types of the numeric datatypes.
NUMERIC = {
    BOOL: np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor.

    Attributes:
        name: of the input or output.
        datatype: as the protocol names it.
        shape: of `values`.
        values: an array of that shape; for BYTES a flat list of text.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[np.generic] | list[str]

    def numbers(self) -> NDArray[np.float64]:
        """The values as float64.

        Raises:
            RequestError: the tensor holds text.
        """
        if isinstance(self.values, list):
            raise RequestError(f"{short(self.name)}: got datatype BYTES, wanted numbers (FP64)", param=self.name)
        return self.values.astype(np.float64, copy=False)

    def texts(self) -> list[str]:
        """The values of a BYTES tensor.

        Raises:
            RequestError: the tensor holds numbers.
        """
        if not isinstance(self.values, list):
            raise RequestError(f"{short(self.name)}: got datatype {self.datatype}, wanted BYTES", param=self.name)
        return self.values

    def raw(self) -> bytes:
        """The values as the binary extension and gRPC carry them."""
        if isinstance(self.values, list):
            encoded = [text.encode() for text in self.values]
            return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
        return self.values.astype(NUMERIC[self.datatype], copy=False).tobytes()


def checked_shape(name: str, datatype: str, shape: Sequence[int], *, most: int) -> tuple[int, ...]:
    """A declared shape, before anything is made of it.

    Raises:
        RequestError: too many dimensions or elements, a negative one, or an unknown datatype.
    """
    if datatype != BYTES and datatype not in NUMERIC:
        raise RequestError(
            f"{short(name)}: datatype: got {short(datatype)}, wanted one of {', '.join((*NUMERIC, BYTES))}", param=name
        )
    whole = tuple(shape)
    if not 1 <= len(whole) <= MAX_DIMENSIONS or min(whole) < 0 or max(*whole, math.prod(whole)) > most:
        raise RequestError(
            f"{short(name)}: shape: got {short(list(whole))}, wanted 1 to {MAX_DIMENSIONS} dimensions and at most {most} "
            "elements",
            param=name,
        )
    return whole


def check_whole(name: str, datatype: str, values: NDArray[np.float64]) -> None:
    """See that numbers that came as JSON or in a wider field are of their datatype, if it is one of integers.

    Args:
        name: of the tensor.
        datatype: a numeric one.
        values: NaN where one is missing, which is no fault.

    Raises:
        RequestError: one has a fraction, or is out of range.
    """
    kind = NUMERIC[datatype]
    if kind.kind not in "iu":
        return
    limits = np.iinfo(kind.str)
    wrong = (values != np.floor(values)) & ~np.isnan(values) | (values < limits.min) | (values > limits.max)
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise RequestError(
            f"{short(name)}: element {place}: got {values[place]:.17g}, wanted {datatype}, a whole number from {limits.min} to "
            f"{limits.max}",
            param=name,
        )


def from_raw(name: str, datatype: str, shape: tuple[int, ...], data: bytes | memoryview) -> Tensor:
    """A tensor out of little-endian bytes.

    Args:
        name: of the tensor.
        datatype: a known one, see `checked_shape`.
        shape: a checked one.
        data: exactly the tensor's bytes.

    Raises:
        RequestError: the bytes are too many or too few, or no text where text is wanted.
    """
    size = math.prod(shape)
    if datatype == BYTES:
        return Tensor(name, datatype, shape, _texts(name, data, size))
    kind = NUMERIC[datatype]
    if len(data) != size * kind.itemsize:
        raise RequestError(
            f"{short(name)}: got {len(data)} bytes, wanted {size * kind.itemsize} for {datatype} of shape {list(shape)}",
            param=name,
        )
    return Tensor(name, datatype, shape, np.frombuffer(data, dtype=kind).reshape(shape))


def _texts(name: str, data: bytes | memoryview, size: int) -> list[str]:
    texts: list[str] = []
    place = 0
    while place < len(data) and len(texts) <= size:
        length = int.from_bytes(data[place : place + 4], "little")
        part = bytes(data[place + 4 : place + 4 + length])
        if len(part) != length or place + 4 > len(data):
            break
        try:
            texts.append(part.decode())
        except UnicodeDecodeError as err:
            raise RequestError(f"{short(name)}: element {len(texts)} is not UTF-8", param=name) from err
        place += 4 + length
    if place != len(data) or len(texts) != size:
        raise RequestError(
            f"{short(name)}: got {len(data)} bytes, wanted {size} elements, each its length in 4 bytes and its text",
            param=name,
        )
    return texts
