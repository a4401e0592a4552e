"""Our own gRPC protocol: `forecast.v1.ForecastService`, typed, for a batch of many series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import RequestError
from service import histories
from service.call import Asked
from service.decoding import moment
from service.forecasting import Answer
from service.grpc_server import Method, Service
from service.histories import MAX_NAME, History
from service.proto import forecast_pb2 as pb
from service.protocols import actuals, timeseries
from service.protocols.actuals import MAX_ACTUALS, Actual
from service.served import AnyAnswer, Served
from service.worker import Worker

#: Characters of a series' texts, as in the Time Series API.
LONGEST = {"name": MAX_NAME, "start_timestamp": 64, "frequency": 32}


def read(request: pb.ForecastRequest, served: Served) -> Asked:
    """What a request asks."""
    served.named(request.model or None, trees=False)
    given = [_history(series, f"series[{place}]") for place, series in enumerate(request.series)]
    horizon = request.horizon or None
    question = histories.ask(served.forecaster, given, horizon, list(request.quantiles), served.limits)
    return Asked(question, request.packed)


def write(asked: Asked, answer: AnyAnswer, served: Served) -> pb.ForecastResponse:
    """The forecasts, packed if that was wanted."""
    assert isinstance(answer, Answer)
    made = pb.ForecastResponse(model=served.model, model_version=served.model_version, bento=served.bento)
    fill = _packed if asked.note else _repeated
    starts = answer.starts.astype(str).tolist()
    for place, name in enumerate(answer.names):
        forecast = made.forecasts.add(name=name, start_timestamp=starts[place])
        fill(forecast.mean, answer.mean[place])
        for level, values in zip(answer.levels, answer.quantiles[:, place], strict=True):
            fill(forecast.quantiles.add(level=level).values, values)
    return made


def _packed(numbers: pb.Numbers, values: NDArray[np.float64]) -> None:
    numbers.packed = values.astype("<f8", copy=False).tobytes()


def _repeated(numbers: pb.Numbers, values: NDArray[np.float64]) -> None:
    numbers.values.extend(values.tolist())


def _history(series: pb.Series, where: str) -> History:
    for field, most in LONGEST.items():
        _check_length(getattr(series, field), most, f"{where}.{field}")
    return History(
        name=series.name,
        values=_numbers(series.values, f"{where}.values"),
        start=moment(series.start_timestamp, f"{where}.start_timestamp"),
        frequency=series.frequency or None,
        past_covariates=_covariates(series.past_covariates, f"{where}.past_covariates"),
        future_covariates=_covariates(series.future_covariates, f"{where}.future_covariates"),
        where=where,
    )


def _check_length(text: str, most: int, where: str) -> None:
    if len(text) > most:
        raise RequestError(f"{where}: got {len(text)} characters, wanted at most {most}", param=where)


def _covariates(given: Mapping[str, pb.Numbers], where: str) -> dict[str, NDArray[np.float64]]:
    return {name: _numbers(numbers, f"{where}.{name[:MAX_NAME]}") for name, numbers in given.items()}


def _numbers(numbers: pb.Numbers, where: str) -> NDArray[np.float64]:
    packed = numbers.packed
    if not packed:
        return np.fromiter(numbers.values, np.float64, len(numbers.values))
    if len(packed) % 8 or numbers.values:
        raise RequestError(
            f"{where}: got {len(packed)} bytes in packed and {len(numbers.values)} values, wanted eight bytes a number, or "
            "values",
            param=where,
        )
    return np.frombuffer(packed, dtype="<f8")


async def _forecast(worker: Worker, request: pb.ForecastRequest, size: int, deadline: float) -> pb.ForecastResponse:
    served = worker.served
    return await worker.forecast(
        lambda: read(request, served),
        lambda asked, answer: write(asked, answer, served),
        size,
        deadline,
        rpc=True,
    )


async def _model(worker: Worker, *_: Any) -> pb.Model:
    served = worker.served
    told = timeseries.described(served)
    quantiles = told.pop("quantiles")
    return pb.Model(bento=served.bento, lowest_quantile=quantiles["min"], highest_quantile=quantiles["max"], **told)


async def _actuals(worker: Worker, request: pb.PutActualsRequest, size: int, *_: Any) -> pb.PutActualsResponse:
    count = len(request.actuals)
    if count > MAX_ACTUALS:  # before anything is made of each
        raise RequestError(
            f"actuals: got {count}, wanted at most {MAX_ACTUALS}: send several requests", param="actuals"
        )
    checked = await worker.aside(lambda: actuals.check(_given(request)), size)
    return pb.PutActualsResponse(accepted=await worker.put_actuals(*checked))


def _given(request: pb.PutActualsRequest) -> list[Actual]:
    for place, actual in enumerate(request.actuals):
        _check_length(actual.series, MAX_NAME, f"actuals[{place}].series")
    return [
        Actual(actual.series, actual.timestamp, actual.value if actual.HasField("value") else None)
        for actual in request.actuals
    ]


SERVICE = Service(
    "forecast.v1.ForecastService",
    (
        Method("Forecast", pb.ForecastRequest, _forecast, is_work=True),
        Method("GetModel", pb.GetModelRequest, _model),
        Method("PutActuals", pb.PutActualsRequest, _actuals),
    ),
)
