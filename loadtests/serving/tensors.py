"""Bodies that are not JSON: the Open Inference Protocol's binary tensors, and gRPC messages."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

from loadtests.serving.settings import ROOT

#: Of `loadtests/peers/ours/messages.py`: the service has no such messages yet.
NOT_YET = 3


def forecast_request(series: list[dict[str, Any]]) -> tuple[bytes, int]:
    """Body with raw little-endian tensors, and the length of the JSON before them.

    `series` is of shape (series, points); a covariate of shape (series, points) or (series, horizon);
    BYTES elements carry their length in four bytes.
    """
    arrays = {"series": np.array([one["series"] for one in series]), "quantiles": np.array(series[0]["quantiles"])}
    for kind in ("past_covariates", "future_covariates"):
        for name in series[0][kind]:
            arrays[f"{kind}.{name}"] = np.array([one[kind][name] for one in series])
    raw = [values.astype("<f8").tobytes() for values in arrays.values()]
    starts = [one["start_timestamp"].encode() for one in series]
    raw.append(b"".join(len(start).to_bytes(4, "little") + start for start in starts))
    shapes = [(name, list(values.shape), "FP64") for name, values in arrays.items()]
    shapes.append(("start_timestamp", [len(series)], "BYTES"))
    header = {
        "parameters": {"binary_data_output": True},
        "inputs": [
            {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(part)}}
            for (name, shape, datatype), part in zip(shapes, raw, strict=True)
        ],
    }
    text = json.dumps(header).encode()
    return text + b"".join(raw), len(text)


def forecast_numbers(body: bytes, header_length: int) -> Any:
    """Shape (series, 4, 24) of an answer with `mean` (series, steps) and `quantiles` (series, levels, steps)."""
    header = json.loads(body[:header_length])
    found, place = [], header_length
    for output in header["outputs"]:
        size = output["parameters"]["binary_data_size"]
        kind = {"FP64": "<f8", "FP32": "<f4"}.get(output["datatype"])
        if kind is not None:
            values = np.frombuffer(body[place : place + size], kind).reshape(output["shape"])
            found.append(values if values.ndim == 3 else values[:, None, :])
        place += size
    return np.concatenate(found, axis=1)


def grpc_request(kind: str, series: list[dict[str, Any]]) -> bytes | None:
    """A message with gRPC's frame (not compressed, four bytes of length), or None if it cannot be made yet."""
    message = _message("encode", kind, json.dumps(series).encode())
    return None if message is None else b"\0" + len(message).to_bytes(4, "big") + message


def grpc_numbers(kind: str, message: bytes) -> Any:
    """Shape (series, 4, 24) of an answer without its frame."""
    told = _message("decode", kind, message)
    assert told is not None, "messages that were sent can be read"
    return json.loads(told)


def _message(way: str, kind: str, given: bytes) -> bytes | None:
    """What the project's own generated code makes of it, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.peers.ours.messages", way, kind],
        cwd=ROOT,
        input=given,
        capture_output=True,
        check=False,
    )
    if done.returncode == NOT_YET:
        return None
    if done.returncode:
        raise RuntimeError(f"loadtests.peers.ours.messages {way} {kind}: {done.stderr.decode()[-2_000:]}")
    return done.stdout
