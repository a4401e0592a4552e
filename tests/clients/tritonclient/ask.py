"""Asks as a program does that has Triton's own client: what to ask on stdin, what came of it on stdout, both JSON."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException


def tensors(kind: Any, asked: dict[str, Any], **how: Any) -> list[Any]:
    made = []
    for name, values in asked.items():
        texts = isinstance(values[0], str)
        array = np.array(values, dtype=np.object_ if texts else np.float64)
        tensor = kind.InferInput(name, array.shape, "BYTES" if texts else "FP64")
        made.append(tensor.set_data_from_numpy(array, **how))
    return made


def shown(result: Any, names: list[str]) -> dict[str, Any]:
    arrays = {name: result.as_numpy(name) for name in names}
    return {
        name: [text if isinstance(text, str) else text.decode() for text in array.tolist()]
        if array.dtype.kind in "OU"
        else array.tolist()
        for name, array in arrays.items()
    }


def refusal(call: Any) -> dict[str, str | None]:
    try:
        call()
    except InferenceServerException as err:
        return {"status": err.status(), "message": err.message()}
    raise AssertionError("it was answered")


def answers(client: Any, kind: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """What HTTP and gRPC have in common."""
    model, names, parameters = asked["model"], asked["outputs"], asked["parameters"]
    usual = tensors(kind, asked["tensors"])
    wrong = tensors(kind, asked["tensors"] | {"series": [[1.0]]})
    rows = tensors(kind, {"features": asked["features"]})
    rows[0] = kind.InferInput("features", rows[0].shape(), "FP32")
    rows[0].set_data_from_numpy(np.array(asked["features"], dtype=np.float32))
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(model),
        "version ready": client.is_model_ready(model, "7"),
        "answer": shown(client.infer(model, usual, parameters=parameters), names),
        "version": shown(client.infer(model, usual, model_version="7", parameters=parameters), names),
        "rows": shown(client.infer(asked["rows model"], rows), ["point", "spread"]),
        "id": client.infer(model, usual, request_id="hello").get_response(),
        "unknown model": refusal(lambda: client.infer("other", usual)),
        "unknown version": refusal(lambda: client.infer(model, usual, model_version="8")),
        "unknown metadata": refusal(lambda: client.get_model_metadata("other")),
        "bad input": refusal(lambda: client.infer(model, wrong)),
    }


def over_http(asked: dict[str, Any]) -> dict[str, Any]:
    model, names, parameters = asked["model"], asked["outputs"], asked["parameters"]
    with http.InferenceServerClient(asked["http"]) as client:
        made = answers(client, http, asked)
        made["id"] = made["id"]["id"]
        made["other ready"] = client.is_model_ready("other")
        made["server"] = client.get_server_metadata()
        made["metadata"] = client.get_model_metadata(model)
        for sent in (False, True):
            for wanted in (False, True):
                outputs = [http.InferRequestedOutput(name, binary_data=wanted) for name in names]
                given = tensors(http, asked["tensors"], binary_data=sent)
                result = client.infer(model, given, outputs=outputs, parameters=parameters)
                made[f"binary in {sent} out {wanted}"] = shown(result, names)
        result = client.infer(
            model,
            tensors(http, asked["tensors"]),
            parameters=parameters,
            request_compression_algorithm="gzip",
            response_compression_algorithm="gzip",
        )
        made["gzip"] = shown(result, names)
    return made


def over_grpc(asked: dict[str, Any]) -> dict[str, Any]:
    with grpc.InferenceServerClient(asked["grpc"]) as client:
        made = answers(client, grpc, asked)
        made["id"] = made["id"].id
        made["other ready"] = refusal(lambda: client.is_model_ready("other"))
        made["server"] = client.get_server_metadata(as_json=True)
        made["metadata"] = client.get_model_metadata(asked["model"], as_json=True)
        made["config"] = refusal(lambda: client.get_model_config(asked["model"]))
    return made


if __name__ == "__main__":
    question = json.load(sys.stdin)
    json.dump(
        {
            "tritonclient": version("tritonclient"),
            "http": over_http(question),
            "grpc": over_grpc(question),
        },
        sys.stdout,
    )
