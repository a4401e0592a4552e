"""Dashboards: what Grafana reads, and every expression answered by a real Prometheus that watches a real service."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from data import drift, params, pushing
from deploy.journal import Journal
from deploy.place import Place
from monitoring import dashboards, panels, recording
from monitoring.prometheus import Prometheus
from tests.monitoring.servers import program, wait_for
from tests.monitoring.test_up import Up
from tests.service import live, world

ROOT = Path(__file__).parents[2]
CONFIG = params.load(ROOT / "params.yaml")
EXPRESSIONS = [
    (name, panel.title, expression)
    for name, shown in panels.panels(CONFIG).items()
    for panel in shown
    for expression, _ in panel.queries
]
#: Series that Prometheus may hold for one instance with 20 features.
MOST_SERIES, FEATURES = 2_000, 20


def test_files_are_what_grafana_imports(tmp_path: Path) -> None:
    written = dashboards.write(tmp_path, CONFIG)
    assert [path.stem for path in written] == ["service", "model", "data", "rollout"]
    made = [json.loads(path.read_text()) for path in written]
    assert len({one["uid"] for one in made}) == 4
    for one in made:
        places = [tuple(panel["gridPos"].values()) for panel in one["panels"]]
        assert len(set(places)) == len(places)
        for panel in one["panels"]:
            assert panel["datasource"]["uid"] == "${source}"
            assert panel["targets"]
    assert sorted(target["expr"] for one in made for panel in one["panels"] for target in panel["targets"]) == sorted(
        expression for *_, expression in EXPRESSIONS
    )


def test_every_recorded_name_is_recorded() -> None:
    recorded = {rule["record"] for group in recording.groups(CONFIG) for rule in group["rules"] if "record" in rule}
    asked = {word.strip("()") for *_, expression in EXPRESSIONS for word in expression.split() if ":" in word}
    assert len(asked) > 8
    assert asked <= recorded


@pytest.mark.services
def test_every_expression_can_be_parsed(tmp_path: Path) -> None:
    made = [{"record": f"panel:{number}", "expr": expression} for number, (*_, expression) in enumerate(EXPRESSIONS)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    done = subprocess.run([program("promtool"), "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Watched:
    """A service that is asked, and the Prometheus that watches it."""

    url: str
    features: int

    def ask(self, expression: str) -> dict[str, float]:
        found = Prometheus(self.url, time.time()).query(expression)
        return {json.dumps(dict(sample.labels), sort_keys=True): sample.value for sample in found}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    for name in ("prometheus", "prometheus-alertmanager", "prometheus-pushgateway"):
        program(name)
    folder = tmp_path_factory.mktemp("watched")
    city = world.make(world.CITY, 0.0, folder / "city")
    place = Place(folder / "home" / "none")
    place.folder.mkdir(parents=True)
    journal = Journal(f"sqlite:///{place.journal}")
    journal.put_state({"revision": 1, "stable": "a", "weights": {"a": 10_000}, "mirror": None, "choices": []})
    journal.begin("canary", "bentocast:a", "bentocast:b", {}, {}, now=time.time())
    journal.close()
    with live.serve(city.folder, folder) as service:
        up = Up(folder / "home", "--target", f"127.0.0.1:{service.port}")
        try:
            said = up.wait()
            gateway = next(line.split("//")[1] for line in said.splitlines() if line.startswith("Pushgateway"))
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(os.environ, pushing.GATEWAY, gateway)
                with pushing.told("train"):
                    pass
            body = city.document(city.history())
            result = Watched(f"http://127.0.0.1:{up.port}", len(city.forecaster.card.reference.features))

            def asked() -> bool:
                answer = httpx.post(f"{service.url}/v1/timeseries/forecast", json=body, trust_env=False)
                assert answer.status_code == 200, answer.text
                # The slowest to come is what is recorded from what is recorded.
                return bool(result.ask("feature:model_feature:psi1h") and result.ask("job:request_slow:ratio_rate6h"))

            wait_for(asked, "nothing is recorded", 180)
            yield result
        finally:
            assert up.end() == 0


@pytest.mark.services
@pytest.mark.parametrize(
    ("dashboard", "title", "expression"),
    EXPRESSIONS,
    ids=[f"{name}-{number}" for number, (name, *_) in enumerate(EXPRESSIONS)],
)
def test_every_expression_is_answered(watched: Watched, dashboard: str, title: str, expression: str) -> None:
    if "envoy" in expression:  # there is no router here: see test_envoy.py
        assert not watched.ask(expression)
    elif "psi_noise" in expression:  # there are not enough values for it
        assert all(value < drift.CHANCE / drift.FEWEST for value in watched.ask(expression).values())
    else:  # each group of rules has its own turn within the interval
        wait_for(lambda: bool(watched.ask(expression)), f"{dashboard}: {title}: no answer to {expression}")


@pytest.mark.services
def test_series_of_an_instance_are_bounded(watched: Watched) -> None:
    """What it is asked for, and what is recorded of that; most of both is a bin of a feature."""
    (whole,) = watched.ask('count({job="bentocast"})').values()
    by_feature = max(watched.ask('count by (feature) ({job="bentocast",feature!=""})').values())
    assert watched.features > 10
    assert by_feature > 10
    assert whole + (FEATURES - watched.features) * by_feature <= MOST_SERIES
    assert not watched.ask('{pid!=""}')
