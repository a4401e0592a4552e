"""Asks as a program does that has BentoML's own clients: what to ask on stdin, what came of it on stdout, both JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import grpc
from google.protobuf import json_format

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the messages that BentoML ships
    import bentoml
    from bentoml.exceptions import BentoMLException
    from bentoml.grpc.v1 import service_pb2 as pb
    from bentoml.grpc.v1 import service_pb2_grpc


def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        call()
    except BentoMLException as err:
        return {"status": int(err.error_code), "message": str(err)}
    except grpc.RpcError as err:
        return {"status": err.code().name, "message": err.details()}
    raise AssertionError("it was answered")


def over_http(asked: dict[str, Any]) -> dict[str, Any]:
    document = asked["document"]
    with bentoml.SyncHTTPClient(asked["url"]) as client:
        return {
            "ready": client.is_ready(),
            "apis": sorted(client.endpoints),
            "answer": client.forecast(**document),
            "call": client.call("forecast", **document),
            "unknown model": refusal(lambda: client.forecast(**document | {"model": "other"})),
            "bad input": refusal(lambda: client.forecast(inputs=[])),
        }


async def over_async_http(asked: dict[str, Any]) -> dict[str, Any]:
    async with bentoml.AsyncHTTPClient(asked["url"]) as client:
        return {"answer": await client.forecast(**asked["document"])}


def over_grpc(asked: dict[str, Any]) -> dict[str, Any]:
    document, features = asked["document"], asked["features"]
    shape = (len(features), len(features[0]))
    values = [value for row in features for value in row]

    def as_json(given: dict[str, Any]) -> pb.Request:
        request = pb.Request(api_name="forecast")
        json_format.ParseDict(given, request.json)
        return request

    text = pb.Request(api_name="forecast", text={"value": json.dumps(document)})
    array = pb.NDArray(shape=shape, float_values=values)
    doubles = pb.NDArray(shape=shape, double_values=values, dtype=pb.NDArray.DTYPE_DOUBLE)
    pickled = pb.Request(api_name="forecast", serialized_bytes=b"cos\nsystem\n(S'true'\ntR.")
    with grpc.insecure_channel(asked["grpc"]) as channel:
        stub = service_pb2_grpc.BentoServiceStub(channel)
        told = stub.ServiceMetadata(pb.ServiceMetadataRequest())
        return {
            "apis": [api.name for api in told.apis],
            "answer": json_format.MessageToDict(stub.Call(as_json(document)).json),
            "text": json_format.MessageToDict(stub.Call(text).json),
            "array": list(stub.Call(pb.Request(api_name="rows", ndarray=array)).ndarray.double_values),
            "doubles": list(stub.Call(pb.Request(api_name="rows", ndarray=doubles)).ndarray.double_values),
            "unknown model": refusal(lambda: stub.Call(as_json(document | {"model": "other"}))),
            "unknown api": refusal(lambda: stub.Call(pb.Request(api_name="classify", ndarray=array))),
            "bad input": refusal(lambda: stub.Call(as_json({"inputs": []}))),
            "pickle": refusal(lambda: stub.Call(pickled)),
        }


if __name__ == "__main__":
    question = json.load(sys.stdin)
    json.dump(
        {
            "bentoml": version("bentoml"),
            "protobuf": version("protobuf"),
            "http": over_http(question),
            "async http": asyncio.run(over_async_http(question)),
            "grpc": over_grpc(question),
        },
        sys.stdout,
    )
