"""A retraining with the real dvc, MLflow, BentoML and Envoy, killed on the way, and brought to users under load."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from mlflow import MlflowClient

from data import params
from monitoring.ledger import Ledger, Retraining
from monitoring.simulation.city import City
from monitoring.simulation.project import ROOT, TABLE, Project
from tests.ports import free_ports
from tests.training import tiny

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(900),
    *(pytest.mark.filterwarnings(text) for text in tiny.MLFLOW),
]

#: A training and a build on a busy machine.
REACHED_SECONDS = 400.0
TREES = {"max_iter": 10, "max_leaf_nodes": 7, "min_samples_leaf": 20}


class Town:
    """A small project whose first Bento serves."""

    def __init__(self, folder: Path) -> None:
        port = free_ports()
        self.url = f"http://127.0.0.1:{port}"
        judge = {
            "requests": 50,
            "slowness": {"tolerated": 3.0, "excluded": 10.0, "share": 0.2},
            "errors": {"share": 0.1},
        }
        self.project = Project.make(
            folder / "project",
            {
                "ingest": {"source": "parquet", "path": TABLE},
                "backtest": {"folds": 3, "fold": "7d", "every": "7d", "stride": 24},
                "train": {"max_rows": 4_000, "point": TREES, "spread": TREES},
                "promote": {
                    "champion": "rollout",
                    "gate": {
                        "min_days": 10,
                        "coverage_tolerance": 0.5,
                        "max_ratio_to_naive": 5.0,
                        "max_ratio_to_champion": 2.0,
                    },
                },
                "deploy": {"router": {"port": port, "admin_ports": [free_ports()]}, "judgement": judge},
                "monitoring": {
                    "prometheus": "http://127.0.0.1:9",
                    "loop": {"rollout": {"steps": [{"weight": 0.5, "requests": 50, "at_most": "2min"}]}},
                },
            },
        )
        config = params.load(ROOT / "params.yaml")
        made = config.ingest.sample.model_copy(update={"stations": 2, "start": "2024-01-01", "end": "2024-05-31T23:00"})
        self.city = City.of(config, made)
        self.told: Counter[int] = Counter()

    def train_until(self, day: str) -> None:
        self.project.write(self.city.table(self.project.config(), self.city.at(np.datetime64(day))))

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "monitoring", *arguments],
            cwd=self.project.folder,
            env=self.project.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.begin(*arguments)
        told, _ = process.communicate()
        return process.returncode, told

    def last(self) -> Retraining:
        ledger = Ledger(f"sqlite:///{self.project.folder.parent / 'deployment' / 'journal.db'}")
        try:
            return ledger.all()[0]
        finally:
            ledger.close()

    def aliases(self) -> dict[str, str]:
        client = MlflowClient(self.project.environment["MLFLOW_TRACKING_URI"])
        return {name: str(one) for name, one in client.get_registered_model("bentocast").aliases.items()}

    @contextmanager
    def users(self) -> Iterator[None]:
        over = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=self.url, timeout=30) as client:
                body = client.get("/v1/timeseries/examples").json()["examples"][0]["request"]
                while not over.wait(0.02):
                    self.told[client.post("/v1/timeseries/forecast", json=body).status_code] += 1

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Town(tmp_path_factory.mktemp("town"))
    made.train_until("2024-05-01")
    tag = made.project.bento()
    made.project.deploy("up", tag)
    yield made
    made.project.deploy("down")


def test_a_model_that_is_made_anew_comes_to_users_and_is_champion(town: Town) -> None:
    town.train_until("2024-05-08")
    with town.users():
        code, told = town.run("retrain", "--reason", "a week of data has come")
    assert code == 0, told
    done = town.last()
    assert (done.state, done.about["version"]) == ("healed", "2")
    assert town.aliases() == {"challenger": "2", "champion": "2"}
    with httpx.Client() as client:
        body = client.get(f"{town.url}/v1/timeseries/examples").json()["examples"][0]["request"]
        answer = client.post(f"{town.url}/v1/timeseries/forecast", json=body)
    assert (answer.headers["x-model-version"], answer.headers["x-bento"]) == ("2", done.about["bento"])
    assert set(town.told) == {200}


def test_without_new_data_it_stops_and_says_so(town: Town) -> None:
    before = town.aliases()
    code, told = town.run("retrain", "--reason", "just so")
    assert code == 7
    assert "the table holds nothing new" in told
    assert town.aliases() == before


@pytest.mark.parametrize(("step", "day"), [("train", "2024-05-15"), ("rollout", "2024-05-22")])
def test_killed_on_the_way_it_goes_on(town: Town, step: str, day: str) -> None:
    champion = int(town.aliases()["champion"])
    town.train_until(day)
    with town.users():
        process = town.begin("retrain", "--reason", f"until {day}")
        try:
            late = time.monotonic() + REACHED_SECONDS
            while town.last().step != step or town.last().ended is not None:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < late
                time.sleep(0.1)
            time.sleep(3.0)
        finally:
            process.kill()
            process.communicate()
        assert town.last().ended is None
        code, told = town.run("loop", "--once")
    assert code == 0, told
    assert (town.last().state, town.last().about["version"]) == ("healed", str(champion + 1))
    assert town.aliases()["champion"] == str(champion + 1)
    assert set(town.told) == {200}


def test_with_the_gate_crowning_the_loop_does_not_start(town: Town) -> None:
    own = town.project.params.read_text()
    town.project.params.write_text(own.replace("champion: rollout", "champion: gate"))
    try:
        code, told = town.run("loop", "--once")
    finally:
        town.project.params.write_text(own)
    assert code == 2
    assert "promote.champion: got 'gate', wanted 'rollout'" in told
