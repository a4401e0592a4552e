"""The exporter: what Prometheus is told of the seven tests, also when one of them hangs or dies."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from data.verdict import Check, Outcome, Verdict
from deploy.fleet import LOCK
from deploy.journal import Journal
from deploy.place import Place
from deploy.router.router import BACK
from monitoring.exporter import LONGEST_NAME, MOST_CHECKS, Exporter, Server
from monitoring.rollouts import Rollouts
from tests.monitoring.servers import wait_for


def verdict(outcome: Outcome, *checks: Check) -> Verdict:
    return Verdict.of([Check(name="first", outcome=outcome, text="as it is"), *checks])


class Asked:
    """An exporter that listens, and what its pages say."""

    def __init__(self, run: Callable[[str], Verdict], names: list[str], every: float = 60.0) -> None:
        self.exporter = Exporter(names, run, every)
        self.server = Server(("127.0.0.1", 0), self.exporter, lambda: "<p>the page</p>")
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.exporter.start()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.server.server_address[1]}{path}", trust_env=False)

    def series(self) -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {
            (sample.name, *(sample.labels[name] for name in ("test", "check") if name in sample.labels)): sample.value
            for family in families
            for sample in family.samples
        }

    def wait(self, *tests: str) -> dict[tuple[str, ...], float]:
        wait_for(lambda: set(tests) <= set(self.exporter.runs), "the tests do not end")
        return self.series()


@pytest.fixture
def exporting() -> Iterator[Callable[..., Asked]]:
    made: list[Asked] = []

    def make(run: Callable[[str], Verdict], names: list[str], every: float = 60.0) -> Asked:
        made.append(Asked(run, names, every))
        return made[-1]

    yield make
    for one in made:
        one.exporter.stop()
        one.server.shutdown()
        one.server.server_close()


def test_outcomes_are_numbers(exporting: Callable[..., Asked]) -> None:
    names = [outcome.value for outcome in Outcome]
    before = time.time()
    found = exporting(lambda name: verdict(Outcome(name)), names).wait(*names)
    assert {name: found["ml_test_outcome", name] for name in names} == {
        "pass": 0,
        "inconclusive": 1,
        "fail": 2,
        "error": 3,
    }
    for name in names:
        assert before <= found["ml_test_run_timestamp_seconds", name] <= time.time()
        assert 0 <= found["ml_test_duration_seconds", name] < 5


def test_checks_have_value_and_limit(exporting: Callable[..., Asked]) -> None:
    checks = (
        Check.at_most("age", 3.0, 2.0),
        Check.between("ratio", 0.5, 0.1, 0.9),
        Check.at_most("nan", math.nan, 1.0),
    )
    asked = exporting(lambda _: verdict(Outcome.PASS, *checks), ["staleness"])
    found = asked.wait("staleness")
    assert found["ml_test_check_value", "staleness", "age"] == 3.0
    assert found["ml_test_check_limit", "staleness", "age"] == 2.0
    assert found["ml_test_check_value", "staleness", "ratio"] == 0.5
    assert ("ml_test_check_limit", "staleness", "ratio") not in found
    told = asked.get("/verdicts").json()["staleness"]
    assert told["outcome"] == "error"
    assert told["checks"][1]["text"] == "age 3 > 2 (limit)"


def test_series_are_bounded(exporting: Callable[..., Asked]) -> None:
    checks = [Check.at_most(f"{number} {'x' * 500}", 1.0, 2.0) for number in range(1_000)]
    found = exporting(lambda _: verdict(Outcome.PASS, *checks), ["skew"]).wait("skew")
    assert len(found) == 3 + 2 * (MOST_CHECKS - 1)
    assert max(len(label) for _, *labels in found for label in labels) == LONGEST_NAME


def test_a_check_that_goes_is_not_told_for_ever(exporting: Callable[..., Asked]) -> None:
    runs: list[float] = []

    def run(_: str) -> Verdict:
        runs.append(time.time())
        return verdict(Outcome.PASS, Check.at_most(f"run {len(runs)}", 1.0, 2.0))

    asked = exporting(run, ["cost"], 0.01)
    wait_for(lambda: len(runs) > 10, "it is not run again")
    assert len([one for one in asked.wait("cost") if one[0] == "ml_test_check_value"]) == 1


def test_one_that_hangs_holds_up_nobody_and_has_never_run(exporting: Callable[..., Asked]) -> None:
    over = threading.Event()

    def run(name: str) -> Verdict:
        if name == "quality":
            over.wait()
        return verdict(Outcome.PASS)

    try:
        asked = exporting(run, ["quality", "cost"], 0.01)
        first = asked.wait("cost")["ml_test_run_timestamp_seconds", "cost"]
        wait_for(lambda: asked.series()["ml_test_run_timestamp_seconds", "cost"] > first, "the other is not run again")
        found = asked.series()
        assert found["ml_test_run_timestamp_seconds", "quality"] == 0
        assert ("ml_test_outcome", "quality") not in found
        assert asked.get("/verdicts").json()["quality"] is None
    finally:
        over.set()


def test_one_that_dies_keeps_its_time_and_is_tried_again(
    exporting: Callable[..., Asked], capfd: pytest.CaptureFixture[str]
) -> None:
    times: list[float] = []

    def run(_: str) -> Verdict:
        times.append(time.time())
        if len(times) == 2:
            raise OSError("the disk is gone")
        return verdict(Outcome.PASS)

    asked = exporting(run, ["cost"], 0.01)
    wait_for(lambda: len(times) > 5, "it is not tried again")
    assert asked.series()["ml_test_outcome", "cost"] == 0
    assert "cost: not run: OSError: the disk is gone" in capfd.readouterr().err


def test_other_paths_say_what_there_is(exporting: Callable[..., Asked]) -> None:
    answer = exporting(lambda _: verdict(Outcome.PASS), []).get("/other")
    assert answer.status_code == 404
    assert "/metrics" in answer.text


def test_the_page_is_drawn_once_for_all_who_ask() -> None:
    """Each drawing asks Prometheus and the record: a browser that reloads, or a stranger, costs no more than one."""
    drawn: list[float] = []

    def page() -> str:
        drawn.append(time.time())
        time.sleep(0.1)
        return f"<p>{len(drawn)}</p>"

    with Server(("127.0.0.1", 0), Exporter([], lambda _: verdict(Outcome.PASS), 60.0), page) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with ThreadPoolExecutor(8) as many:
            answers = list(many.map(lambda _: httpx.get(url, trust_env=False).text, range(16)))
        server.shutdown()
    assert answers == ["<p>1</p>"] * 16
    assert len(drawn) == 1


def test_the_json_is_json_whatever_a_check_says(exporting: Callable[..., Asked]) -> None:
    odd = Check(name="odd", outcome=Outcome.ERROR, text="odd", numbers={"value": math.inf, "limit": math.nan})
    asked = exporting(lambda _: verdict(Outcome.PASS, odd), ["cost"])
    asked.wait("cost")

    def refuse(name: str) -> float:
        raise AssertionError(name)

    json.loads(asked.get("/verdicts").text, parse_constant=refuse)


# Rollouts


def told(rollouts: Rollouts) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in rollouts.collect()
        for sample in family.samples
    }


def test_nothing_is_told_of_no_deployment_and_nothing_made(tmp_path: Path) -> None:
    rollouts = Rollouts(Place(tmp_path / "none"))
    rollouts.look()
    assert told(rollouts) == {}
    assert not (tmp_path / "none").exists()


def test_a_state_that_cannot_be_read_is_not_told_for_ever(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path)
    journal = Journal(f"sqlite:///{place.journal}")
    rollouts = Rollouts(place)
    journal.put_state({"revision": 1, "stable": "one", "weights": {"one": 10_000}, "mirror": None, "choices": []})
    rollouts.look()
    assert told(rollouts) == {("rollout_weight_ratio", "one"): 1}
    journal.put_state({"of": "a newer version"})
    rollouts.start()
    wait_for(lambda: told(rollouts) == {}, "it is told still")
    rollouts.stop()
    journal.close()
    assert "rollouts: KeyError: " in capfd.readouterr().err


def test_a_rollout_that_nobody_drives_is_gone(tmp_path: Path) -> None:
    """The journal goes on saying that it runs after its command was killed; only the lock tells."""
    place = Place(tmp_path)
    journal = Journal(f"sqlite:///{place.journal}")
    rollouts = Rollouts(place)
    journal.begin("canary", "bentocast:one", "bentocast:two", {}, {}, now=1_000.0)
    labels = "rollout_under_way", "canary", "bentocast:one", "bentocast:two"
    with place.held(LOCK, "it is driven"):
        rollouts.look()
        assert told(rollouts)[*labels, "running"] == 1
    rollouts.look()
    assert told(rollouts)[*labels, "gone"] == 1
    journal.close()


def test_a_rollout_is_told_until_it_ends(tmp_path: Path) -> None:
    place = Place(tmp_path)
    journal = Journal(f"sqlite:///{place.journal}")
    rollouts = Rollouts(place)
    weights = {"one": 9_000, "two": 1_000}
    journal.put_state({"revision": 1, "stable": "one", "weights": weights, "mirror": None, "choices": []})
    number = journal.begin("canary", "bentocast:one", "bentocast:two", {}, {}, now=1_000.0)
    journal.set_state(number, "paused", "undecided")
    rollouts.look()
    assert told(rollouts) == {
        ("rollout_under_way", "canary", "bentocast:one", "bentocast:two", "paused"): 1,
        ("rollout_began_timestamp_seconds",): 1_000,
        ("rollout_weight_ratio", "one"): pytest.approx(0.9),
        ("rollout_weight_ratio", "two"): pytest.approx(0.1),
    }
    routes = place.router / "routes" / "routes.yaml"
    routes.parent.mkdir(parents=True)
    routes.write_text(f"version_info: 2{BACK}")  # users were brought back while the journal was away
    rollouts.look()
    assert told(rollouts)["rollout_weight_ratio", "one"] == 1
    assert ("rollout_weight_ratio", "two") not in told(rollouts)
    journal.end(number, "promoted", "", now=2_000.0)
    journal.put_state({})
    rollouts.look()
    assert told(rollouts) == {}
    journal.close()
