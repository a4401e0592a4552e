"""Everything that `/openapi.json` promises, asked by schemathesis: requests that keep to it, and some that nearly do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import interpreter
from tests.service.live import Server

Answer = dict[str, Any]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
#: A service that has too much to do says so.
CONFIGURATION = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]
"""
OPTIONS = ("--seed", "1", "--max-examples", "15", "--phases", "examples,coverage,fuzzing", "--warnings", "off")
SECONDS = 240


def with_examples(described: Answer, question: Answer) -> Answer:
    """A description with requests that are answered: chance alone makes no history of the right length."""
    infer = [
        {
            "name": name,
            "datatype": "BYTES" if isinstance(values[0], str) else "FP64",
            "shape": shape(values),
            "data": values,
        }
        for name, values in question["tensors"].items()
    ]
    examples = {
        "/v1/timeseries/forecast": question["document"],
        "/v1/timeseries/actuals": {"actuals": [{"series": "s01", "timestamp": "2024-05-01T00:00", "value": 3.5}]},
        "/v1/models/{model}:predict": question["v1"],
        "/v2/models/{model}/infer": {"id": "hello", "inputs": infer, "parameters": question["parameters"]},
    }
    for path, example in examples.items():
        operation = described["paths"][path]["post"]
        operation["requestBody"]["content"]["application/json"]["example"] = example
        for parameter in operation["parameters"]:
            parameter["example"] = question["model"]
    return described


def answered(report: Path) -> set[str]:
    """Operations that were asked at least once in a way that was answered."""
    events = [json.loads(line) for line in report.read_text().splitlines()]
    recorders = [event["ScenarioFinished"]["recorder"] for event in events if "ScenarioFinished" in event]
    return {
        recorder["label"]
        for recorder in recorders
        for interaction in recorder.get("interactions", {}).values()
        if (interaction.get("response") or {}).get("status_code") == 200
    }


def shape(values: list[Any]) -> list[int]:
    return [len(values), *([len(values[0])] if isinstance(values[0], list) else [])]


def test_no_answer_surprises(live: Server, question: Answer, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    tool = interpreter("schemathesis", pytestconfig).with_name("st")
    worker = live.worker.pid
    described = httpx.get(f"{live.url}/openapi.json", trust_env=False).json()
    (tmp_path / "openapi.json").write_text(json.dumps(with_examples(described, question)))
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    report = tmp_path / "report.ndjson"
    done = subprocess.run(
        [
            tool,
            "run",
            "openapi.json",
            "--url",
            live.url,
            "--checks",
            ",".join(CHECKS),
            *OPTIONS,
            "--report-ndjson-path",
            report,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert live.worker.pid == worker
    assert answered(report) == {
        f"{method.upper()} {path}" for path, operations in described["paths"].items() for method in operations
    }
