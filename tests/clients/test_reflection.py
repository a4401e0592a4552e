"""gRPC without a stub, as grpcurl does it: services and messages are asked of the server, then called."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

Answer = dict[str, Any]

SERVICES = {
    "bentoml.grpc.v1.BentoService": {"Call", "ServiceMetadata"},
    "forecast.v1.ForecastService": {"Forecast", "GetModel", "PutActuals"},
    "grpc.health.v1.Health": {"Check", "Watch"},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo"},
    "inference.GRPCInferenceService": {
        "ModelInfer",
        "ModelMetadata",
        "ModelReady",
        "ServerLive",
        "ServerMetadata",
        "ServerReady",
    },
}


class Reflected:
    """A server whose messages are known from itself alone."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = descriptor_pool.DescriptorPool(self._database)

    def services(self) -> set[str]:
        return set(self._database.get_services())

    def methods(self, service: str) -> set[str]:
        return {method.name for method in self._pool.FindServiceByName(service).methods}

    def call(self, service: str, method: str, sent: Answer) -> Answer:
        """JSON in, JSON out."""
        described = self._pool.FindServiceByName(service).FindMethodByName(method)
        request = message_factory.GetMessageClass(described.input_type)()
        ask = self._channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(described.output_type).FromString,
        )
        answer = ask(json_format.ParseDict(sent, request, descriptor_pool=self._pool), timeout=30)
        made: Answer = json_format.MessageToDict(answer, preserving_proto_field_name=True, descriptor_pool=self._pool)
        return made


@pytest.fixture(scope="module")
def server(question: Answer) -> Iterator[Reflected]:
    with grpc.insecure_channel(question["grpc"]) as channel:
        yield Reflected(channel)


def test_every_service_and_method_is_listed(server: Reflected) -> None:
    assert server.services() == set(SERVICES)
    for service, methods in SERVICES.items():
        assert server.methods(service) == methods


@pytest.mark.parametrize("packed", [False, True])
def test_a_typed_forecast_has_the_same_numbers(
    server: Reflected, question: Answer, native: Answer, *, packed: bool
) -> None:
    document = question["document"]
    series = [
        {
            "name": one["name"],
            "start_timestamp": one["start_timestamp"],
            "values": {"values": one["series"]},
            **{
                kind: {name: {"values": values} for name, values in one[kind].items()}
                for kind in ("past_covariates", "future_covariates")
            },
        }
        for one in document["inputs"]
    ]
    sent = {"model": "bentocast", "series": series, "packed": packed, **document["options"]}
    answer = server.call("forecast.v1.ForecastService", "Forecast", sent)
    assert (answer["model"], answer["model_version"]) == ("bentocast", "7")
    made = answer["forecasts"]
    assert [numbers(one["mean"]) for one in made] == native["mean"]
    assert [[numbers(quantile["values"]) for quantile in one["quantiles"]] for one in made] == native["quantiles"]
    assert [one["start_timestamp"] for one in made] == native["start_timestamp"]


def numbers(sent: Answer) -> list[float]:
    """As `values`, or packed (bytes are base64 in JSON)."""
    if "values" in sent:
        assert "packed" not in sent
        return list(sent["values"])
    return list(np.frombuffer(base64.b64decode(sent["packed"]), dtype="<f8"))


def test_what_is_served(server: Reflected, question: Answer) -> None:
    told = server.call("forecast.v1.ForecastService", "GetModel", {})
    assert (told["name"], told["version"], told["horizon"], told["context_length"]) == ("bentocast", "7", 12, 102)
    assert set(told["past_covariates"]) == set(question["document"]["inputs"][0]["past_covariates"])


def test_errors_have_a_code_and_one_sentence(server: Reflected) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        server.call("forecast.v1.ForecastService", "Forecast", {"horizon": 99})
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "options.horizon: got 99, wanted 1 to 12, the steps this model forecasts"


def test_new_clients_ask_for_v1_first(question: Answer) -> None:
    with grpc.insecure_channel(question["grpc"]) as channel:
        ask = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        (answer,) = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)
    assert {service.name for service in answer.list_services_response.service} == set(SERVICES)
