"""Requests and answers in each protocol of HTTP: an `Ask` into a message, an answer into numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from loadtests.asks import AnswerError, Ask, Floats

JSON = {"content-type": "application/json"}
LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Message:
    """One request, ready to be sent as often as wanted.

    Attributes:
        ask: what it asks.
        path: of the URL, or the method of gRPC.
        body: whole.
        headers: besides those of the connection.
    """

    ask: Ask
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


class Protocol(NamedTuple):
    """How a protocol says a request, and how its answers are read.

    Attributes:
        encode: an `Ask` and the model's name into a message.
        decode: body and headers (names in lower case) into numbers of shape (series, 1 + levels, steps).
    """

    encode: Callable[[Ask, str], Message]
    decode: Callable[[bytes, Mapping[str, str]], Floats]


class _Content(msgspec.Struct):
    mean_forecast: list[float]
    quantiles: dict[str, list[float]]


class _Output(msgspec.Struct):
    content: list[_Content]


class _Forecast(msgspec.Struct):
    outputs: list[_Output]


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class _Inference(msgspec.Struct):
    outputs: list[_Tensor]


_FORECAST = msgspec.json.Decoder(_Forecast)
_INFERENCE = msgspec.json.Decoder(_Inference)


def native_request(ask: Ask, _: str) -> Message:
    """KServe Time Series API."""
    return Message(ask, "/v1/timeseries/forecast", json.dumps(ask).encode())


def native_numbers(body: bytes, _: Mapping[str, str]) -> Floats:
    """Of its answer."""
    contents = [output.content[0] for output in _decoded(_FORECAST, body).outputs]
    return np.array([[one.mean_forecast, *one.quantiles.values()] for one in contents])


def v2_request(ask: Ask, model: str) -> Message:
    """Open Inference Protocol (V2), tensors in JSON."""
    inputs: list[dict[str, Any]] = [
        {"name": name, "datatype": "FP64", "shape": list(values.shape), "data": _plain(values)}
        for name, values in tensors(ask).items()
    ]
    starts = [one["start_timestamp"] for one in ask["inputs"]]
    inputs.append({"name": "start_timestamp", "datatype": "BYTES", "shape": [len(starts)], "data": starts})
    body = {"inputs": inputs, "parameters": {"horizon": ask["options"]["horizon"]}}
    return Message(ask, f"/v2/models/{model}/infer", json.dumps(body).encode())


def v2_numbers(body: bytes, _: Mapping[str, str]) -> Floats:
    """Of its answer."""
    outputs = _decoded(_INFERENCE, body).outputs
    return joined({one.name: np.reshape(one.data or [], one.shape) for one in outputs if one.datatype == "FP64"})


def binary_request(ask: Ask, model: str) -> Message:
    """Open Inference Protocol with binary tensors, in both directions."""
    arrays = tensors(ask)
    starts = [one["start_timestamp"].encode() for one in ask["inputs"]]
    parts = {name: values.astype("<f8").tobytes() for name, values in arrays.items()}
    parts["start_timestamp"] = b"".join(len(start).to_bytes(4, "little") + start for start in starts)
    shapes = {name: (list(values.shape), "FP64") for name, values in arrays.items()}
    shapes["start_timestamp"] = ([len(starts)], "BYTES")
    header = {
        "parameters": {"binary_data_output": True, "horizon": ask["options"]["horizon"]},
        "inputs": [
            {"name": name, "shape": shape, "datatype": kind, "parameters": {"binary_data_size": len(parts[name])}}
            for name, (shape, kind) in shapes.items()
        ],
    }
    text = json.dumps(header).encode()
    headers = {"content-type": "application/octet-stream", LENGTH: str(len(text))}
    return Message(ask, f"/v2/models/{model}/infer", text + b"".join(parts.values()), headers)


def binary_numbers(body: bytes, headers: Mapping[str, str]) -> Floats:
    """Of its answer."""
    place = int(headers.get(LENGTH, 0))
    found = {}
    for output in _decoded(_INFERENCE, body[:place]).outputs:
        size = int(output.parameters["binary_data_size"])
        if output.datatype == "FP64":
            found[output.name] = np.frombuffer(body[place : place + size], "<f8").reshape(output.shape)
        place += size
    return joined(found)


def tensors(ask: Ask) -> dict[str, Floats]:
    """A request as arrays by name: of `series` and covariates (series, values), `quantiles` (levels,)."""
    inputs = ask["inputs"]
    made = {
        "series": np.array([one["series"] for one in inputs], dtype=np.float64),  # None is NaN
        "quantiles": np.array(ask["options"]["quantiles"]),
    }
    for kind in ("past_covariates", "future_covariates"):
        for name in inputs[0].get(kind, {}):
            made[f"{kind}.{name}"] = np.array([one[kind][name] for one in inputs], dtype=np.float64)
    return made


def joined(outputs: Mapping[str, Floats]) -> Floats:
    """Shape (series, 1 + levels, steps) of `mean` (series, steps) and `quantiles` (series, levels, steps)."""
    missing = {"mean", "quantiles"} - set(outputs)
    if missing:
        raise AnswerError(f"got outputs {sorted(outputs)}, wanted {', '.join(sorted(missing))} too")
    return np.concatenate([outputs["mean"][:, None, :], outputs["quantiles"]], axis=1)


def _plain(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values.ravel()]


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as err:
        raise AnswerError(f"got an answer that cannot be read ({err}): {body[:80]!r}") from err


HTTP = {
    "native": Protocol(native_request, native_numbers),
    "v2": Protocol(v2_request, v2_numbers),
    "binary": Protocol(binary_request, binary_numbers),
}
