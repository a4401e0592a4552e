"""One real service for all client libraries, what each of them asks it, and the service's own answer to that."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.clients import environments
from tests.service.conftest import city
from tests.service.live import Server, serve
from tests.service.world import World

__all__ = ["city"]

HERE = Path(__file__).parent
STEPS, LEVELS = 6, (0.1, 0.9)
ASK_SECONDS = 60

Answer = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.clients)


@pytest.fixture(scope="package")
def live(city: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(city.folder, tmp_path_factory.mktemp("live"), drain_seconds=0) as served:
        yield served


@pytest.fixture(scope="package")
def question(live: Server, city: World) -> Answer:
    """Three series with covariates, in every form that a client may want them in."""
    document = city.document(*city.histories(3), horizon=STEPS, quantiles=list(LEVELS))
    inputs = document["inputs"]
    features = np.random.default_rng(5).uniform(0, 2, (4, len(city.forecaster.design.names)))
    return {
        "http": f"127.0.0.1:{live.port}",
        "url": live.url,
        "grpc": live.grpc,
        "model": "bentocast",
        "rows model": "bentocast-rows",
        "document": document,
        "v1": {"instances": inputs, "parameters": document["options"]},
        "tensors": {
            "series": [series["series"] for series in inputs],
            "start_timestamp": [series["start_timestamp"] for series in inputs],
            "name": [series["name"] for series in inputs],
            "quantiles": list(LEVELS),
            **{
                f"{kind}.{name}": [series[kind][name] for series in inputs]
                for kind in ("past_covariates", "future_covariates")
                for name in inputs[0][kind]
            },
        },
        "parameters": {"horizon": STEPS},
        "outputs": ["mean", "quantiles", "start_timestamp"],
        "features": features.tolist(),
    }


@pytest.fixture(scope="package")
def native(question: Answer) -> Answer:
    """The answer of the Time Series API, in tensors."""
    answer = httpx.post(f"{question['url']}/v1/timeseries/forecast", json=question["document"], trust_env=False)
    assert answer.status_code == 200, answer.text
    return as_tensors(content for output in answer.json()["outputs"] for content in output["content"])


@pytest.fixture(scope="package")
def rows(question: Answer, city: World) -> Answer:
    """What the trees say of the features."""
    point, spread = city.forecaster.run(np.array(question["features"], dtype=np.float32))
    return {"point": point.tolist(), "spread": spread.tolist()}


@pytest.fixture(scope="package")
def ask(question: Answer, pytestconfig: pytest.Config) -> Callable[[str], Answer]:
    """Runs a client's script in its own environment, and gives what it printed."""
    told: dict[str, Answer] = {}

    def asked(name: str) -> Answer:
        if name not in told:
            told[name] = _run(interpreter(name, pytestconfig), HERE / name / "ask.py", json.dumps(question))
        return told[name]

    return asked


def as_tensors(contents: Iterator[Answer]) -> Answer:
    """Names, starts, means and quantiles of the Time Series API, as the Open Inference Protocol has them."""
    series = list(contents)
    return {
        "mean": [one["mean_forecast"] for one in series],
        "quantiles": [[one["quantiles"][str(level)] for level in LEVELS] for one in series],
        "start_timestamp": [one["start_timestamp"] for one in series],
    }


def interpreter(name: str, config: pytest.Config) -> Path:
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():  # uv shows how far it is
            return environments.python(name)
    except environments.UnreachableError as err:
        pytest.skip(str(err))


def _run(interpreter: Path, script: Path, question: str) -> Answer:
    done = subprocess.run(
        [interpreter, script], input=question, capture_output=True, text=True, check=False, timeout=ASK_SECONDS
    )
    assert done.returncode == 0, done.stderr
    told: Answer = json.loads(done.stdout)
    return told
