"""All doors of the service, asked the same way: a client of each protocol, without a network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from data.errors import BentocastError
from service.call import Asked, Call, Reply
from service.call import Door as HttpDoor
from service.histories import History
from service.proto import bentoml_pb2, forecast_pb2, inference_pb2
from service.protocols import grpc_bentoml, grpc_forecast, grpc_inference
from service.protocols.inference_http import HEADER_LENGTH, Infer
from service.protocols.predict import Predict
from service.protocols.tensors import BYTES, NUMERIC, Tensor, from_raw
from service.protocols.timeseries import Timeseries
from service.served import AnyAnswer, Served
from tests.service.world import MODEL, World, as_input, numbers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Wanted:
    """What a client wants to know, before it is put into the words of a protocol.

    Attributes:
        histories: all of the same length.
        horizon: steps, or None for the model's.
        levels: quantiles, rising.
        model: name of the model.
    """

    histories: Sequence[History]
    horizon: int | None = None
    levels: Sequence[float] = ()
    model: str = MODEL


@dataclass(frozen=True)
class Told:
    """What a client has understood.

    Attributes:
        starts: as text.
        mean: shape (series, steps).
        quantiles: one for each level, shape (series, steps).
        names: of the series, empty if the protocol does not repeat them.
    """

    starts: list[str]
    mean: Floats
    quantiles: list[Floats]
    names: list[str] = field(default_factory=list)


class Door(Protocol):
    """One way in: requests made, put to the service, and answers read."""

    name: str

    def request(self, wanted: Any) -> Any:
        """The request of a client who wants forecasts (`Wanted`), or rows of features answered."""

    def read(self, request: Any, served: Served) -> Asked:
        """What the service makes of it."""

    def write(self, asked: Asked, answer: AnyAnswer, served: Served) -> Any:
        """What the service answers."""

    def told(self, response: Any) -> Any:
        """What the client makes of that (`Told`), or point and spread if rows were asked about."""

    def error(self, err: BentocastError) -> tuple[int, str]:
        """Status and message that a client is shown."""

    def document(self, request: Any) -> Any:
        """The request as something of lists and dictionaries that can be spoilt."""

    def spoilt(self, document: Any, request: Any) -> Any:
        """A request again, or None if the protocol cannot say such a thing."""


def talk(door: Door, request: Any, served: Served) -> Any:
    """The answer to a request."""
    asked = door.read(request, served)
    (answer,) = served.answer([asked.question])
    return door.write(asked, answer, served)


class OverHttp:
    """A door that takes calls."""

    name = ""
    path = ""
    door: HttpDoor

    def request(self, wanted: Any) -> Any:
        """Each protocol's own."""
        raise NotImplementedError

    def told(self, response: Any) -> Any:
        """Each protocol's own."""
        raise NotImplementedError

    def read(self, request: Call, served: Served) -> Asked:
        """Through the door."""
        return self.door.read(request, served)

    def write(self, asked: Asked, answer: AnyAnswer, served: Served) -> Reply:
        """Through the door."""
        return self.door.write(asked, answer, served)

    def error(self, err: BentocastError) -> tuple[int, str]:
        """KServe's V1 and V2 have a text, the Time Series API an object."""
        shown = json.loads(self.door.error(err))["error"]
        return err.status, shown if isinstance(shown, str) else shown["message"]

    def document(self, request: Call) -> Any:
        """The JSON."""
        return json.loads(request.body)

    def spoilt(self, document: Any, request: Call) -> Call:
        """The JSON again."""
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return request._replace(body=body)


class TimeSeriesJson(OverHttp):
    """`POST /v1/timeseries/forecast`, and BentoML's `/forecast`, whose clients leave the model out."""

    name, path, door = "time series", "/v1/timeseries/forecast", Timeseries()

    def request(self, wanted: Wanted) -> Call:
        """The API's own body."""
        body = {"model": wanted.model, "inputs": inputs(wanted), "options": options(wanted)}
        return Call((), json.dumps(body).encode())

    def told(self, response: Reply) -> Told:
        """Out of the outputs."""
        return of_contents([output["content"][0] for output in json.loads(response.body)["outputs"]])


class BentomlJson(TimeSeriesJson):
    """`POST /forecast`."""

    name, path = "bentoml json", "/forecast"

    def request(self, wanted: Wanted) -> Call:
        """As BentoML's client writes it."""
        body: dict[str, Any] = {"inputs": inputs(wanted), "options": options(wanted)}
        if wanted.model != MODEL:
            body["model"] = wanted.model
        return Call((), json.dumps(body).encode())


