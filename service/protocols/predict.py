"""KServe V1 and TensorFlow Serving: `POST /v1/models/{model}:predict` with instances in, predictions out.

An instance is a series object as in the Time Series API, or a row of features for the trees alone.
`parameters` (horizon, quantiles) is an addition of ours that clients may leave out.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from data.errors import BentocastError
from service import histories, rows
from service.call import Asked, Call, Reply
from service.decoding import Numbers, Reader, decode
from service.forecasting import Answer
from service.protocols.timeseries import Options, SeriesInput, contents, given
from service.served import AnyAnswer, Served


class SeriesRequest(Struct, frozen=True):
    """Body for the forecaster."""

    instances: list[SeriesInput]
    parameters: Options = Options()


class RowsRequest(Struct, frozen=True):
    """Body for the trees alone."""

    instances: list[Numbers]


_SERIES = Reader(SeriesRequest)
_ROWS = msgspec.json.Decoder(RowsRequest)


class Predict:
    """`POST /v1/models/{model}:predict` and `POST /v1/models/{model}/versions/{version}:predict`."""

    def read(self, call: Call, served: Served) -> Asked:
        """What the instances ask."""
        if served.named(call.model, call.version) == served.rows_model:
            return Asked(rows.ask(served.forecaster, matrix(decode(_ROWS, call.body).instances), ("point",)))
        wanted, instances = _SERIES.read(
            call.body, lambda request: (request.parameters, given(request.instances, "instances"))
        )
        return Asked(histories.ask(served.forecaster, instances, wanted.horizon, wanted.quantiles, served.limits))

    def write(self, asked: Asked, answer: AnyAnswer, served: Served) -> Reply:
        """One prediction for each instance."""
        predictions: Any = contents(answer) if isinstance(answer, Answer) else answer.values["point"].tolist()
        return Reply(msgspec.json.encode({"predictions": predictions}))

    def error(self, err: BentocastError) -> bytes:
        """The protocol's error."""
        return msgspec.json.encode({"error": err.message})


def matrix(instances: list[list[float | None]]) -> np.ndarray:
    """Rows of equal length, or an array whose shape `rows.ask` refuses."""
    lengths = {len(row) for row in instances}
    if len(lengths) > 1:
        return np.empty((len(instances), 0), dtype=np.float32)
    with np.errstate(over="ignore"):
        return np.array(instances, dtype=np.float64).astype(np.float32)


def status(served: Served, model: str, *, ready: bool) -> dict[str, Any]:
    """Body of `GET /v1/models/{model}`: what KServe and what TensorFlow Serving expect, in one object."""
    state = "AVAILABLE" if ready else "UNLOADING"
    version = {"version": served.model_version, "state": state, "status": {"error_code": "OK", "error_message": ""}}
    return {"name": model, "ready": ready, "model_version_status": [version]}
