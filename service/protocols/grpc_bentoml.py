"""BentoML's gRPC protocol: `bentoml.grpc.v1.BentoService/Call`, with JSON or an array, never a pickle.

The APIs are `forecast` (JSON as in the Time Series API) and `rows` (an array of features for the trees).
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from data.errors import NotFoundError, RequestError
from service import rows
from service.call import Asked, Call
from service.faults import short
from service.grpc_server import Method, Service
from service.proto import bentoml_pb2 as pb
from service.protocols.timeseries import Timeseries
from service.rows import RowsAnswer
from service.served import AnyAnswer, Served
from service.worker import Worker

APIS = ("forecast", "rows")
FIELDS = (
    "float_values",
    "double_values",
    "bool_values",
    "int32_values",
    "int64_values",
    "uint32_values",
    "uint64_values",
)
#: The largest number up to which every whole number is a float64.
MAX_WHOLE = 2.0**53
_DOOR = Timeseries()


def read(request: pb.Request, served: Served) -> Asked:
    """What a request asks."""
    kind = request.WhichOneof("content")
    if request.api_name not in APIS:
        raise NotFoundError(
            f"api_name: got {short(request.api_name)}, wanted one of {', '.join(APIS)}", param="api_name"
        )
    wanted = "ndarray" if request.api_name == "rows" else "json or text"
    if kind is None or kind not in wanted.split(" or "):
        raise RequestError(f"content: got {kind or 'nothing'}, wanted {wanted}", param="content")
    if kind == "ndarray":
        return Asked(rows.ask(served.forecaster, _matrix(request.ndarray), ("point",)))
    text = request.text.value.encode() if kind == "text" else msgspec.json.encode(_plain(request.json))
    return _DOOR.read(Call((), text), served)


def write(asked: Asked, answer: AnyAnswer, served: Served) -> pb.Response:
    """The answer in the kind that was asked in: JSON, or an array [rows]."""
    if isinstance(answer, RowsAnswer):
        point = answer.values["point"]
        array = pb.NDArray(dtype=pb.NDArray.DTYPE_DOUBLE, shape=point.shape, double_values=point.tolist())
        return pb.Response(ndarray=array)
    response = pb.Response()
    json_format.Parse(_DOOR.write(asked, answer, served).body, response.json)
    return response


def _plain(value: Value) -> Any:
    """What a value of protobuf says; its numbers are float64, also those that a client wrote as whole ones."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: _plain(part) for name, part in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_plain(part) for part in value.list_value.values]
    if kind != "number_value":
        return None if kind in (None, "null_value") else getattr(value, kind)
    number = value.number_value
    if not math.isfinite(number):
        raise RequestError(f"json: got {number}, wanted a number, or null where a value is missing", param="json")
    # A zero stays as it is: it may be -0.0.
    return int(number) if number and number.is_integer() and abs(number) <= MAX_WHOLE else number


def _matrix(array: pb.NDArray) -> np.ndarray:
    """The array in the field that is filled: clients in the wild leave the dtype out."""
    filled = [name for name in FIELDS if len(getattr(array, name))]
    if len(filled) != 1:
        raise RequestError(f"ndarray: got {len(filled)} kinds of values, wanted one of {', '.join(FIELDS)}")
    values, shape = getattr(array, filled[0]), tuple(array.shape)
    if not 1 <= len(shape) <= 2 or min(shape) < 0 or math.prod(shape) != len(values):
        raise RequestError(f"ndarray: got {len(values)} values for shape {short(list(shape))}, wanted [rows, columns]")
    with np.errstate(over="ignore"):
        return np.fromiter(values, np.float64, len(values)).astype(np.float32).reshape(shape)


async def _call(worker: Worker, request: pb.Request, size: int, deadline: float) -> pb.Response:
    served = worker.served
    return await worker.forecast(
        lambda: read(request, served),
        lambda asked, answer: write(asked, answer, served),
        size,
        deadline,
        rpc=True,
    )


async def _metadata(worker: Worker, *_: Any) -> pb.ServiceMetadataResponse:
    apis = [pb.ServiceMetadataResponse.InferenceAPI(name=name) for name in APIS]
    return pb.ServiceMetadataResponse(name=worker.served.model, apis=apis)


SERVICE = Service(
    "bentoml.grpc.v1.BentoService",
    (
        Method("Call", pb.Request, _call, is_work=True),
        Method("ServiceMetadata", pb.ServiceMetadataRequest, _metadata),
    ),
)
