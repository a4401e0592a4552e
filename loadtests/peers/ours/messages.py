"""`python -m loadtests.peers.ours.messages encode|decode typed|v2`: gRPC messages of our service.

Runs in the project's virtual environment, in a process of its own, since load tests know nothing of the
service's code. `encode` reads questions (a list of `loadtests.peers.forecasting.Series`) as JSON and
writes a request; `decode` reads an answer and writes its numbers, shape (series, 4, steps), as JSON.
Exits with 3 as long as the service has no such message.
"""

from __future__ import annotations

import json
import sys
from typing import Any

NOT_YET = 3


def typed_request(series: list[dict[str, Any]]) -> bytes:
    """`forecast.v1.ForecastService/Forecast`: a serialized request."""
    raise NotImplementedError


def typed_numbers(message: bytes) -> list[list[list[float]]]:
    """The mean and each quantile of each series in an answer of `Forecast`."""
    raise NotImplementedError


def v2_request(series: list[dict[str, Any]]) -> bytes:
    """`inference.GRPCInferenceService/ModelInfer`: a serialized request with raw tensors."""
    raise NotImplementedError


def v2_numbers(message: bytes) -> list[list[list[float]]]:
    """The mean and each quantile of each series in an answer of `ModelInfer`."""
    raise NotImplementedError


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
    except NotImplementedError:
        sys.exit(NOT_YET)
