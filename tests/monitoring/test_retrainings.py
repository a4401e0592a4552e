"""What Prometheus is told of the loop: nothing where none ever ran, and else when it took a turn and what it does."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

import pytest

from data import params
from data.params import Params
from deploy.place import HOME, Place
from monitoring.commands import retraining
from monitoring.ledger import Ledger
from monitoring.retrainings import Retrainings
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]


class OverError(Exception):
    """A test has seen enough of the loop."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(HOME, str(tmp_path / "home"))
    return Place.of(os.environ)


@pytest.fixture
def config() -> Params:
    """A loop that no test asks for anything, beside a Prometheus that is away."""
    loaded = params.load(ROOT / "params.yaml").model_dump()
    loaded["promote"]["champion"] = "rollout"
    loaded["monitoring"] |= {"prometheus": f"http://127.0.0.1:{free_ports()}"}
    loaded["monitoring"]["loop"] |= {"tests": (), "schedule": None}
    return Params.model_validate(loaded)


def told(watched: Retrainings) -> dict[tuple[str, ...], float]:
    watched.look()
    return {
        (sample.name.removeprefix("retraining_"), *sample.labels.values()): sample.value
        for family in watched.collect()
        for sample in family.samples
    }


def run(config: Params, *, once: bool) -> int:
    asked = argparse.Namespace(once=once, params=ROOT / "params.yaml", prometheus=None, record=None)
    return retraining.loop(config, asked)


def test_nothing_is_told_where_no_loop_ever_ran_and_nothing_made(place: Place) -> None:
    assert told(Retrainings(place)) == {}
    assert not place.folder.exists()


def test_each_turn_of_the_loop_is_told_and_whether_it_is_there(
    place: Place, config: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, seen = Retrainings(place), list[dict[tuple[str, ...], float]]()

    def sleep(_: float) -> None:
        seen.append(told(watched))
        os.utime(place.turned, (1_000, 1_000))
        if len(seen) == 2:
            raise OverError

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(OverError):
        run(config, once=False)
    assert [one["loop_running",] for one in seen] == [1, 1]
    assert min(one["loop_turn_timestamp_seconds",] for one in seen) > 1.7e9
    assert told(watched) == {("loop_running",): 0, ("loop_turn_timestamp_seconds",): 1_000}
    place.turned.unlink()
    assert told(watched) == {}


def test_one_turn_by_hand_is_no_loop_that_is_missed(place: Place, config: Params) -> None:
    assert run(config, once=True) == 0
    assert told(Retrainings(place)) == {}


def test_the_newest_retraining_is_told_with_its_times(place: Place) -> None:
    place.folder.mkdir()
    place.turned.touch()
    ledger = Ledger(f"sqlite:///{place.journal}")
    watched = Retrainings(place)
    first = ledger.begin("quality", "fetch", 1_000.0)
    ledger.end(first.id, "stopped", "nothing is new", 2_000.0, {})
    second = ledger.begin("quality", "fetch", 3_000.0)
    ledger.step(second.id, "train", {})
    found = told(watched)
    assert (found["newest", "running", "train"], found["began_timestamp_seconds",]) == (1, 3_000)
    assert ("ended_timestamp_seconds",) not in found
    ledger.end(second.id, "healed", "it serves", 4_000.0, {})
    found = told(watched)
    assert (found["newest", "healed", "train"], found["ended_timestamp_seconds",]) == (1, 4_000)
    ledger.close()


def test_a_ledger_that_is_away_leaves_what_the_file_says(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Ledger) -> NoReturn:
        raise OverError

    place.folder.mkdir()
    place.turned.touch()
    watched = Retrainings(place)
    told(watched)
    monkeypatch.setattr(Ledger, "all", away)
    with pytest.raises(OverError):
        watched.look()
    watched.forget()
    assert {sample.name for family in watched.collect() for sample in family.samples} == {
        "retraining_loop_turn_timestamp_seconds",
        "retraining_loop_running",
    }