class V1(OverHttp):
    """`POST /v1/models/{model}:predict`."""

    name, path, door = "v1", "/v1/models/{model}:predict", Predict()

    def request(self, wanted: Wanted) -> Call:
        """Instances."""
        body = {"instances": inputs(wanted), "parameters": options(wanted)}
        return Call((), json.dumps(body).encode(), wanted.model)

    def told(self, response: Reply) -> Told:
        """Out of the predictions."""
        return of_contents(json.loads(response.body)["predictions"])


class V2Json(OverHttp):
    """`POST /v2/models/{model}/infer`, in JSON."""

    name, path, door = "v2 json", "/v2/models/{model}/infer", Infer()

    def request(self, wanted: Wanted) -> Call:
        """Tensors with their data."""
        body = {"inputs": [self.as_json(tensor) for tensor in tensors(wanted)], **parameters(wanted)}
        return Call((), json.dumps(body).encode(), wanted.model)

    def as_json(self, tensor: Tensor) -> dict[str, Any]:
        """One tensor."""
        values = tensor.values if isinstance(tensor.values, list) else numbers(tensor.numbers().ravel())
        shown = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        return {**shown, "data": values}

    def told(self, response: Reply) -> Told:
        """Out of the outputs."""
        return of_tensors(json_tensors(response))


class V2Binary(V2Json):
    """The same, with the tensors' bytes behind the JSON."""

    name = "v2 binary"

    def request(self, wanted: Wanted) -> Call:
        """JSON, then bytes."""
        return binary(
            tensors(wanted), {"parameters": {"binary_data_output": True, **parameters(wanted)["parameters"]}}, wanted
        )

    def told(self, response: Reply) -> Told:
        """Out of JSON and bytes."""
        return of_tensors(binary_tensors(response))

    def document(self, request: Call) -> Any:
        """The JSON before the bytes."""
        return json.loads(request.body[: int(dict(request.headers)[HEADER_LENGTH])])

    def spoilt(self, document: Any, request: Call) -> Call:
        """Other JSON before the same bytes."""
        text = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
        data = request.body[int(dict(request.headers)[HEADER_LENGTH]) :]
        return Call(((HEADER_LENGTH, str(len(text)).encode()),), text + data, request.model)


class OverGrpc:
    """A door that takes messages."""

    name = ""
    method = ""
    message: type[Message]
    protocol: Any

    def request(self, wanted: Any) -> Any:
        """Each protocol's own."""
        raise NotImplementedError

    def told(self, response: Any) -> Any:
        """Each protocol's own."""
        raise NotImplementedError

    def read(self, request: Any, served: Served) -> Asked:
        """Through the door."""
        asked: Asked = self.protocol.read(request, served)
        return asked

    def write(self, asked: Asked, answer: AnyAnswer, served: Served) -> Any:
        """Through the door."""
        return self.protocol.write(asked, answer, served)

    def error(self, err: BentocastError) -> tuple[int, str]:
        """The code follows from the status."""
        return err.status, err.message

    def document(self, request: Message) -> Any:
        """The message as JSON."""
        return json_format.MessageToDict(request, preserving_proto_field_name=True)

    def spoilt(self, document: Any, request: Message) -> Message | None:
        """A message again, if it is one."""
        try:
            return json_format.ParseDict(document, type(request)())
        except (json_format.ParseError, AttributeError, TypeError, ValueError, OverflowError, RecursionError):
            return None


class GrpcInference(OverGrpc):
    """`inference.GRPCInferenceService/ModelInfer` with raw contents."""

    name, method = "grpc inference raw", "inference.GRPCInferenceService/ModelInfer"
    message, protocol = inference_pb2.ModelInferRequest, grpc_inference

    def request(self, wanted: Wanted) -> inference_pb2.ModelInferRequest:
        """Tensors, their bytes beside them."""
        return infer_request(tensors(wanted), wanted, raw=True)

    def told(self, response: inference_pb2.ModelInferResponse) -> Told:
        """Out of the outputs."""
        return of_tensors(grpc_tensors(response))


