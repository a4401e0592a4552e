"""gRPC calls of `forecast.v1.ForecastService`, with messages made from what the service says of itself by reflection."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from loadtests.asks import Ask, Floats
from loadtests.protocols import Message

SERVICE, METHOD = "forecast.v1.ForecastService", "Forecast"


class Typed:
    """The messages of `Forecast`.

    Args:
        channel: to a service that answers reflection.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName(SERVICE).FindMethodByName(METHOD)
        self._request: Any = message_factory.GetMessageClass(method.input_type)
        self._response: Any = message_factory.GetMessageClass(method.output_type)

    def encode(self, ask: Ask, model: str) -> Message:
        """A request with packed numbers."""
        options = ask["options"]
        made = self._request(model=model, horizon=options["horizon"], quantiles=options["quantiles"], packed=True)
        for one in ask["inputs"]:
            added = made.series.add(name=one["name"], start_timestamp=one["start_timestamp"])
            added.values.packed = _packed(one["series"])
            for kind in ("past_covariates", "future_covariates"):
                for name, values in one.get(kind, {}).items():
                    getattr(added, kind)[name].packed = _packed(values)
        return Message(ask, f"/{SERVICE}/{METHOD}", made.SerializeToString())

    def decode(self, body: bytes) -> Floats:
        """Shape (series, 1 + levels, steps) of an answer."""
        return np.array(
            [
                [np.frombuffer(line.packed, "<f8") for line in (one.mean, *(level.values for level in one.quantiles))]
                for one in self._response.FromString(body).forecasts
            ]
        )


def _packed(values: list[float | None]) -> bytes:
    return np.array(values, dtype="<f8").tobytes()
