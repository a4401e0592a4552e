"""Both works by hand: FastAPI, pydantic and onnxruntime, for `uvicorn app:app`; WORK is the prepared folder."""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Response
from pydantic import BaseModel

from loadtests.peers.forecasting import Answer, Forecasting, Series

WORK = Path(os.environ["WORK"])
app = FastAPI()


class Rows(BaseModel):
    """A matrix, row by row."""

    rows: list[list[float]]


class Predictions(BaseModel):
    """A number for each row."""

    predictions: list[float]


def _session(name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(WORK / name, options, providers=["CPUExecutionProvider"])


def _json(answer: BaseModel) -> Response:
    """Straight from pydantic, which is faster than to let FastAPI check what is right already."""
    return Response(answer.model_dump_json(), media_type="application/json")


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """It answers once the model is loaded."""
    return {"ready": True}


if WORK.name == "rows":
    point = _session("point.onnx")

    @app.post("/predict", response_model=Predictions)
    async def predict(body: Rows) -> Response:
        """The model's answer to each row."""
        (made,) = point.run(["point"], {"features": np.array(body.rows, dtype=np.float32)})
        return _json(Predictions(predictions=made[:, 0].tolist()))

else:
    both = _session("model.onnx")

    def _trees(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        made, spread = both.run(["point", "spread"], {"features": inputs})
        return made[:, 0].astype(np.float64), spread[:, 0].astype(np.float64)

    forecasting = Forecasting(WORK / "forecaster.json", _trees)

    @app.post("/forecast", response_model=Answer)
    async def forecast(body: Series) -> Response:
        """The forecast of one series."""
        return _json(forecasting(body))