class GrpcInferenceContents(GrpcInference):
    """The same, with typed contents."""

    name = "grpc inference contents"

    def request(self, wanted: Wanted) -> inference_pb2.ModelInferRequest:
        """Tensors with their contents."""
        return infer_request(tensors(wanted), wanted, raw=False)


class GrpcForecast(OverGrpc):
    """`forecast.v1.ForecastService/Forecast`."""

    name, method = "grpc forecast", "forecast.v1.ForecastService/Forecast"
    message, protocol = forecast_pb2.ForecastRequest, grpc_forecast
    packed = False

    def request(self, wanted: Wanted) -> forecast_pb2.ForecastRequest:
        """Typed series."""
        made = forecast_pb2.ForecastRequest(
            model=wanted.model, horizon=wanted.horizon or 0, quantiles=wanted.levels, packed=self.packed
        )
        for history in wanted.histories:
            series = made.series.add(
                name=history.name, start_timestamp=str(history.start), frequency=history.frequency or ""
            )
            self.fill(series.values, history.values)
            for name, values in history.past_covariates.items():
                self.fill(series.past_covariates[name], values)
            for name, values in history.future_covariates.items():
                self.fill(series.future_covariates[name], values)
        return made

    def fill(self, field: forecast_pb2.Numbers, values: Floats) -> None:
        """Put numbers into a message."""
        if self.packed:
            field.packed = values.astype("<f8").tobytes()
        else:
            field.values.extend(values.tolist())

    def told(self, response: forecast_pb2.ForecastResponse) -> Told:
        """Out of the forecasts."""

        def values(field: forecast_pb2.Numbers) -> Floats:
            assert bool(field.packed) is self.packed
            return np.frombuffer(field.packed, "<f8") if self.packed else np.array(field.values)

        made = response.forecasts
        count = len(made[0].quantiles)
        return Told(
            starts=[forecast.start_timestamp for forecast in made],
            mean=np.stack([values(forecast.mean) for forecast in made]),
            quantiles=[
                np.stack([values(forecast.quantiles[turn].values) for forecast in made]) for turn in range(count)
            ],
            names=[forecast.name for forecast in made],
        )


class GrpcForecastPacked(GrpcForecast):
    """The same, with numbers as bytes."""

    name, packed = "grpc forecast packed", True


class GrpcBentoml(OverGrpc):
    """`bentoml.grpc.v1.BentoService/Call` with JSON."""

    name, method = "grpc bentoml", "bentoml.grpc.v1.BentoService/Call"
    message, protocol = bentoml_pb2.Request, grpc_bentoml

    def request(self, wanted: Wanted) -> bentoml_pb2.Request:
        """The Time Series API's body, as a value of protobuf."""
        body = json.loads(TimeSeriesJson().request(wanted).body)
        made = bentoml_pb2.Request(api_name="forecast")
        json_format.ParseDict(body, made.json)
        return made

    def told(self, response: bentoml_pb2.Response) -> Told:
        """Out of the value."""
        outputs = json_format.MessageToDict(response.json)["outputs"]
        return of_contents([output["content"][0] for output in outputs])


class GrpcBentomlText(GrpcBentoml):
    """The same, with the JSON as text."""

    name = "grpc bentoml text"

    def request(self, wanted: Wanted) -> bentoml_pb2.Request:
        """The Time Series API's body."""
        made = bentoml_pb2.Request(api_name="forecast")
        made.text.value = TimeSeriesJson().request(wanted).body.decode()
        return made


DOORS: list[Door] = [
    TimeSeriesJson(),
    BentomlJson(),
    V1(),
    V2Json(),
    V2Binary(),
    GrpcInference(),
    GrpcInferenceContents(),
    GrpcForecast(),
    GrpcForecastPacked(),
    GrpcBentoml(),
    GrpcBentomlText(),
]


class RowsJson(V2Json):
    """The trees, by V2 in JSON."""

    def request(self, wanted: Any) -> Call:
        """One tensor."""
        body = {"inputs": [self.as_json(features(wanted))]}
        return Call((), json.dumps(body).encode(), f"{MODEL}-rows")

    def told(self, response: Reply) -> Any:
        """Point and spread."""
        return rows_of_tensors(json_tensors(response))


class RowsBinary(V2Binary):
    """The trees, by V2 with bytes."""

    def request(self, wanted: Any) -> Call:
        """One tensor."""
        return binary(
            [features(wanted)], {"parameters": {"binary_data_output": True}}, Wanted([], model=f"{MODEL}-rows")
        )

    def told(self, response: Reply) -> Any:
        """Point and spread."""
        return rows_of_tensors(binary_tensors(response))


