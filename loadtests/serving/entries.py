"""The table of what is asked: server, path, body, and how the numbers of an answer are found.

A new way to ask our service is one more line in `table`; a line that a server does not answer yet is
left out of the run and named in the report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from loadtests.serving import tensors
from loadtests.serving.settings import NAMES

Floats = NDArray[np.float64]
JSON = "content-type: application/json"
GRPC = ("content-type: application/grpc", "te: trailers")
BINARY = "content-type: application/octet-stream"
MANY, PANEL = 256, 32


@dataclass(frozen=True)
class Answer:
    """What came back: the body, and headers with names in lower case."""

    body: bytes
    headers: Mapping[str, str]


Numbers = Callable[[Answer], Any]


@dataclass(frozen=True)
class Entry:
    """One way to ask one server.

    Attributes:
        name: unlike all others; rows of the report name it.
        server: who is asked.
        work: `rows` or `forecast`.
        path: of the URL; of gRPC, the method.
        body: file with the whole body (of gRPC, with its five bytes of frame).
        numbers: finds the numbers in an answer, in the shape of `expected`.
        expected: shape (1, 24) for rows; (series, 4, 24) for forecasts: mean and three quantiles.
        headers: of the request.
        protocol: how it is sent; gRPC goes to the port after the server's.
        answer_bytes: length of the answer that was checked.
    """

    name: str
    server: str
    work: str
    path: str
    body: Path
    numbers: Numbers
    expected: Floats
    headers: tuple[str, ...] = (JSON,)
    protocol: Literal["http", "grpc"] = "http"
    answer_bytes: int = 0

    @property
    def series(self) -> int:
        """Series, or matrices, in one request."""
        return int(self.expected.shape[0])


@dataclass(frozen=True)
class Asked:
    """Path, body and reader of one request, before it is written to a file."""

    path: str
    body: bytes | None
    numbers: Numbers
    headers: tuple[str, ...] = (JSON,)
    protocol: Literal["http", "grpc"] = "http"


def table(models: Path, bodies: Path, servers: tuple[str, ...]) -> tuple[list[Entry], dict[str, str]]:
    """All entries of some servers, and the names of those whose body cannot be made, with the reason.

    Args:
        models: folder of `loadtests.peers.prepare`.
        bodies: folder that bodies are written to.
        servers: names of servers.
    """
    rows, series = (json.loads((models / work / "question.json").read_text()) for work in ("rows", "forecast"))
    answers = {work: np.array(json.loads((models / work / "answer.json").read_text())) for work in ("rows", "forecast")}
    bodies.mkdir(parents=True, exist_ok=True)
    entries, missing = [], {}
    for name, server, work, count, asked in _lines(rows, series):
        if server not in servers:
            continue
        if asked.body is None:
            missing[name] = f"its body cannot be made yet (loadtests/peers/ours/messages.py): {asked.path}"
            continue
        file = bodies / name.replace(" ", "-").replace(":", "")
        file.write_bytes(asked.body)
        expected = answers[work][:count]
        entries.append(
            Entry(name, server, work, asked.path, file, asked.numbers, expected, asked.headers, asked.protocol)
        )
    return entries, missing


def main_entry(server: str, work: str) -> str:
    """Name of the entry by which servers are compared at a work."""
    return f"{NAMES[server]} {work}"


def _lines(rows: list[list[float]], series: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, int, Asked]]:
    one = series[0]
    yield main_entry("ours", "rows"), "ours", "rows", 1, _v2_rows("bentocast-rows", "features", rows, "point")
    yield main_entry("ours", "forecast"), "ours", "forecast", 1, _kserve([one])
    yield "ours forecast: JSON, 32 series", "ours", "forecast", PANEL, _kserve(series[:PANEL])
    yield "ours forecast: JSON, 256 series", "ours", "forecast", MANY, _kserve(series)
    yield "ours forecast: V2 binary, 1 series", "ours", "forecast", 1, _v2_binary([one])
    yield "ours forecast: V2 binary, 256 series", "ours", "forecast", MANY, _v2_binary(series)
    yield "ours forecast: gRPC typed", "ours", "forecast", 1, _grpc("typed", [one])
    yield "ours forecast: gRPC typed, 256 series", "ours", "forecast", MANY, _grpc("typed", series)
    yield "ours forecast: gRPC V2", "ours", "forecast", 1, _grpc("v2", [one])
    yield main_entry("stock_bentoml", "rows"), "stock_bentoml", "rows", 1, _rows("/predict", "rows", rows, None)
    yield main_entry("stock_bentoml", "forecast"), "stock_bentoml", "forecast", 1, _one("/forecast", {"series": one})
    yield main_entry("mlserver", "rows"), "mlserver", "rows", 1, _v2_rows("rows", "rows", rows, "predict")
    yield main_entry("mlserver", "forecast"), "mlserver", "forecast", 1, _v2_series(one)
    mlflow = _rows("/invocations", "inputs", rows, "predictions")
    yield main_entry("mlflow", "rows"), "mlflow", "rows", 1, mlflow
    yield main_entry("mlflow", "forecast"), "mlflow", "forecast", 1, _invocation(one)
    fastapi = _rows("/predict", "rows", rows, "predictions")
    yield main_entry("fastapi", "rows"), "fastapi", "rows", 1, fastapi
    yield main_entry("fastapi", "forecast"), "fastapi", "forecast", 1, _one("/forecast", one)


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


def _rows(path: str, key: str, rows: list[list[float]], found_under: str | None) -> Asked:
    """A matrix under a key, a list of numbers back: under a key, or as it is."""

    def numbers(answer: Answer) -> Any:
        told = json.loads(answer.body)
        return [told[found_under] if found_under else told]

    return Asked(path, _dumped({key: rows}), numbers)


def _one(path: str, body: dict[str, Any]) -> Asked:
    """A series and its answer as `loadtests.peers.forecasting` has them."""
    return Asked(path, _dumped(body), lambda answer: [_lines_of(json.loads(answer.body))])


def _invocation(one: dict[str, Any]) -> Asked:
    """MLflow's protocol."""
    body = _dumped({"inputs": [one]})
    return Asked("/invocations", body, lambda answer: [_lines_of(json.loads(answer.body)["predictions"][0])])


