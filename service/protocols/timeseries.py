"""The KServe Time Series API (`/v1/timeseries/...`), with covariates per series as an extension.

Source: KServe 0.16, `timeseries` OpenAPI. It allows extra fields and names none for covariates; here
they are `past_covariates` and `future_covariates`, as Chronos-2 and AutoGluon have them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from data.errors import BentocastError
from service import histories
from service.call import Asked, Call, Reply
from service.decoding import Numbers, Reader, floats, moment
from service.forecasting import Answer
from service.histories import MAX_NAME, History
from service.served import AnyAnswer, Served

MAX_COVARIATES = 256

Name = Annotated[str, Meta(max_length=MAX_NAME)]
Covariates = Annotated[dict[Name, Numbers], Meta(max_length=MAX_COVARIATES)]


class SeriesInput(Struct, frozen=True):
    """One series: its history, and covariates if the model wants them."""

    name: Name
    series: Annotated[Numbers, Meta(description="oldest first; null where a value is missing")]
    start_timestamp: Annotated[str, Meta(max_length=64, description="ISO 8601, the time of the first value")]
    type: Literal["univariate_time_series"] = "univariate_time_series"
    frequency: Annotated[str, Meta(max_length=32, description="time between values, such as 1h")] | None = None
    past_covariates: Annotated[Covariates, Meta(description="one number for each value of series")] = {}
    future_covariates: Annotated[Covariates, Meta(description="one number for each step ahead")] = {}


class Options(Struct, frozen=True):
    """What is wanted."""

    horizon: Annotated[int, Meta(description="steps ahead; the model's own if left out")] | None = None
    quantiles: Annotated[list[float], Meta(description="levels between 0 and 1")] = []


class ForecastRequest(Struct, frozen=True):
    """Body of `POST /v1/timeseries/forecast`."""

    inputs: list[SeriesInput]
    model: Annotated[str, Meta(max_length=MAX_NAME, description="name of the model; may be left out")] | None = None
    options: Options = Options()


_READER = Reader(ForecastRequest)


class Timeseries:
    """`POST /v1/timeseries/forecast`."""

    def read(self, call: Call, served: Served) -> Asked:
        """What the body asks."""
        request, series = _READER.read(call.body, lambda request: (request, given(request.inputs)))
        served.named(request.model, trees=False)
        wanted = request.options
        return Asked(
            histories.ask(served.forecaster, series, wanted.horizon, wanted.quantiles, served.limits), request.inputs
        )

    def write(self, asked: Asked, answer: AnyAnswer, served: Served) -> Reply:
        """The API's answer."""
        assert isinstance(answer, Answer)
        frequency = served.forecaster.card.declaration.series.frequency
        outputs = [
            {
                "type": "time_series_forecast",
                "id": f"output-{place}",
                "status": "completed",
                "error": None,
                "content": [{"type": "univariate_time_series", "frequency": wanted.frequency or frequency, **content}],
            }
            for place, (wanted, content) in enumerate(zip(asked.note, contents(answer), strict=True))
        ]
        body = {
            "id": f"forecast-{uuid.uuid4()}",
            "created_at": int(time.time()),
            "status": "completed",
            "error": None,
            "model": served.model,
            "outputs": outputs,
        }
        return Reply(msgspec.json.encode(body))

    def error(self, err: BentocastError) -> bytes:
        """The API's error."""
        kind = "invalid_request_error" if 400 <= err.status < 500 else "server_error"
        shape = {"code": err.code, "message": err.message, "param": err.param, "type": kind}
        return msgspec.json.encode({"error": shape})


def given(inputs: Sequence[SeriesInput], where: str = "inputs") -> list[History]:
    """Histories out of the API's own series objects, which other protocols carry too."""
    return [
        History(
            name=series.name,
            values=floats(series.series),
            start=moment(series.start_timestamp, f"{where}[{place}].start_timestamp"),
            frequency=series.frequency,
            past_covariates={name: floats(values) for name, values in series.past_covariates.items()},
            future_covariates={name: floats(values) for name, values in series.future_covariates.items()},
            where=f"{where}[{place}]",
        )
        for place, series in enumerate(inputs)
    ]


def contents(answer: Answer) -> list[dict[str, Any]]:
    """Name, start, mean and quantiles of each series, as the API names them."""
    starts, means = answer.starts.astype(str).tolist(), answer.mean.tolist()
    quantiles = answer.quantiles.swapaxes(0, 1).tolist()
    levels = [str(level) for level in answer.levels]
    return [
        {
            "name": name,
            "start_timestamp": start,
            "mean_forecast": mean,
            "quantiles": dict(zip(levels, rows, strict=True)),
        }
        for name, start, mean, rows in zip(answer.names, starts, means, quantiles, strict=True)
    ]


def described(served: Served) -> dict[str, Any]:
    """What is served and what it wants, as every protocol says it."""
    design, card = served.forecaster.design, served.forecaster.card
    return {
        "name": served.model,
        "version": served.model_version,
        "frequency": card.declaration.series.frequency,
        "horizon": design.horizon,
        "context_length": design.context,
        "past_covariates": list(design.past),
        "future_covariates": list(design.future),
        "quantiles": {"min": card.calibration.levels[0], "max": card.calibration.levels[-1]},
        "trained_until": card.trained_until,
    }


def models(served: Served, grpc_port: int | None) -> dict[str, Any]:
    """Body of `GET /v1/timeseries/models`: what is served, where it comes from, and where else it is to be had."""
    card = served.forecaster.card
    series = card.declaration.series
    more = {
        "bento": served.bento,
        "lineage": served.lineage,
        "trained_from": card.trained_from,
        "training_rows": card.training_rows,
        "columns": {"timestamp": series.timestamp, "target": series.target},
        "step_seconds": series.step_seconds,
        "grpc_port": grpc_port,
    }
    return {"models": [described(served) | more]}


def examples(served: Served) -> dict[str, Any]:
    """Body of `GET /v1/timeseries/examples`: requests to try the service with, and what really came."""
    return {"examples": [example.model_dump() for example in served.forecaster.examples]}