class RowsV1(V1):
    """The trees, by V1."""

    def request(self, wanted: Any) -> Call:
        """Rows."""
        body = {"instances": [numbers(row) for row in wanted.astype(np.float64)]}
        return Call((), json.dumps(body).encode(), f"{MODEL}-rows")

    def told(self, response: Reply) -> Any:
        """Points alone."""
        return np.array(json.loads(response.body)["predictions"], dtype=np.float32), None


class RowsGrpc(GrpcInference):
    """The trees, by gRPC."""

    raw = True

    def request(self, wanted: Any) -> inference_pb2.ModelInferRequest:
        """One tensor."""
        return infer_request([features(wanted)], Wanted([], model=f"{MODEL}-rows"), raw=self.raw)

    def told(self, response: inference_pb2.ModelInferResponse) -> Any:
        """Point and spread."""
        return rows_of_tensors(grpc_tensors(response))


class RowsGrpcContents(RowsGrpc):
    """The trees, by gRPC with contents."""

    name, raw = "grpc inference contents", False


class RowsBentoml(GrpcBentoml):
    """The trees, by an array of BentoML's."""

    name = "grpc bentoml array"

    def request(self, wanted: Any) -> bentoml_pb2.Request:
        """An array."""
        array = bentoml_pb2.NDArray(shape=wanted.shape, float_values=wanted.ravel().tolist())
        return bentoml_pb2.Request(api_name="rows", ndarray=array)

    def told(self, response: bentoml_pb2.Response) -> Any:
        """Points alone."""
        array = response.ndarray
        assert array.dtype == bentoml_pb2.NDArray.DTYPE_DOUBLE
        return np.array(array.double_values).reshape(array.shape).astype(np.float32), None


ROWS_DOORS: list[Door] = [RowsJson(), RowsBinary(), RowsV1(), RowsGrpc(), RowsGrpcContents(), RowsBentoml()]


def inputs(wanted: Wanted) -> list[dict[str, Any]]:
    """Series objects of the Time Series API."""
    made = [as_input(history) for history in wanted.histories]
    for shown, history in zip(made, wanted.histories, strict=True):
        shown["frequency"] = history.frequency
    return made


def options(wanted: Wanted) -> dict[str, Any]:
    """What is wanted, as the Time Series API has it."""
    return {"horizon": wanted.horizon, "quantiles": list(wanted.levels)}


def parameters(wanted: Wanted) -> dict[str, Any]:
    """What is wanted, as V2 has it."""
    return {"parameters": {} if wanted.horizon is None else {"horizon": wanted.horizon}}


def tensors(wanted: Wanted) -> list[Tensor]:
    """What is wanted, as tensors."""
    histories = wanted.histories

    def matrix(name: str, rows: list[Floats]) -> Tensor:
        values = np.stack(rows) if rows else np.empty((0, 1))
        return Tensor(name, "FP64", values.shape, values)

    def texts(name: str, values: list[str]) -> Tensor:
        return Tensor(name, BYTES, (len(values),), values)

    past, future = (
        {name for history in histories for name in getattr(history, key)}
        for key in ("past_covariates", "future_covariates")
    )
    return [
        matrix("series", [history.values for history in histories]),
        texts("start_timestamp", [str(history.start) for history in histories]),
        texts("name", [history.name for history in histories]),
        Tensor("quantiles", "FP64", (len(wanted.levels),), np.array(wanted.levels, dtype=np.float64)),
        *(
            matrix(f"past_covariates.{name}", [history.past_covariates[name] for history in histories])
            for name in sorted(past)
        ),
        *(
            matrix(f"future_covariates.{name}", [history.future_covariates[name] for history in histories])
            for name in sorted(future)
        ),
    ]


def features(matrix: NDArray[np.float32]) -> Tensor:
    """Rows of features as a tensor."""
    return Tensor("features", "FP32", matrix.shape, matrix)


def binary(given: Sequence[Tensor], more: Mapping[str, Any], wanted: Wanted) -> Call:
    """A call of V2's binary extension."""
    parts = [tensor.raw() for tensor in given]
    shown = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {"binary_data_size": len(part)},
        }
        for tensor, part in zip(given, parts, strict=True)
    ]
    text = json.dumps({"inputs": shown, **more}).encode()
    return Call(((HEADER_LENGTH, str(len(text)).encode()),), b"".join([text, *parts]), wanted.model)


