"""A rollout as Argo Rollouts would drive it: each analysis of the rendered steps, asked of the real judge over HTTP, which reads
a real Prometheus. Only the cluster is missing, and time runs a hundred times as fast."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deploy.verdicts import server
from deploy.verdicts.prometheus import Prometheus
from tests.deploy.kubernetes.cluster import config, made
from tests.deploy.kubernetes.test_render import verdicts_of
from tests.deploy.verdicts.test_server import serving
from tests.deploy.verdicts.town import MARKS, Town

pytestmark = MARKS
FASTER = 100.0
PLAN = {"steps": [{"weight": 0.25, "requests": 300}, {"weight": 0.5, "requests": 800}]}
VERSIONS = {"stable": "old", "candidate": "new"}


@pytest.fixture(scope="module")
def judge(town: Town) -> Iterator[httpx.Client]:
    """Over HTTP, as in the cluster."""

    def none(_: int | None) -> Any:
        raise AssertionError("nobody asks for a rollout of this machine")

    with serving(server.Judge(config().judgement, Prometheus(town.url), none)) as client:
        yield client


def rollout(town: Town, judge: httpx.Client, **traffic: float) -> tuple[str, list[int]]:
    """How Argo Rollouts would end it, and the weights that there were."""
    production = made("production", canary=PLAN)
    templates = {one["metadata"]["name"]: one["spec"] for one in production["AnalysisTemplate"]}
    (kustomization,) = production["Kustomization"]
    steps = next(one["value"]["steps"] for one in _patches(kustomization) if one["path"] == "/spec/strategy/canary")
    weights: list[int] = []
    for step in steps:
        if "setWeight" in step:
            weights.append(step["setWeight"])
            continue
        (name,) = (one["templateName"] for one in step["analysis"]["templates"])
        phase = analysis(town, judge, templates[name], weights[-1] / 100, **traffic)
        if phase != "Successful":
            return phase, weights
    return "Successful", weights


def _patches(kustomization: dict[str, Any]) -> list[dict[str, Any]]:
    import yaml

    return [one for patch in kustomization["patches"] for one in yaml.safe_load(patch["patch"])]


def analysis(town: Town, judge: httpx.Client, spec: dict[str, Any], weight: float, **traffic: float) -> str:
    """One AnalysisRun: metrics at their moments, while users send requests; failed at the first that fails."""
    metrics = sorted(spec["metrics"], key=_delay)
    lasting = _delay(metrics[-1]) / FASTER + 0.5
    users = threading.Thread(target=town.traffic, args=(weight, lasting), kwargs=traffic)
    began = time.monotonic()
    users.start()
    phases = []
    try:
        for metric in metrics:
            time.sleep(max(0.0, began + _delay(metric) / FASTER - time.monotonic()))
            good, bad = verdicts_of(metric, answer(judge, metric))
            if bad:
                return "Failed"
            phases.append(good)
    finally:
        users.join()
    return "Successful" if all(phases) else "Inconclusive"


def answer(judge: httpx.Client, metric: dict[str, Any]) -> dict[str, Any]:
    """What the judge says, asked as the metric says, but for the pace of time."""
    web = metric["provider"]["web"]
    text = web["body"]
    for name, value in VERSIONS.items():
        text = text.replace(f"{{{{args.{name}}}}}", value)
    body = json.loads(text)
    for phase in body["phases"]:
        phase["began"] /= FASTER
    headers = {one["key"]: one["value"] for one in web["headers"]}
    told = judge.request(web["method"], "/verdict", content=json.dumps(body), headers=headers)
    assert told.status_code == 200, told.text
    document = told.json()
    return {"outcome": document["outcome"], "requests": document["requests"]}


def _delay(metric: dict[str, Any]) -> float:
    return float(metric["initialDelay"].removesuffix("s"))


def test_a_candidate_like_the_stable_version_goes_all_the_way(town: Town, judge: httpx.Client) -> None:
    assert rollout(town, judge) == ("Successful", [25, 50])


def test_one_that_fails_does_not_come_further(town: Town, judge: httpx.Client) -> None:
    assert rollout(town, judge, errors=0.2) == ("Failed", [25])


def test_one_that_is_slow_does_not_come_further(town: Town, judge: httpx.Client) -> None:
    assert rollout(town, judge, slower=6.0) == ("Failed", [25])


def test_without_traffic_nothing_goes_on(town: Town, judge: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(town, "traffic", lambda _weight, seconds, **_: time.sleep(seconds))
    time.sleep(1.0)
    assert rollout(town, judge) == ("Inconclusive", [25])
