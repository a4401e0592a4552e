"""curl, in the ways it is used: every HTTP protocol, and every way a body can be sent."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import as_tensors

Answer = dict[str, Any]

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

FORECAST = "/v1/timeseries/forecast"
#: Ways to send the same body.
WAYS = {
    "as a form": [],
    "as JSON": ["-H", "content-type: application/json"],
    "in chunks": ["-H", "transfer-encoding: chunked"],
    "after a question": ["-H", "expect: 100-continue"],
    "with an offer of HTTP/2": ["--http2"],
    "as HTTP/1.0": ["--http1.0"],
}


def curl(url: str, *options: str, body: bytes | None = None) -> bytes:
    sent = [] if body is None else ["--data-binary", "@-"]
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", "30", *options, *sent, url]
    return subprocess.run(command, input=body, capture_output=True, check=True).stdout


def forecasts(answer: bytes) -> Answer:
    return as_tensors(content for output in json.loads(answer)["outputs"] for content in output["content"])


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_send_a_body(question: Answer, native: Answer, way: str) -> None:
    body = json.dumps(question["document"]).encode()
    assert forecasts(curl(question["url"] + FORECAST, *WAYS[way], body=body)) == native


def test_a_compressed_body(question: Answer, native: Answer) -> None:
    body = gzip.compress(json.dumps(question["document"]).encode())
    assert forecasts(curl(question["url"] + FORECAST, "-H", "content-encoding: gzip", body=body)) == native


def test_the_route_of_bentoml(question: Answer, native: Answer) -> None:
    assert forecasts(curl(f"{question['url']}/forecast", body=json.dumps(question["document"]).encode())) == native


def test_predict(question: Answer, native: Answer) -> None:
    answer = curl(f"{question['url']}/v1/models/bentocast:predict", body=json.dumps(question["v1"]).encode())
    assert as_tensors(iter(json.loads(answer)["predictions"])) == native


def infer_request(question: Answer, *, binary: bool) -> tuple[Answer, bytes]:
    """The JSON of an inference request, and the bytes behind it."""
    inputs, raw = [], b""
    for name, values in question["tensors"].items():
        texts = isinstance(values[0], str)
        array = np.array(values)
        tensor = {"name": name, "shape": array.shape, "datatype": "BYTES" if texts else "FP64"}
        if not binary:
            inputs.append(tensor | {"data": values})
            continue
        encoded = [text.encode() for text in values] if texts else []
        part = b"".join(len(text).to_bytes(4, "little") + text for text in encoded) if texts else array.tobytes()
        inputs.append(tensor | {"parameters": {"binary_data_size": len(part)}})
        raw += part
    return {"inputs": inputs, "parameters": question["parameters"] | {"binary_data_output": binary}}, raw


def test_infer(question: Answer, native: Answer) -> None:
    sent, _ = infer_request(question, binary=False)
    answer = json.loads(curl(f"{question['url']}/v2/models/bentocast/infer", body=json.dumps(sent).encode()))
    made = {output["name"]: np.array(output["data"]).reshape(output["shape"]).tolist() for output in answer["outputs"]}
    assert made == native


def test_infer_in_binary(question: Answer, native: Answer, tmp_path: Path) -> None:
    sent, raw = infer_request(question, binary=True)
    text = json.dumps(sent).encode()
    headers = tmp_path / "headers"
    options = ["-D", str(headers), "-H", f"Inference-Header-Content-Length: {len(text)}"]
    answer = curl(f"{question['url']}/v2/models/bentocast/infer", *options, body=text + raw)
    fields = dict(line.lower().split(": ", 1) for line in headers.read_text().splitlines() if ": " in line)
    size = int(fields["inference-header-content-length"])
    told, rest = json.loads(answer[:size]), answer[size:]
    mean, quantiles, starts = told["outputs"]
    numbers = np.frombuffer(rest[: -starts["parameters"]["binary_data_size"]], dtype="<f8")
    assert numbers.tolist() == np.concatenate([np.ravel(native["mean"]), np.ravel(native["quantiles"])]).tolist()
    assert (mean["shape"], quantiles["shape"]) == ([3, 6], [3, 2, 6])
    assert fields["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/livez",
        "/readyz",
        "/v2",
        "/v2/health/live",
        "/v2/models/bentocast",
        "/v1/models/bentocast",
        "/schema.json",
    ],
)
def test_head_says_what_get_says(question: Answer, path: str) -> None:
    """Without the body."""
    head, get = (curl(question["url"] + path, *options).splitlines() for options in (["-I"], ["-D-"]))
    same = [line for line in get if line.lower().startswith((b"http/", b"content-"))]
    assert same
    assert [line for line in head if line.lower().startswith((b"http/", b"content-"))] == same


def test_an_error_for_the_shell(question: Answer) -> None:
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--fail-with-body", "-d", "{}", question["url"] + FORECAST],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 22
    assert json.loads(done.stdout)["error"]["param"] == "inputs"
