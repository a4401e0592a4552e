"""The KServe Time Series API (`/v1/timeseries/...`), with covariates per series as an extension.

Source: KServe 0.16, `timeseries` OpenAPI. It allows extra fields and names none for covariates; here
they are `past_covariates` and `future_covariates`, as Chronos-2 and AutoGluon have them.
"""

from __future__ import annotations

import datetime as dt
import reprlib
import uuid
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from data.errors import BentocastError, NotFoundError, RequestError
from data.forecaster import Forecaster
from service import forecasting
from service.forecasting import MAX_QUANTILES, MAX_SERIES, MAX_VALUES, History, SeriesForecast

MAX_COVARIATES = 256
#: Characters of a client's own value that an error message repeats.
MAX_SHOWN = 60
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = MAX_SHOWN + 2

# Without FailFast, a body of ten million wrong values is ten million errors, which take gigabytes.
Name = Annotated[str, Field(max_length=256)]
Numbers = Annotated[list[float | None], FailFast(), Field(max_length=MAX_VALUES)]
Covariates = Annotated[dict[Name, Numbers], FailFast(), Field(max_length=MAX_COVARIATES)]


class Shape(BaseModel):
    """A part of a message; unknown fields are allowed and ignored, as the API says."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class SeriesInput(Shape):
    """One series: its history, and covariates if the model wants them."""

    type: Literal["univariate_time_series"] = "univariate_time_series"
    name: Name
    series: Annotated[Numbers, Field(description="oldest first; null where a value is missing")]
    start_timestamp: Annotated[str, Field(max_length=64, description="ISO 8601, the time of the first value")]
    frequency: Annotated[str | None, Field(max_length=32, description="time between values, such as 1h")] = None
    past_covariates: Annotated[Covariates, Field(description="one number for each value of series")] = {}
    future_covariates: Annotated[Covariates, Field(description="one number for each step ahead")] = {}


class Options(Shape):
    """What is wanted."""

    horizon: Annotated[int | None, Field(le=1_000_000, description="steps ahead; the model's own if left out")] = None
    quantiles: Annotated[
        list[float], FailFast(), Field(max_length=MAX_QUANTILES, description="levels between 0 and 1")
    ] = []


class ForecastRequest(Shape):
    """Body of `POST /v1/timeseries/forecast`."""

    model: Annotated[Name | None, Field(description="name of the model; may be left out")] = None
    inputs: Annotated[list[SeriesInput], FailFast(), Field(max_length=MAX_SERIES)]
    options: Options = Options()


def parse(body: bytes) -> ForecastRequest:
    """Read a request.

    Raises:
        RequestError: it is not JSON, or not of the API's shape.
    """
    try:
        return ForecastRequest.model_validate_json(body)
    except ValidationError as err:
        fault = err.errors(include_url=False, include_context=False)[0]
        where = _path(fault["loc"])
        got = "" if fault["type"] == "missing" or not where else f"got {_short(fault['input'])}, "
        text = fault["msg"][:1].lower() + fault["msg"][1:]
        raise RequestError(f"{where or 'body'}: {got}{text}", param=where or None) from err


def answer(request: ForecastRequest, forecaster: Forecaster, model: str) -> dict[str, Any]:
    """Forecast, and shape the answer.

    Args:
        request: as `parse` gives it.
        forecaster: the model.
        model: the name it is served under.

    Raises:
        NotFoundError: another model was asked for.
        RequestError: the request cannot be answered as asked.
    """
    if request.model not in (None, model):
        raise NotFoundError(f"model: got {request.model!r}, wanted {model!r}, the model served here", param="model")
    histories = [_history(series, f"inputs[{place}]") for place, series in enumerate(request.inputs)]
    made = forecasting.forecast(forecaster, histories, request.options.horizon, request.options.quantiles)
    frequency = forecaster.card.declaration.series.frequency
    return {
        "id": f"forecast-{uuid.uuid4()}",
        "created_at": int(dt.datetime.now(dt.UTC).timestamp()),
        "status": "completed",
        "error": None,
        "model": model,
        "outputs": [
            {
                "type": "time_series_forecast",
                "id": f"output-{place}",
                "status": "completed",
                "error": None,
                "content": [_content(forecast, asked.frequency or frequency)],
            }
            for place, (asked, forecast) in enumerate(zip(request.inputs, made, strict=True))
        ],
    }


def models(forecaster: Forecaster, model: str, version: str) -> dict[str, Any]:
    """Body of `GET /v1/timeseries/models`: what is served and what it wants."""
    design, card = forecaster.design, forecaster.card
    return {
        "models": [
            {
                "name": model,
                "version": version,
                "frequency": card.declaration.series.frequency,
                "horizon": design.horizon,
                "context_length": design.context,
                "past_covariates": list(design.past),
                "future_covariates": list(design.future),
                "quantiles": {"min": card.calibration.levels[0], "max": card.calibration.levels[-1]},
                "trained_until": card.trained_until,
            }
        ]
    }


def error(err: BentocastError) -> dict[str, Any]:
    """The API's error shape."""
    kind = "invalid_request_error" if 400 <= err.status < 500 else "server_error"
    return {"error": {"code": err.code, "message": err.message, "param": err.param, "type": kind}}


def _history(given: SeriesInput, where: str) -> History:
    return History(
        name=given.name,
        values=_floats(given.series),
        start=_time(given.start_timestamp, f"{where}.start_timestamp"),
        frequency=given.frequency,
        past_covariates={name: _floats(values) for name, values in given.past_covariates.items()},
        future_covariates={name: _floats(values) for name, values in given.future_covariates.items()},
        where=where,
    )


def _floats(values: Numbers) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def _time(text: str, where: str) -> np.datetime64:
    """The wall time of an ISO 8601 timestamp; an offset is dropped, as it is in training."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as err:
        raise RequestError(
            f"{where}: got {_short(text)}, wanted ISO 8601 such as 2024-05-01T13:00", param=where
        ) from err
    return np.datetime64(moment.replace(tzinfo=None), "s")


def _content(forecast: SeriesForecast, frequency: str) -> dict[str, Any]:
    return {
        "type": "univariate_time_series",
        "name": forecast.name,
        "mean_forecast": forecast.mean.tolist(),
        "frequency": frequency,
        "start_timestamp": str(forecast.start),
        "quantiles": {str(level): values.tolist() for level, values in forecast.quantiles.items()},
    }


def _path(loc: tuple[str | int, ...]) -> str:
    """`("inputs", 0, "series", 3, "float")` as `inputs[0].series[3]`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{_cut(part)}"
    return text.removeprefix(".")


def _short(value: object) -> str:
    """A value as text; of a large one only a part is looked at."""
    return _cut(_REPR.repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
