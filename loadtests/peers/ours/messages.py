"""`python -m loadtests.peers.ours.messages encode|decode typed|v2`: gRPC messages of our service.

Runs in the project's virtual environment, in a process of its own, since load tests know nothing of the
service's code. `encode` reads questions (a list of `loadtests.peers.forecasting.Series`) as JSON and
writes a request with packed numbers; `decode` reads an answer and writes its numbers, shape (series, 4,
steps), as JSON. Exits with 3 where the service has no such message.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

NOT_YET = 3


def typed_request(series: list[dict[str, Any]]) -> bytes:
    """`forecast.v1.ForecastService/Forecast`: a serialized request."""
    from service.proto import forecast_pb2 as pb

    made = pb.ForecastRequest(quantiles=series[0]["quantiles"], packed=True)
    for place, one in enumerate(series):
        added = made.series.add(name=f"s{place:03}", start_timestamp=one["start_timestamp"])
        added.values.packed = _packed(one["series"])
        for name, values in one["past_covariates"].items():
            added.past_covariates[name].packed = _packed(values)
        for name, values in one["future_covariates"].items():
            added.future_covariates[name].packed = _packed(values)
    return bytes(made.SerializeToString())


def typed_numbers(message: bytes) -> list[list[list[float]]]:
    """The mean and each quantile of each series in an answer of `Forecast`."""
    from service.proto import forecast_pb2 as pb

    return [
        [np.frombuffer(line.packed, "<f8").tolist() for line in (one.mean, *(level.values for level in one.quantiles))]
        for one in pb.ForecastResponse.FromString(message).forecasts
    ]


def v2_request(series: list[dict[str, Any]]) -> bytes:
    """`inference.GRPCInferenceService/ModelInfer`: a serialized request with raw tensors."""
    from service.proto import inference_pb2 as pb

    made = pb.ModelInferRequest(model_name="bentocast")
    for name, values in _tensors(series).items():
        made.inputs.add(name=name, datatype="FP64", shape=values.shape)
        made.raw_input_contents.append(_packed(values))
    made.inputs.add(name="start_timestamp", datatype="BYTES", shape=[len(series)])
    starts = [one["start_timestamp"].encode() for one in series]
    made.raw_input_contents.append(b"".join(len(start).to_bytes(4, "little") + start for start in starts))
    return bytes(made.SerializeToString())


def v2_numbers(message: bytes) -> list[list[list[float]]]:
    """The mean and each quantile of each series in an answer of `ModelInfer`."""
    from service.proto import inference_pb2 as pb

    answer = pb.ModelInferResponse.FromString(message)
    found = {
        output.name: np.frombuffer(raw, "<f8").reshape(output.shape)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        if output.datatype == "FP64"
    }
    whole: list[list[list[float]]] = np.concatenate([found["mean"][:, None], found["quantiles"]], axis=1).tolist()
    return whole


def _tensors(series: list[dict[str, Any]]) -> Mapping[str, np.ndarray]:
    made = {"series": np.array([one["series"] for one in series]), "quantiles": np.array(series[0]["quantiles"])}
    for kind in ("past_covariates", "future_covariates"):
        made |= {f"{kind}.{name}": np.array([one[kind][name] for one in series]) for name in series[0][kind]}
    return made


def _packed(values: Any) -> bytes:
    return np.asarray(values, "<f8").tobytes()


REQUESTS = {"typed": typed_request, "v2": v2_request}
NUMBERS = {"typed": typed_numbers, "v2": v2_numbers}


def main(way: str, kind: str) -> None:
    """One message from standard input to standard output."""
    given = sys.stdin.buffer.read()
    if way == "encode":
        sys.stdout.buffer.write(REQUESTS[kind](json.loads(given)))
    else:
        sys.stdout.buffer.write(json.dumps(NUMBERS[kind](given)).encode())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ModuleNotFoundError as err:
        if not (err.name or "").startswith("service"):
            raise
        sys.exit(NOT_YET)
