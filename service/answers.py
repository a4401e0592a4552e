"""What is answered where, as types: for `/openapi.json` alone, which a fuzzer holds the service to.

The answers themselves are written by the protocols, faster than through these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from service.protocols.timeseries import ForecastRequest

Moment = Annotated[str, Meta(description="ISO 8601, the time of the first step")]
Levels = Annotated[dict[str, list[float]], Meta(description="by level, one number for each step")]


class SeriesForecast(Struct):
    """The forecast of one series."""

    name: str
    start_timestamp: Moment
    mean_forecast: Annotated[list[float], Meta(description="one number for each step")]
    quantiles: Levels


class Content(SeriesForecast, kw_only=True):
    """The same, with what the Time Series API wants beside it."""

    type: Literal["univariate_time_series"]
    frequency: str


class Output(Struct):
    """One output for each input."""

    type: Literal["time_series_forecast"]
    id: str
    status: Literal["completed"]
    error: None
    content: list[Content]


class Forecasts(Struct):
    """Answer of `POST /v1/timeseries/forecast`."""

    id: str
    created_at: int
    status: Literal["completed"]
    error: None
    model: str
    outputs: list[Output]


class Range(Struct):
    """The lowest and the highest level that is calibrated."""

    min: float
    max: float


class Model(Struct):
    """What is served and what it wants."""

    name: str
    version: str
    frequency: str
    horizon: Annotated[int, Meta(ge=1)]
    context_length: Annotated[int, Meta(ge=1, description="values of the history that the model needs")]
    past_covariates: list[str]
    future_covariates: list[str]
    quantiles: Range
    trained_until: str
    bento: str
    lineage: dict[str, str]
    trained_from: str
    training_rows: int
    columns: Annotated[dict[str, str], Meta(description="of the table that the model was trained on")]
    step_seconds: Annotated[int, Meta(ge=1)]
    grpc_port: int | None


class Models(Struct):
    """Answer of `GET /v1/timeseries/models`."""

    models: list[Model]


class Example(Struct):
    """A request, and what really came."""

    request: ForecastRequest
    actuals: list[float | None]


class Examples(Struct):
    """Answer of `GET /v1/timeseries/examples`."""

    examples: list[Example]


class Accepted(Struct):
    """Answer of `POST /v1/timeseries/actuals`."""

    accepted: int


class Predictions(Struct):
    """Answer of `:predict`: of series, or of rows of features."""

    predictions: list[SeriesForecast | float]


class VersionStatus(Struct):
    """As TensorFlow Serving has it."""

    version: str
    state: Literal["AVAILABLE", "UNLOADING"]
    status: dict[str, str]


class ModelStatus(Struct):
    """What KServe and what TensorFlow Serving expect of a model's status, in one object."""

    name: str
    ready: bool
    model_version_status: list[VersionStatus]


class Server(Struct):
    """Answer of `GET /v2`."""

    name: str
    version: str
    extensions: list[str]


class Live(Struct):
    """Whether the process is alive."""

    live: bool


class Ready(Struct):
    """Whether it can answer."""

    ready: bool


class ModelReady(Struct):
    """Whether the model is there."""

    name: str
    ready: bool


class TensorDescription(Struct):
    """A tensor that is taken or given; -1 where its size is the client's to choose."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """Answer of `GET /v2/models/{model}`."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]


class TensorOut(Struct):
    """A tensor that was made: `data` in row-major order, unless it is behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float | str] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class Inference(Struct):
    """Answer of `POST /v2/models/{model}/infer`."""

    model_name: str
    model_version: str
    outputs: list[TensorOut]
    id: str | UnsetType = UNSET


#: By path; a path without one answers with plain text.
ANSWERS: dict[str, Any] = {
    "/v1/timeseries/forecast": Forecasts,
    "/v1/timeseries/models": Models,
    "/v1/timeseries/examples": Examples,
    "/v1/timeseries/actuals": Accepted,
    "/v1/models/{model}": ModelStatus,
    "/v1/models/{model}:predict": Predictions,
    "/v2": Server,
    "/v2/health/live": Live,
    "/v2/health/ready": Ready,
    "/v2/models/{model}": ModelMetadata,
    "/v2/models/{model}/ready": ModelReady,
    "/v2/models/{model}/infer": Inference,
    "/readyz": Ready,
}
