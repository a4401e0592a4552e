from __future__ import annotations

import json

import numpy as np

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


def test_messages_that_the_service_does_not_have_yet() -> None:
    assert tensors.grpc_request("typed", SERIES) is None
