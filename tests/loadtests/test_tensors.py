from __future__ import annotations

import json

import numpy as np
import pytest

from loadtests.serving import tensors

SERIES = [
    {
        "start_timestamp": f"2024-01-0{day}T00:00:00",
        "series": [1.0, 2.0, 3.0],
        "past_covariates": {"rain": [0.0, 1.0, 0.0]},
        "future_covariates": {"rain": [0.5, 0.25]},
        "quantiles": [0.1, 0.9],
    }
    for day in (1, 2)
]


def test_raw_tensors_follow_the_header_in_order() -> None:
    body, length = tensors.forecast_request(SERIES)
    header, place = json.loads(body[:length]), length
    found = {}
    for tensor in header["inputs"]:
        size = tensor["parameters"]["binary_data_size"]
        found[tensor["name"]] = (tensor["shape"], body[place : place + size])
        place += size
    assert place == len(body)
    assert np.frombuffer(found["series"][1], "<f8").reshape(found["series"][0]).tolist() == [[1, 2, 3], [1, 2, 3]]
    assert found["future_covariates.rain"][0] == [2, 2]
    assert found["start_timestamp"][1][:6] == b"\x13\0\0\x0020"


def test_numbers_of_a_binary_answer() -> None:
    values = np.arange(12.0).reshape(2, 2, 3)
    outputs = [
        {"name": "mean", "datatype": "FP64", "shape": [2, 3], "parameters": {"binary_data_size": 48}},
        {"name": "quantiles", "datatype": "FP64", "shape": [2, 2, 3], "parameters": {"binary_data_size": 96}},
    ]
    header = json.dumps({"outputs": outputs}).encode()
    body = header + np.ones((2, 3)).tobytes() + values.tobytes()
    made = tensors.forecast_numbers(body, len(header))
    assert made.shape == (2, 3, 3)
    assert np.array_equal(made[:, 1:], values)


@pytest.mark.parametrize("kind", ["typed", "v2"])
def test_grpc_request_has_its_frame(kind: str) -> None:
    body = tensors.grpc_request(kind, SERIES)
    assert body is not None
    assert body[:1] == b"\0"
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    assert np.array([1.0, 2.0, 3.0]).tobytes() in body


def test_grpc_numbers() -> None:
    from service.proto import forecast_pb2, inference_pb2

    mean, quantiles = np.arange(2.0), np.arange(4.0).reshape(2, 2)
    typed = forecast_pb2.ForecastResponse()
    one = typed.forecasts.add()
    one.mean.packed = mean.tobytes()
    for values in quantiles:
        one.quantiles.add().values.packed = values.tobytes()
    v2 = inference_pb2.ModelInferResponse()
    for name, shape, values in (("mean", [1, 2], mean), ("quantiles", [1, 2, 2], quantiles)):
        v2.outputs.add(name=name, datatype="FP64", shape=shape)
        v2.raw_output_contents.append(values.tobytes())
    wanted = [[mean.tolist(), *quantiles.tolist()]]
    assert tensors.grpc_numbers("typed", typed.SerializeToString()) == wanted
    assert tensors.grpc_numbers("v2", v2.SerializeToString()) == wanted
