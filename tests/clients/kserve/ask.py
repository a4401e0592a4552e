"""Asks as a program does that has KServe's own clients: what to ask on stdin, what came of it on stdout, both JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from importlib.metadata import version
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def request(asked: dict[str, Any], *, binary: bool, **changed: Any) -> InferRequest:
    inputs = []
    for name, values in (asked["tensors"] | changed).items():
        texts = isinstance(values[0], str)
        array = np.array(values, dtype=np.object_ if texts else np.float64)
        tensor = InferInput(name, list(array.shape), "BYTES" if texts else "FP64")
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    return InferRequest(
        model_name=asked["model"],
        infer_inputs=inputs,
        request_outputs=[RequestedOutput(name, {"binary_data": binary}) for name in asked["outputs"]],
        parameters=asked["parameters"],
    )


def shown(result: Any) -> dict[str, Any]:
    made = {}
    for output in result.outputs:
        array = output.as_numpy()
        texts = array.dtype == np.object_
        made[output.name] = (
            [text.decode() if isinstance(text, bytes) else text for text in array] if texts else array.tolist()
        )
    return made


async def refusal(call: Awaitable[Any]) -> dict[str, Any]:
    try:
        await call
    except httpx.HTTPStatusError as err:
        return {"status": err.response.status_code, "message": str(err)}
    except grpc.RpcError as err:
        return {"status": err.code().name, "message": err.details()}
    raise AssertionError("it was answered")


async def over_rest(asked: dict[str, Any], protocol: str) -> dict[str, Any]:
    client, url, model = InferenceRESTClient(RESTConfig(protocol=protocol)), asked["url"], asked["model"]
    made: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "model ready": await client.is_model_ready(url, model),
    }
    if protocol == "v1":
        body, wrong = asked["v1"], {"instances": [{"name": "x", "series": [1.0], "start_timestamp": "2024-01-01"}]}
        made["answer"] = await client.infer(url, body, model)
        made["other ready"] = await refusal(client.is_model_ready(url, "other"))
    else:
        body, wrong = request(asked, binary=False), request(asked, binary=False, series=[[1.0]])
        made["ready"] = await client.is_server_ready(url)
        made["other ready"] = await client.is_model_ready(url, "other")
        made["answer"] = shown(await client.infer(url, body, model))
        made["binary"] = shown(await client.infer(url, request(asked, binary=True), model))
    made["unknown model"] = await refusal(client.infer(url, body, "other"))
    made["bad input"] = await refusal(client.infer(url, wrong, model))
    await client.close()
    return made


async def over_grpc(asked: dict[str, Any]) -> dict[str, Any]:
    async with InferenceGRPCClient(asked["grpc"]) as client:
        other = request(asked, binary=True)
        other.model_name = "other"
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(asked["model"]),
            "other ready": await refusal(client.is_model_ready("other")),
            "answer": shown(await client.infer(request(asked, binary=True))),
            "contents": shown(await client.infer(request(asked, binary=False))),
            "unknown model": await refusal(client.infer(other)),
            "bad input": await refusal(client.infer(request(asked, binary=True, series=[[1.0]]))),
        }


async def answers(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "kserve": version("kserve"),
        "v1": await over_rest(asked, "v1"),
        "v2": await over_rest(asked, "v2"),
        "grpc": await over_grpc(asked),
    }


if __name__ == "__main__":
    json.dump(asyncio.run(answers(json.load(sys.stdin))), sys.stdout)
