"""`/openapi.json` and `/docs`, made from the messages' own types; works without a network."""

from __future__ import annotations

from typing import Any

from service.timeseries import ForecastRequest

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "type": {"type": "string"},
            },
        }
    },
}

#: Swagger UI as BentoML ships it, without the parts of BentoML's own page that call out.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>bentocast: API</title>
<link rel="stylesheet" href="/static_content/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<noscript>This page needs JavaScript; the description itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/static_content/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true});</script>
</body>
</html>
"""


def describe(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of the service."""
    schema = ForecastRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = schema.pop("$defs", {}) | {"ForecastRequest": schema, "Error": _ERROR}
    return {
        "openapi": "3.1.0",
        "info": {"title": "bentocast", "version": version, "description": "Forecasts of many time series at once."},
        "paths": {
            "/v1/timeseries/forecast": {
                "post": {
                    "summary": "Forecast one or many series",
                    "operationId": "forecast",
                    "requestBody": {"required": True, "content": _json("ForecastRequest")},
                    "responses": {"200": _answer("the forecasts, in the order asked"), "4XX": _fault()},
                }
            },
            "/v1/timeseries/models": {
                "get": {
                    "summary": "What is served: horizon, frequency, covariates, context length",
                    "operationId": "models",
                    "responses": {"200": _answer("the model served here")},
                }
            },
            "/livez": {"get": {"summary": "Is the process alive", "responses": {"200": {"description": "yes"}}}},
            "/readyz": {"get": {"summary": "Can it answer", "responses": {"200": {"description": "yes"}}}},
        },
        "components": {"schemas": schemas},
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _answer(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}


def _fault() -> dict[str, Any]:
    return {"description": "what was wrong with the request, and what is wanted", "content": _json("Error")}
