"""The Open Inference Protocol (KServe V2) over HTTP: JSON, and its binary extension.

With the header `Inference-Header-Content-Length: N` a body is N bytes of JSON and then the tensors' raw
bytes, in order, for those with the parameter `binary_data_size`. Source: KServe's V2 protocol and
Triton's binary tensor data extension.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw, Struct, UnsetType

from data.errors import BentocastError, RequestError
from service.call import Asked, Call, Reply
from service.decoding import decode, floats
from service.faults import short
from service.protocols import inference, tensors
from service.protocols.tensors import BOOL, BYTES, Tensor
from service.served import AnyAnswer, Served

HEADER_LENGTH = b"inference-header-content-length"


class TensorIn(Struct, frozen=True):
    """An input."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Raw | UnsetType = UNSET


class OutputIn(Struct, frozen=True):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(Struct, frozen=True):
    """The JSON of a request."""

    inputs: list[TensorIn]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[OutputIn] = []


_DECODER = msgspec.json.Decoder(InferRequest)
_FLAT = msgspec.json.Decoder(list[float | None])
_NESTED = msgspec.json.Decoder(list[list[float | None]])
_FLAGS = msgspec.json.Decoder(list[float | bool | None])
_NESTED_FLAGS = msgspec.json.Decoder(list[list[float | bool | None]])
_TEXTS = msgspec.json.Decoder(list[str])
_NESTED_TEXTS = msgspec.json.Decoder(list[list[str]])


class Infer:
    """`POST /v2/models/{model}/infer` and `.../versions/{version}/infer`."""

    def read(self, call: Call, served: Served) -> Asked:
        """What the body asks."""
        header, raw = _split(call)
        request = decode(_DECODER, header)
        model = served.named(call.model, call.version)
        inputs, used = [], 0
        for given in request.inputs:
            tensor, used = _tensor(given, raw, used, served.limits.values)
            inputs.append(tensor)
        if used != len(raw):
            raise RequestError(f"body: got {len(raw)} bytes of tensors, wanted {used}, the sum of binary_data_size")
        names = [output.name for output in request.outputs]
        asked = inference.read(served, model, inputs, request.parameters, names)
        return Asked(asked.question, (asked, request, model))

    def write(self, asked: Asked, answer: AnyAnswer, served: Served) -> Reply:
        """The outputs, in binary where that was wanted."""
        inner, request, model = asked.note
        everything = bool(request.parameters.get("binary_data_output", False))
        wanted = {output.name: output.parameters.get("binary_data", everything) for output in request.outputs}
        outputs, parts = [], []
        for tensor in inference.write(inner, answer):
            shown: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
            if wanted.get(tensor.name, everything):
                parts.append(tensor.raw())
                shown["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                shown["data"] = tensor.values if isinstance(tensor.values, list) else tensor.values.ravel().tolist()
            outputs.append(shown)
        body: dict[str, Any] = {"model_name": model, "model_version": served.model_version, "outputs": outputs}
        if request.id is not None:
            body["id"] = request.id
        text = msgspec.json.encode(body)
        if not parts:
            return Reply(text)
        headers = ((HEADER_LENGTH, str(len(text)).encode()),)
        return Reply(b"".join([text, *parts]), media_type=b"application/octet-stream", headers=headers)

    def error(self, err: BentocastError) -> bytes:
        """The protocol's error."""
        return msgspec.json.encode({"error": err.message})


def _split(call: Call) -> tuple[bytes, memoryview]:
    """The JSON and the raw bytes behind it."""
    length = call.header(HEADER_LENGTH)
    if length is None:
        return call.body, memoryview(b"")
    try:
        size = int(length)
    except ValueError:
        size = -1
    if not length.isdigit() or not 0 <= size <= len(call.body):
        raise RequestError(
            f"Inference-Header-Content-Length: got {short(length.decode('latin-1'))}, wanted the number of bytes of JSON, "
            f"0 to {len(call.body)}, the length of the body"
        )
    return call.body[:size], memoryview(call.body)[size:]


def _tensor(given: TensorIn, raw: memoryview, used: int, most: int) -> tuple[Tensor, int]:
    """A tensor, and how much of the raw bytes was used up to its end."""
    shape = tensors.checked_shape(given.name, given.datatype, given.shape, most=most)
    size = given.parameters.get("binary_data_size")
    if size is not None:
        if given.data is not UNSET or isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise RequestError(
                f"{short(given.name)}: got binary_data_size {short(size)}, wanted a number of bytes, and no data beside it",
                param=given.name,
            )
        if used + size > len(raw):
            raise RequestError(
                f"{short(given.name)}: got {max(0, len(raw) - used)} bytes, wanted binary_data_size {short(size)}",
                param=given.name,
            )
        return tensors.from_raw(given.name, given.datatype, shape, raw[used : used + size]), used + size
    if isinstance(given.data, UnsetType):
        raise RequestError(
            f"{short(given.name)}: data is missing, wanted numbers or binary_data_size", param=given.name
        )
    return _of_json(given, given.data, shape), used


def _of_json(given: TensorIn, data: Raw, shape: tuple[int, ...]) -> Tensor:
    nested = bytes(memoryview(data)[:64]).lstrip()[1:].lstrip().startswith(b"[")
    try:
        rows = _rows(given.datatype, data, nested=nested)
    except RequestError as err:
        raise RequestError(f"{short(given.name)}: data{err.message.removeprefix('body')}", param=given.name) from err
    if nested:
        _check_rows(given.name, shape, [len(row) for row in rows])
    size = sum(map(len, rows))
    if size != math.prod(shape):
        raise RequestError(
            f"{short(given.name)}: got {size} elements, wanted {math.prod(shape)} for shape {list(shape)}",
            param=given.name,
        )
    if given.datatype == BYTES:
        return Tensor(given.name, BYTES, shape, list(chain.from_iterable(rows)))
    values = np.concatenate(rows) if rows else np.empty(0)
    tensors.check_whole(given.name, given.datatype, values)
    return Tensor(given.name, given.datatype, shape, values.reshape(shape))


def _rows(datatype: str, data: Raw, *, nested: bool) -> list[Any]:
    """The rows of a tensor, texts or numbers; one row if it is flat."""
    if datatype == BYTES:
        return decode(_NESTED_TEXTS, data) if nested else [decode(_TEXTS, data)]
    if nested:
        return [floats(row) for row in decode(_NESTED_FLAGS if datatype == BOOL else _NESTED, data)]
    return [floats(decode(_FLAGS if datatype == BOOL else _FLAT, data))]


def _check_rows(name: str, shape: tuple[int, ...], lengths: list[int]) -> None:
    """See that rows have the shape that was declared: joined, they would be cut at other places than the client's."""
    if len(shape) != 2:
        raise RequestError(
            f"{short(name)}: data: got rows, wanted a flat list for shape {list(shape)}, or a shape of two", param=name
        )
    if len(lengths) != shape[0]:
        raise RequestError(
            f"{short(name)}: data: got {len(lengths)} rows, wanted {shape[0]} for shape {list(shape)}", param=name
        )
    for place, length in enumerate(lengths):
        if length != shape[1]:
            raise RequestError(
                f"{short(name)}: data[{place}]: got {length} elements, wanted {shape[1]} for shape {list(shape)}",
                param=name,
            )