def infer_request(given: Sequence[Tensor], wanted: Wanted, *, raw: bool) -> inference_pb2.ModelInferRequest:
    """A message of V2 over gRPC."""
    made = inference_pb2.ModelInferRequest(model_name=wanted.model)
    if wanted.horizon is not None:
        made.parameters["horizon"].int64_param = wanted.horizon
    for tensor in given:
        shown = made.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            made.raw_input_contents.append(tensor.raw())
        elif isinstance(tensor.values, list):
            shown.contents.bytes_contents.extend(text.encode() for text in tensor.values)
        else:
            kind = {"FP64": "fp64_contents", "FP32": "fp32_contents"}[tensor.datatype]
            getattr(shown.contents, kind).extend(tensor.values.ravel().tolist())
    return made


def json_tensors(response: Reply) -> dict[str, Tensor]:
    """Outputs of V2 in JSON."""
    made = {}
    for output in json.loads(response.body)["outputs"]:
        shape, values = tuple(output["shape"]), output["data"]
        if output["datatype"] != BYTES:
            values = np.array([math.nan if value is None else value for value in values])
            values = values.reshape(shape).astype(NUMERIC[output["datatype"]])
        made[output["name"]] = Tensor(output["name"], output["datatype"], shape, values)
    return made


def binary_tensors(response: Reply) -> dict[str, Tensor]:
    """Outputs of V2 as bytes behind JSON."""
    length = int(dict(response.headers)[HEADER_LENGTH])
    made, place = {}, length
    for output in json.loads(response.body[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        part = response.body[place : place + size]
        made[output["name"]] = from_raw(output["name"], output["datatype"], tuple(output["shape"]), part)
        place += size
    assert place == len(response.body)
    return made


def grpc_tensors(response: inference_pb2.ModelInferResponse) -> dict[str, Tensor]:
    """Outputs of V2 over gRPC."""
    made = {}
    for place, output in enumerate(response.outputs):
        shape = tuple(output.shape)
        if response.raw_output_contents:
            made[output.name] = from_raw(output.name, output.datatype, shape, response.raw_output_contents[place])
        elif output.datatype == BYTES:
            texts = [text.decode() for text in output.contents.bytes_contents]
            made[output.name] = Tensor(output.name, BYTES, shape, texts)
        else:
            kind = {"FP64": "fp64_contents", "FP32": "fp32_contents"}[output.datatype]
            values = np.array(getattr(output.contents, kind)).reshape(shape)
            made[output.name] = Tensor(output.name, output.datatype, shape, values)
    return made


def of_tensors(made: Mapping[str, Tensor]) -> Told:
    """What output tensors say."""
    quantiles = [*made["quantiles"].numbers().swapaxes(0, 1)] if "quantiles" in made else []
    return Told(made["start_timestamp"].texts(), made["mean"].numbers(), quantiles)


def rows_of_tensors(made: Mapping[str, Tensor]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Point and spread of output tensors."""
    return tuple(made[name].numbers().astype(np.float32) for name in ("point", "spread"))  # type: ignore[return-value]


def of_contents(contents: list[dict[str, Any]]) -> Told:
    """What the Time Series API's objects say."""
    levels = sorted(contents[0]["quantiles"], key=float)  # BentoML keeps no order
    return Told(
        starts=[content["start_timestamp"] for content in contents],
        mean=np.array([content["mean_forecast"] for content in contents]),
        quantiles=[np.array([content["quantiles"][level] for content in contents]) for level in levels],
        names=[content["name"] for content in contents],
    )


def same(one: Told, other: Told) -> bool:
    """Whether two clients were told the same, to the last bit."""
    return (
        one.starts == other.starts
        and np.array_equal(one.mean, other.mean)
        and len(one.quantiles) == len(other.quantiles)
        and all(np.array_equal(ours, theirs) for ours, theirs in zip(one.quantiles, other.quantiles, strict=True))
        and (not one.names or not other.names or one.names == other.names)
    )


def expected(world: World, wanted: Wanted) -> Told:
    """What the core says."""
    answer = world.answer(*wanted.histories, horizon=wanted.horizon, levels=wanted.levels)
    return Told(answer.starts.astype(str).tolist(), answer.mean, [*answer.quantiles], list(answer.names))
