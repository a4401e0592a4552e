"""`POST /v1/timeseries/actuals`: what really came, so that forecasts can be judged.

Answered when it is on disk, never before.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from data.errors import RequestError
from service.call import Call, Reply
from service.decoding import decode, moment
from service.faults import short
from service.histories import EARLIEST, LATEST, MAX_MAGNITUDE, MAX_NAME
from service.worker import Floats, Times, Worker

MAX_ACTUALS = 100_000


class Actual(Struct, frozen=True):
    """One value of one series."""

    series: Annotated[str, Meta(max_length=MAX_NAME)]
    timestamp: Annotated[str, Meta(max_length=64, description="ISO 8601")]
    value: Annotated[float, Meta(description="null if it is known to be missing")] | None


class ActualsRequest(Struct, frozen=True):
    """Body of `POST /v1/timeseries/actuals`."""

    actuals: list[Actual]


_DECODER = msgspec.json.Decoder(ActualsRequest)


class Actuals:
    """The endpoint."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def __call__(self, call: Call) -> Reply:
        """Keep what the body tells."""
        checked = await self._worker.aside(lambda: check(decode(_DECODER, call.body).actuals), len(call.body))
        accepted = await self._worker.put_actuals(*checked)
        return Reply(msgspec.json.encode({"accepted": accepted}))


def check(actuals: list[Actual]) -> tuple[list[str], Times, Floats]:
    """Names, times and values, one of each for every actual value; pure, so that it may run in a thread.

    Raises:
        RequestError: names the value at fault.
    """
    if len(actuals) > MAX_ACTUALS:
        raise RequestError(
            f"actuals: got {len(actuals)}, wanted at most {MAX_ACTUALS}: send several requests", param="actuals"
        )
    for place, actual in enumerate(actuals):
        if len(actual.series) > MAX_NAME:
            raise RequestError(
                f"actuals[{place}].series: got {short(actual.series)}, wanted text of at most {MAX_NAME} characters",
                param=f"actuals[{place}].series",
            )
    times = np.array(
        [moment(actual.timestamp, f"actuals[{place}].timestamp") for place, actual in enumerate(actuals)],
        dtype="datetime64[s]",
    )
    values = np.array([actual.value for actual in actuals], dtype=np.float64)
    wrong = (times < EARLIEST) | (times > LATEST) | (np.abs(np.nan_to_num(values)) > MAX_MAGNITUDE)
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise RequestError(
            f"actuals[{place}]: got {values[place]:g} at {times[place]}, wanted a number between -{MAX_MAGNITUDE:g} and "
            f"{MAX_MAGNITUDE:g}, between {EARLIEST} and {LATEST}",
            param=f"actuals[{place}]",
        )
    return [actual.series for actual in actuals], times, values
