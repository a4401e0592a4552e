"""The Open Inference Protocol (KServe V2) over gRPC: `inference.GRPCInferenceService`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from data.errors import RequestError
from service.call import Asked
from service.faults import short
from service.grpc_server import Method, Service
from service.proto import inference_pb2 as pb
from service.protocols import inference, tensors
from service.protocols.tensors import BYTES, Tensor
from service.served import AnyAnswer, Served
from service.worker import Worker

#: The field of `InferTensorContents` that holds a datatype.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def read(request: pb.ModelInferRequest, served: Served) -> Asked:
    """What a request asks."""
    model = served.named(request.model_name or None, request.model_version or None)
    raw = request.raw_input_contents
    if len(raw) not in (0, len(request.inputs)):
        raise RequestError(
            f"raw_input_contents: got {len(raw)}, wanted {len(request.inputs)}, one for each input, or none"
        )
    inputs = []
    for place, given in enumerate(request.inputs):
        shape = tensors.checked_shape(given.name, given.datatype, list(given.shape), most=served.limits.values)
        if raw:
            if given.HasField("contents"):
                raise RequestError(f"{short(given.name)}: got contents and raw_input_contents, wanted one of them")
            inputs.append(tensors.from_raw(given.name, given.datatype, shape, raw[place]))
        else:
            inputs.append(_of_contents(given, shape))
    parameters = {name: _parameter(value) for name, value in request.parameters.items()}
    names = [output.name for output in request.outputs]
    asked = inference.read(served, model, inputs, parameters, names)
    return Asked(asked.question, (asked, request, model))


def write(asked: Asked, answer: AnyAnswer, served: Served) -> pb.ModelInferResponse:
    """The outputs: raw if the inputs were."""
    inner, request, model = asked.note
    made = pb.ModelInferResponse(model_name=model, model_version=served.model_version, id=request.id)
    raw = bool(request.raw_input_contents)
    for tensor in inference.write(inner, answer):
        output = made.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            made.raw_output_contents.append(tensor.raw())
            continue
        field = getattr(output.contents, CONTENTS[tensor.datatype])
        if isinstance(tensor.values, list):
            field.extend(text.encode() for text in tensor.values)
        else:
            field.extend(tensor.values.ravel().tolist())
    return made


def _of_contents(given: pb.ModelInferRequest.InferInputTensor, shape: tuple[int, ...]) -> Tensor:
    field = CONTENTS.get(given.datatype)
    if field is None:
        raise RequestError(f"{short(given.name)}: {given.datatype} has no contents, wanted raw_input_contents")
    values: Any = getattr(given.contents, field)
    size = math.prod(shape)
    if len(values) != size:
        raise RequestError(
            f"{short(given.name)}: got {len(values)} elements in {field}, wanted {size} for shape {list(shape)}",
            param=given.name,
        )
    if given.datatype == BYTES:
        try:
            return Tensor(given.name, BYTES, shape, [value.decode() for value in values])
        except UnicodeDecodeError as err:
            raise RequestError(f"{short(given.name)}: an element is not UTF-8", param=given.name) from err
    numbers = np.fromiter(values, np.float64, size)
    tensors.check_whole(given.name, given.datatype, numbers)
    return Tensor(given.name, given.datatype, shape, numbers.reshape(shape))


def _parameter(value: pb.InferParameter) -> Any:
    kind = value.WhichOneof("parameter_choice")
    return None if kind is None else getattr(value, kind)


async def _infer(worker: Worker, request: pb.ModelInferRequest, size: int, deadline: float) -> pb.ModelInferResponse:
    served = worker.served
    return await worker.forecast(
        lambda: read(request, served),
        lambda asked, answer: write(asked, answer, served),
        size,
        deadline,
        rpc=True,
    )


async def _live(*_: Any) -> pb.ServerLiveResponse:
    return pb.ServerLiveResponse(live=True)


async def _ready(worker: Worker, *_: Any) -> pb.ServerReadyResponse:
    return pb.ServerReadyResponse(ready=worker.ready)


async def _model_ready(worker: Worker, request: pb.ModelReadyRequest, *_: Any) -> pb.ModelReadyResponse:
    worker.served.named(request.name or None, request.version or None)
    return pb.ModelReadyResponse(ready=worker.ready)


async def _server(worker: Worker, *_: Any) -> pb.ServerMetadataResponse:
    bento = worker.served.bento
    return pb.ServerMetadataResponse(name=bento.partition(":")[0], version=bento)


async def _model(worker: Worker, request: pb.ModelMetadataRequest, *_: Any) -> pb.ModelMetadataResponse:
    model = worker.served.named(request.name or None, request.version or None)
    return pb.ModelMetadataResponse(**inference.metadata(worker.served, model))


SERVICE = Service(
    "inference.GRPCInferenceService",
    (
        Method("ServerLive", pb.ServerLiveRequest, _live, probe=True),
        Method("ServerReady", pb.ServerReadyRequest, _ready, probe=True),
        Method("ModelReady", pb.ModelReadyRequest, _model_ready),
        Method("ServerMetadata", pb.ServerMetadataRequest, _server),
        Method("ModelMetadata", pb.ModelMetadataRequest, _model),
        Method("ModelInfer", pb.ModelInferRequest, _infer, is_work=True),
    ),
)
