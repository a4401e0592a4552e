"""Requests on their way into the record as they came, with the features that the service made of them: a small sample.

With them, the training path can be asked what it makes of the same request (`monitoring.skew`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.record.entries import Floats, check_text

#: A request that would take more is not sampled.
MAX_BYTES = 100_000
#: Samples that may wait for the database; the oldest is dropped for one more.
MOST_WAITING = 4


class SampleEntry(NamedTuple):
    """One series of a request, NaN where a value was missing.

    Attributes:
        request_id: the request.
        series: its name.
        model_name: the model that answered.
        model_version: its version.
        bento: tag of the Bento that answered.
        created_at: when, in seconds since 1970, UTC.
        origin: time of the last value.
        step_seconds: time between two values.
        values: shape (n,), the target, oldest first.
        past: by name, shape (n,).
        future: by name, shape (steps,).
        inputs: shape (horizon, features), the model's input.
        scale: in the target's unit.
    """

    request_id: str
    series: str
    model_name: str
    model_version: str
    bento: str
    created_at: float
    origin: np.datetime64
    step_seconds: int
    values: Floats
    past: Mapping[str, Floats]
    future: Mapping[str, Floats]
    inputs: NDArray[np.float32]
    scale: float

    @property
    def size_bytes(self) -> int:
        """What its numbers take."""
        floats = (self.values, *self.past.values(), *self.future.values())
        return self.inputs.nbytes + sum(part.nbytes for part in floats)


def beginning(values: Floats, past: Mapping[str, Floats], context: int) -> int | None:
    """Where to cut a history so that gaps are filled from the cut on as they are from the start on.

    Args:
        values: shape (n,), the target.
        past: by name, shape (n,).
        context: values that the features look at.

    Returns:
        The last place at which everything is known, with `context` values or more from it on; None if there is none.
    """
    known = ~np.isnan(values)
    for covariate in past.values():
        known = known & ~np.isnan(covariate)
    places = np.flatnonzero(known[: values.size - context + 1])
    return int(places[-1]) if places.size else None


def encode(entry: SampleEntry) -> dict[str, Any]:
    """The row of an entry; numbers are little-endian, float64 (features: float32), covariates one after another.

    Raises:
        ValueError: a text is not one that the record takes.
    """
    texts = {name: getattr(entry, name) for name in ("request_id", "series", "model_name", "model_version", "bento")}
    for name, text in texts.items():
        check_text(name, text)
    return texts | {
        "created_at": float(entry.created_at),
        "origin": int(entry.origin.astype("datetime64[s]").astype(np.int64)),
        "step_seconds": int(entry.step_seconds),
        "covariates": json.dumps({"past": list(entry.past), "future": list(entry.future)}),
        "target": entry.values.astype("<f8").tobytes(),
        "past": b"".join(values.astype("<f8").tobytes() for values in entry.past.values()),
        "future": b"".join(values.astype("<f8").tobytes() for values in entry.future.values()),
        "inputs": entry.inputs.astype("<f4").tobytes(),
        "scale": float(entry.scale),
    }


def decode(row: Any) -> SampleEntry:
    """The entry of a row, bit for bit; its inputs come flat, since the row does not know how many features there are."""
    names = json.loads(row.covariates)

    def parts(which: str) -> dict[str, Floats]:
        wanted = names[which]
        values = np.frombuffer(getattr(row, which), "<f8").reshape(len(wanted), -1) if wanted else ()
        return dict(zip(wanted, values, strict=True))

    return SampleEntry(
        request_id=row.request_id,
        series=row.series,
        model_name=row.model_name,
        model_version=row.model_version,
        bento=row.bento,
        created_at=row.created_at,
        origin=np.datetime64(row.origin, "s"),
        step_seconds=row.step_seconds,
        values=np.frombuffer(row.target, "<f8"),
        past=parts("past"),
        future=parts("future"),
        inputs=np.frombuffer(row.inputs, "<f4"),
        scale=row.scale,
    )