def _lines_of(told: dict[str, Any]) -> list[list[float]]:
    return [told["mean"], *told["quantiles"].values()]


def _v2_rows(model: str, tensor: str, rows: list[list[float]], output: str) -> Asked:
    """Open Inference Protocol, JSON."""
    flat = [value for row in rows for value in row]
    body = {
        "inputs": [{"name": tensor, "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat}],
        "outputs": [{"name": output}],
    }
    path = f"/v2/models/{model}/infer"
    return Asked(path, _dumped(body), lambda answer: [np.ravel(json.loads(answer.body)["outputs"][0]["data"])])


def _v2_series(one: dict[str, Any]) -> Asked:
    """Open Inference Protocol, JSON, with the tensors of `loadtests/peers/mlserver/forecast.py`."""
    named = {"series": one["series"], "quantiles": one["quantiles"]}
    named |= {f"past:{name}": values for name, values in one["past_covariates"].items()}
    named |= {f"future:{name}": values for name, values in one["future_covariates"].items()}
    inputs: list[dict[str, Any]] = [
        {"name": name, "shape": [len(values)], "datatype": "FP64", "data": values} for name, values in named.items()
    ]
    inputs.append({"name": "start_timestamp", "shape": [1], "datatype": "BYTES", "data": [one["start_timestamp"]]})

    def numbers(answer: Answer) -> Any:
        return [[output["data"] for output in json.loads(answer.body)["outputs"]]]

    return Asked("/v2/models/forecast/infer", _dumped({"inputs": inputs}), numbers)


def _kserve(series: list[dict[str, Any]]) -> Asked:
    """KServe Time Series API, as `data.example` writes a request."""
    inputs = [
        {"name": f"s{place:03}", "frequency": "1h"} | {key: value for key, value in one.items() if key != "quantiles"}
        for place, one in enumerate(series)
    ]

    def numbers(answer: Answer) -> Any:
        contents = [output["content"][0] for output in json.loads(answer.body)["outputs"]]
        return [[content["mean_forecast"], *content["quantiles"].values()] for content in contents]

    body = {"inputs": inputs, "options": {"quantiles": series[0]["quantiles"]}}
    return Asked("/v1/timeseries/forecast", _dumped(body), numbers)


def _v2_binary(series: list[dict[str, Any]]) -> Asked:
    """Open Inference Protocol with binary tensors, in both directions."""
    body, header_length = tensors.forecast_request(series)
    headers = (BINARY, f"inference-header-content-length: {header_length}")
    return Asked(
        "/v2/models/bentocast/infer",
        body,
        lambda answer: tensors.forecast_numbers(answer.body, int(answer.headers["inference-header-content-length"])),
        headers,
    )


def _grpc(kind: Literal["typed", "v2"], series: list[dict[str, Any]]) -> Asked:
    """A gRPC call; its message is made by the project's own generated code, in a process of its own."""
    path = {"typed": "/forecast.v1.ForecastService/Forecast", "v2": "/inference.GRPCInferenceService/ModelInfer"}[kind]
    body = tensors.grpc_request(kind, series)
    return Asked(path, body, lambda answer: tensors.grpc_numbers(kind, answer.body), GRPC, "grpc")
