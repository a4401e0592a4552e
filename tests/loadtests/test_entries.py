from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.serving import entries
from loadtests.serving.entries import Answer, Entry, main_entry
from loadtests.serving.settings import NAMES, WORKS

QUANTILES = [0.1, 0.5, 0.9]
SERIES = [
    {
        "start_timestamp": "2024-01-01T00:00:00",
        "series": [float(place), 2.0, 3.0],
        "past_covariates": {"rain": [0.0, 1.0, 0.0]},
        "future_covariates": {"rain": [0.5, 0.25]},
        "quantiles": QUANTILES,
    }
    for place in range(256)
]
FORECAST = [[1.0, 2.0], [0.0, 0.5], [1.0, 2.0], [2.0, 3.0]]
TOLD = {"mean": FORECAST[0], "quantiles": dict(zip(map(str, QUANTILES), FORECAST[1:], strict=True))}
CONTENT = {"mean_forecast": TOLD["mean"], "quantiles": TOLD["quantiles"]}
#: What each server answers.
ANSWERS: dict[str, Any] = {
    "ours rows": {"outputs": [{"name": "point", "data": [1.0, 2.0]}]},
    "ours forecast": {"outputs": [{"content": [CONTENT]}]},
    "stock BentoML rows": [1.0, 2.0],
    "stock BentoML forecast": TOLD,
    "MLServer rows": {"outputs": [{"name": "predict", "data": [[1.0], [2.0]]}]},
    "MLServer forecast": {"outputs": [{"data": line} for line in FORECAST]},
    "mlflow models serve rows": {"predictions": [1.0, 2.0]},
    "mlflow models serve forecast": {"predictions": [TOLD]},
    "FastAPI + onnxruntime rows": {"predictions": [1.0, 2.0]},
    "FastAPI + onnxruntime forecast": TOLD,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Entry], dict[str, str]]:
    folder = tmp_path_factory.mktemp("models")
    contents = {"rows": ([[0.5] * 18] * 2, [[1.0, 2.0]]), "forecast": (SERIES, [FORECAST] * len(SERIES))}
    for work, (question, answer) in contents.items():
        (folder / work).mkdir()
        (folder / work / "question.json").write_text(json.dumps(question))
        (folder / work / "answer.json").write_text(json.dumps(answer))
    listed, missing = entries.table(folder, folder / "bodies", tuple(NAMES))
    return {entry.name: entry for entry in listed}, missing


def test_every_server_does_every_work(made: tuple[dict[str, Entry], dict[str, str]]) -> None:
    assert {main_entry(server, work) for server in NAMES for work in WORKS} <= set(made[0])


@pytest.mark.parametrize("name", list(ANSWERS))
def test_numbers_are_found_in_every_protocol(made: tuple[dict[str, Entry], dict[str, str]], name: str) -> None:
    entry = made[0][name]
    got = entry.numbers(Answer(json.dumps(ANSWERS[name]).encode(), {}))
    assert np.array_equal(got, entry.expected)


def test_bodies_hold_the_question(made: tuple[dict[str, Entry], dict[str, str]]) -> None:
    body = json.loads(made[0]["ours forecast: JSON, 32 series"].body.read_bytes())
    assert [one["series"][0] for one in body["inputs"]] == list(range(32))
    assert body["options"]["quantiles"] == QUANTILES
    rows = json.loads(made[0]["ours rows"].body.read_bytes())
    assert rows["inputs"][0]["shape"] == [2, 18]
    assert rows["outputs"] == [{"name": "point"}]


def test_one_request_may_hold_many_series(made: tuple[dict[str, Entry], dict[str, str]]) -> None:
    assert made[0]["ours forecast: V2 binary, 256 series"].series == 256
    assert made[0]["ours forecast"].series == 1


def test_what_cannot_be_asked_yet_is_named(made: tuple[dict[str, Entry], dict[str, str]]) -> None:
    listed, missing = made
    assert all("cannot be made yet" in why for why in missing.values())
    assert not set(missing) & set(listed)


def test_a_server_that_is_not_wanted_is_not_asked(tmp_path: Path) -> None:
    for work, question in (("rows", [[0.5]]), ("forecast", SERIES)):
        (tmp_path / work).mkdir()
        (tmp_path / work / "question.json").write_text(json.dumps(question))
        (tmp_path / work / "answer.json").write_text("[]")
    listed, missing = entries.table(tmp_path, tmp_path / "bodies", ("fastapi",))
    assert {entry.server for entry in listed} == {"fastapi"}
    assert missing == {}
