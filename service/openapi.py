"""`/openapi.json`, made from the messages' own types."""

from __future__ import annotations

from typing import Any

import msgspec

from service.answers import ANSWERS
from service.protocols.actuals import ActualsRequest
from service.protocols.inference_http import InferRequest
from service.protocols.predict import SeriesRequest
from service.protocols.timeseries import ForecastRequest
from service.served import Served

_TEXT = {"type": "string"}
_DETAIL = {
    "type": "object",
    "properties": {"code": _TEXT, "message": _TEXT, "param": {"type": ["string", "null"]}, "type": _TEXT},
    "required": ["code", "message", "param", "type"],
}
_ERRORS = {
    "Error": {"type": "object", "properties": {"error": _DETAIL}, "required": ["error"]},
    "PlainError": {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]},
}


def describe(served: Served) -> dict[str, Any]:
    """The OpenAPI 3.1 description of the service."""
    messages = [ForecastRequest, ActualsRequest, SeriesRequest, InferRequest]
    ((forecast, actuals, instances, infer, *answers), schemas) = msgspec.json.schema_components(
        [*messages, *ANSWERS.values()], ref_template="#/components/schemas/{name}"
    )
    model = {"name": "model", "in": "path", "required": True, "schema": {"enum": [served.model, served.rows_model]}}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "bentocast",
            "version": served.bento,
            "description": "Forecasts of many time series at once, in the protocols that clients already speak.",
        },
        "paths": {
            "/v1/timeseries/forecast": _post("Forecast one or many series", "forecast", forecast),
            "/v1/timeseries/models": _get("What is served: horizon, frequency, covariates, context length"),
            "/v1/timeseries/examples": _get("Requests to try the service with, and what really came"),
            "/v1/timeseries/actuals": _post("Tell what really came; answered when it is on disk", "actuals", actuals),
            "/v2": _get("Open Inference Protocol: the server", "PlainError"),
            "/v2/health/live": _get("Open Inference Protocol: is the process alive", "PlainError"),
            "/v2/health/ready": _get("Open Inference Protocol: can it answer", "PlainError"),
            "/v2/models/{model}": _get("Open Inference Protocol: names and shapes of tensors", "PlainError", model),
            "/v2/models/{model}/ready": _get("Open Inference Protocol: is the model there", "PlainError", model),
            "/v2/models/{model}/infer": _post(
                "Open Inference Protocol: tensors in, tensors out", "infer", infer, "PlainError", model
            ),
            "/v1/models/{model}": _get("KServe V1, TensorFlow Serving: is the model there", "PlainError", model),
            "/v1/models/{model}:predict": _post(
                "KServe V1, TensorFlow Serving: instances in, predictions out",
                "predict",
                instances,
                "PlainError",
                model,
            ),
            "/livez": _get("Is the process alive"),
            "/readyz": _get("Can it answer"),
        },
        "components": {"schemas": {**schemas, **_ERRORS}},
    }
    answered = dict(zip(ANSWERS, answers, strict=True))
    for path, operations in described["paths"].items():
        for operation in operations.values():
            operation["responses"]["200"]["content"] = _content(answered.get(path))
    return described


def _get(summary: str, error: str = "Error", *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": _responses(error)}}


def _post(
    summary: str, operation: str, schema: dict[str, Any], error: str = "Error", *parameters: dict[str, Any]
) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {
        "post": {
            "summary": summary,
            "operationId": operation,
            "parameters": list(parameters),
            "requestBody": body,
            "responses": _responses(error),
        }
    }


def _content(schema: dict[str, Any] | None) -> dict[str, Any]:
    """JSON of some shape, or plain text."""
    return {"text/plain": {"schema": _TEXT}} if schema is None else {"application/json": {"schema": schema}}


def _responses(error: str) -> dict[str, Any]:
    fault = _content({"$ref": f"#/components/schemas/{error}"})
    return {
        "200": {"description": "done"},
        "4XX": {"description": "what was wrong with the request, and what is wanted", "content": fault},
        "503": {"description": "not now: ask again after the seconds in Retry-After", "content": fault},
        "504": {"description": "no answer in time", "content": fault},
    }
