"""The loop: when it begins, what it does in which order, and that it goes on from wherever it was killed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ConfigError, RegistryError
from data.monitoring import Loop as Settings
from data.monitoring import Staleness
from data.verdict import Check, Outcome, Verdict
from deploy.faults import RolloutError
from monitoring import staleness
from monitoring.commands import retraining as commands
from monitoring.commands.retraining import pause, tried, turn
from monitoring.faults import LoopError, RefusedError, StopError
from monitoring.ledger import AWAY, HEALED, REFUSED, STOPPED, WAITING, Ledger, Retraining
from monitoring.loop import Loop, asks
from monitoring.staleness import Moment, Started
from tests.data import project

DAY = 86_400.0


class KilledError(BaseException):
    """kill -9, as far as Python code can tell."""


@dataclass
class World:
    """What steps did; each may be killed before or after it did it, or told to fail."""

    kill: int = -1
    fails: str = ""
    fault: Exception | None = None
    ends: tuple[str, str] = ("promoted", "all of 4 checks passed")
    says: bool | None = None
    done: list[str] = field(default_factory=list)
    calls: int = 0
    dies_telling: bool = False
    now: float = 1_000_000.0

    def _do(self, name: str) -> None:
        self._maybe_killed()
        if self.fails == name:
            raise self.fault or StopError(f"{name} does not want to")
        self.done.append(name)
        self._maybe_killed()

    def _maybe_killed(self) -> None:
        self.calls += 1
        if self.calls == self.kill:
            raise KilledError

    def fetch(self) -> None:
        self._do("fetch")

    def train(self) -> str:
        self._do("train")
        return "7"

    def build(self, version: str) -> str:
        self._do("build")
        return f"bentocast:of{version}"

    def proposed(self, retraining: Retraining) -> None:
        self.done.append(f"proposed {retraining.about['bento']}")

    def approved(self, retraining: Retraining) -> bool | None:
        assert retraining.about["bento"] == "bentocast:of7"
        return self.says

    def rollout(self, tag: str, since: float) -> tuple[str, str]:
        assert tag == "bentocast:of7"
        assert since <= self.now
        self._do("rollout")
        return self.ends

    def crown(self, version: str, tag: str, reason: str) -> None:
        assert (version, tag) == ("7", "bentocast:of7")
        assert reason
        self._do("crown")

    def told(self, retraining: Retraining) -> None:
        assert retraining.why
        self.done.append(f"told {retraining.state}{', not one to ship' if REFUSED in retraining.about else ''}")
        if self.dies_telling:
            self.dies_telling = False
            raise KilledError


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    made.close()


def loop(ledger: Ledger, world: World, **changes: Any) -> Loop:
    return Loop(Settings(**changes), ledger, world, lambda _: None, lambda: world.now)


def verdicts(outcome: Outcome = Outcome.FAIL, name: str = "quality") -> dict[str, Verdict]:
    return {name: Verdict.of([Check(name="MAE", outcome=outcome, text="MAE is twice the backtest's")])}


WHOLE = ["fetch", "train", "build", "rollout", "crown", "told healed"]


def test_a_failing_test_leads_to_a_new_champion(ledger: Ledger) -> None:
    world = World()
    done = loop(ledger, world).turn(verdicts())
    assert done is not None
    assert (done.state, done.reason) == (HEALED, "quality: MAE is twice the backtest's")
    assert done.about == {"version": "7", "bento": "bentocast:of7", "rollout": "all of 4 checks passed"}
    assert world.done == WHOLE
    assert ledger.under_way() is None


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.ERROR])
def test_nothing_but_a_failing_check_asks_for_a_model(ledger: Ledger, outcome: Outcome) -> None:
    world = World()
    assert loop(ledger, world).turn(verdicts(outcome)) is None
    assert not world.done


def test_a_failing_check_asks_even_where_another_one_could_not_be_run() -> None:
    mixed = Verdict.of(
        [Check(name="a", outcome=Outcome.ERROR, text="gone"), Check(name="b", outcome=Outcome.FAIL, text="worse")]
    )
    assert asks({"quality": mixed}, ("quality",)) == "quality: worse"


def test_only_the_tests_that_were_chosen_ask(ledger: Ledger) -> None:
    world = World()
    assert loop(ledger, world, tests=["staleness"]).turn(verdicts()) is None
    assert loop(ledger, world).turn(verdicts(name="cost")) is None


@pytest.mark.parametrize(
    ("what", "asking"),
    [
        ("data: the newest actual value", False),
        ("table: its newest row", True),
        ("features", True),
        ("training", True),
        ("model: the data that it was trained on", True),
        ("monitor: its test that ran longest ago", False),
        ("stage", False),
    ],
)
def test_of_ages_only_those_ask_that_a_new_model_makes_younger(what: str, asking: bool) -> None:  # noqa: FBT001
    at = 1_000_000.0
    moments = [] if what == "stage" else [Moment(what, 0.0, "in the record", "2d")]
    stages = [Started("ingest", 1.0, 0.0)] if what == "stage" else []
    told = staleness.judge(moments, stages, at, Staleness())
    assert told.outcome is Outcome.FAIL
    assert asks({"staleness": told}, ("staleness",)) == (f"staleness: {told.checks[0].text}" if asking else "")


@pytest.mark.parametrize("step", ["fetch", "train", "build", "rollout", "crown"])
def test_a_step_that_cannot_be_taken_stops_it_with_the_reason(ledger: Ledger, step: str) -> None:
    world = World(fails=step)
    done = loop(ledger, world).turn(verdicts())
    assert done is not None
    assert (done.state, done.step, done.why) == (STOPPED, step, f"{step} does not want to")
    assert world.done == [*WHOLE[: WHOLE.index(step)], "told stopped"]


@pytest.mark.parametrize("state", ["rolled back", "ended"])
def test_a_model_that_is_taken_back_is_not_crowned(ledger: Ledger, state: str) -> None:
    world = World(ends=(state, "slowness"))
    done = loop(ledger, world).turn(verdicts())
    assert done is not None
    assert (done.state, done.why) == (STOPPED, f"bentocast:of7 {state}: slowness")
    assert "crown" not in world.done
    assert world.done[-1] == "told stopped, not one to ship"


@pytest.mark.parametrize("step", ["train", "crown"])
def test_a_model_that_is_refused_is_told_from_one_that_could_not_be_made(ledger: Ledger, step: str) -> None:
    world = World(fails=step, fault=RefusedError("the gate did not pass"))
    done = loop(ledger, world).turn(verdicts())
    assert done is not None
    assert (done.state, done.about[REFUSED]) == (STOPPED, True)
    assert world.done[-1] == "told stopped, not one to ship"


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ("paused", "`python -m deploy resume`, `promote` or `abort`"),
        ("running", "the loop goes on when nobody drives it"),
    ],
)
def test_a_rollout_that_has_not_ended_is_waited_for(ledger: Ledger, state: str, what: str) -> None:
    """Somebody may have gone on with a paused one: it is the same rollout, and its model is crowned if it is promoted."""
    world = World(ends=(state, "undecided"))
    driver = loop(ledger, world)
    for _ in range(2):
        waiting = driver.turn({})
        waiting = driver.turn(verdicts())
        assert waiting is not None
        assert waiting.state == WAITING
        assert waiting.why == f"the rollout of bentocast:of7 is {state} (undecided): {what}"
    world.ends = ("promoted", "asked to promote")
    done = driver.turn({})
    assert done is not None
    assert done.state == HEALED
    assert world.done.count("train") == 1


@settings(max_examples=60, deadline=None)
@given(kill=st.lists(st.integers(1, 12), max_size=4))
def test_killed_anywhere_it_goes_on_and_does_every_step(
    tmp_path_factory: pytest.TempPathFactory, kill: list[int]
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    world = World()
    for at in kill:
        world.kill, world.calls = at, 0
        book = Ledger(url)
        try:
            loop(book, world).turn(verdicts())
        except KilledError:
            continue
        finally:
            book.close()
        break
    else:
        world.kill = -1
        book = Ledger(url)
        loop(book, world).turn(verdicts())
        book.close()
    book = Ledger(url)
    (only,) = book.all()
    book.close()
    assert only.state == HEALED
    assert list(dict.fromkeys(world.done)) == WHOLE
    order = [WHOLE.index(name) for name in world.done]
    assert order == sorted(order), "no step is taken again after a later one"


def test_killed_before_a_version_is_marked_as_taken_back_it_marks_it(ledger: Ledger) -> None:
    """Else the next one, without new data, would try the same version again."""
    world = World(ends=("rolled back", "slowness"), dies_telling=True)
    driver = loop(ledger, world)
    with pytest.raises(KilledError):
        driver.turn(verdicts())
    under_way = ledger.under_way()
    assert under_way is not None
    assert under_way.step == "rollout"
    done = driver.turn({})
    assert done is not None
    assert (done.state, done.why) == (STOPPED, "bentocast:of7 rolled back: slowness")
    assert world.done.count("told stopped, not one to ship") == 2
    assert world.done.count("build") == 1


def test_what_is_away_for_a_while_does_not_end_the_loop(ledger: Ledger, capfd: pytest.CaptureFixture[str]) -> None:
    class Away(World):
        def told(self, retraining: Retraining) -> None:
            if self.now < 2_000_000:
                raise RegistryError("MLflow does not answer")
            super().told(retraining)

    world = Away(ends=("rolled back", "slowness"))
    driver = loop(ledger, world)
    assert tried(driver, lambda: (verdicts(), None)) is None
    assert "MLflow does not answer; the loop tries again" in capfd.readouterr().err
    world.now = 2_000_000.0
    done = tried(driver, lambda: ({}, None))
    assert done is not None
    assert done.state == STOPPED
    assert world.done.count("build") == 1


AWAY_NOW = [
    (RegistryError("MLflow does not answer"), "MLflow does not answer"),
    (RolloutError("journal: connection refused"), "journal: connection refused"),
    (LoopError("monitoring.loop.fetch: `bring` ended with 1"), "monitoring.loop.fetch: `bring` ended with 1"),
    (
        OSError(28, "No space left", "l.log"),
        "[Errno 28] No space left: 'l.log': make room on the disk, or mend what this names",
    ),
]


@pytest.mark.parametrize(("fault", "text"), AWAY_NOW)
@pytest.mark.parametrize("step", ["fetch", "train", "build", "rollout", "crown"])
def test_a_step_that_misses_what_is_away_is_taken_again(ledger: Ledger, step: str, fault: Exception, text: str) -> None:
    world = World(fails=step, fault=fault)
    driver = loop(ledger, world)
    for late in (0.0, 60.0):
        world.now = 1_000_000.0 + late
        waiting = driver.turn(verdicts())
        assert waiting is not None
        assert (waiting.state, waiting.step, waiting.why) == (WAITING, step, f"{step}: {text}; it is tried again")
        assert waiting.about[AWAY] == 1_000_000.0
    world.fails = ""
    done = driver.turn({})
    assert done is not None
    assert done.about == {"version": "7", "bento": "bentocast:of7", "rollout": "all of 4 checks passed"}
    assert world.done == WHOLE


@pytest.mark.parametrize(
    ("step", "given_up"), [("fetch", True), ("train", True), ("build", True), ("rollout", False), ("crown", False)]
)
def test_what_is_away_for_long_ends_it_unless_users_may_have_the_model(
    ledger: Ledger,
    step: str,
    given_up: bool,  # noqa: FBT001
) -> None:
    world = World(fails=step, fault=RegistryError("MLflow does not answer"))
    driver = loop(ledger, world, at_most="1h", cooldown="1d")
    driver.turn(verdicts())
    world.now += 3_600
    waiting = driver.turn({})
    assert waiting is not None
    assert waiting.state == WAITING
    world.now += 1
    last = driver.turn({})
    assert last is not None
    if given_up:
        assert (last.state, last.why) == (STOPPED, f"{step}: MLflow does not answer; it was tried for 1h")
        assert world.done[-1] == "told stopped"
        assert driver.cooling() == DAY
    else:
        assert last.state == WAITING


def test_each_step_has_its_own_time_for_what_is_away(ledger: Ledger) -> None:
    world = World(fails="fetch", fault=LoopError("away"))
    driver = loop(ledger, world, at_most="1h")
    driver.turn(verdicts())
    world.now += 3_000
    world.fails = "build"
    driver.turn({})
    world.now += 3_000
    waiting = driver.turn({})
    assert waiting is not None
    assert (waiting.state, waiting.step) == (WAITING, "build")


def test_tests_are_not_run_while_a_retraining_is_under_way(ledger: Ledger) -> None:
    runs = 0

    def look() -> tuple[dict[str, Verdict], float | None]:
        nonlocal runs
        runs += 1
        return verdicts(), None

    world = World(ends=("paused", "undecided"))
    driver = loop(ledger, world)
    for _ in range(3):
        turn(driver, look)
    assert runs == 1
    world.ends = ("promoted", "asked to promote")
    tried(driver, look)
    assert (runs, world.done[-1]) == (1, "told healed")
    tried(driver, look)
    assert runs == 2


@pytest.mark.parametrize(
    ("ended", "about", "seconds"),
    [(2.0, {}, 3_600), (None, {}, 10), (None, {AWAY: 1.0}, 300), (2.0, {AWAY: 1.0}, 3_600)],
)
def test_what_waits_is_looked_at_sooner(ended: float | None, about: dict[str, float], seconds: float) -> None:
    state = Retraining(1, 1.0, ended, "worse", "train", dict(about), WAITING, "", "")
    assert pause(state, "1h") == seconds
    assert pause(state, "5s") == 5
    assert pause(None, "1h") == 3_600


def test_any_number_in_vain_waits_the_longest(ledger: Ledger) -> None:
    for number in range(1_100):
        ledger.end(ledger.begin("worse", "fetch", number).id, STOPPED, "in vain", number, {REFUSED: True})
    world = World(now=1_100.0)
    assert loop(ledger, world, cooldown="1d").cooling() == pytest.approx(16 * DAY, abs=10)


def test_one_that_made_no_model_does_not_make_the_next_wait_longer(ledger: Ledger) -> None:
    world = World(fails="train", fault=StopError("the table holds nothing new"))
    driver = loop(ledger, world, cooldown="1d")
    for wait in (DAY, DAY):
        assert driver.turn(verdicts()) is not None
        assert driver.cooling() == wait
        world.now += wait
    world.fault = RefusedError("the gate did not pass")
    assert driver.turn(verdicts()) is not None
    assert driver.cooling() == 2 * DAY


def test_after_one_that_came_to_nothing_the_next_waits_twice_as_long(ledger: Ledger) -> None:
    world = World(fails="train", fault=RefusedError("the gate did not pass"))
    driver = loop(ledger, world, cooldown="1d")
    waits = []
    for _ in range(6):
        assert driver.turn(verdicts()) is not None
        waits.append(driver.cooling() / DAY)
        assert driver.turn(verdicts()) is None
        world.now += driver.cooling()
    assert waits == [2, 4, 8, 16, 16, 16]
    world.fails = ""
    assert driver.turn(verdicts()) is not None
    assert driver.cooling() == DAY


def test_it_waits_for_the_word_of_a_person(ledger: Ledger) -> None:
    world = World()
    driver = loop(ledger, world, approval="command")
    for _ in range(3):
        waiting = driver.turn(verdicts())
        assert waiting is not None
        assert (waiting.state, waiting.step) == (WAITING, "approve")
    assert waiting is not None
    assert world.done == ["fetch", "train", "build", "proposed bentocast:of7"]
    ledger.wish(waiting.id, "approve")
    done = driver.turn({})
    assert done is not None
    assert done.state == HEALED


def test_a_person_may_reject_it(ledger: Ledger) -> None:
    world = World()
    driver = loop(ledger, world, approval="command")
    waiting = driver.turn(verdicts())
    assert waiting is not None
    ledger.wish(waiting.id, "reject")
    done = driver.turn({})
    assert done is not None
    assert (done.state, done.why) == (STOPPED, "bentocast:of7 was rejected")
    assert "rollout" not in world.done


@pytest.mark.parametrize(("says", "state"), [(True, HEALED), (False, STOPPED), (None, WAITING)])
def test_a_webhook_may_decide(ledger: Ledger, says: bool | None, state: str) -> None:  # noqa: FBT001
    done = loop(ledger, World(says=says), approval="webhook").turn(verdicts())
    assert done is not None
    assert done.state == state


def test_the_time_of_a_model_comes_though_no_test_asks(ledger: Ledger) -> None:
    world = World()
    driver = loop(ledger, world, schedule="28d")
    assert driver.turn({}, world.now - 28 * DAY) is None
    assert driver.turn({}, None) is None
    done = driver.turn({}, world.now - 28 * DAY - 1)
    assert done is not None
    assert done.reason == "schedule: the model's data ended more than 28d ago"
    assert loop(ledger, world, schedule=None).reason({}, 0.0) == ""


def test_somebody_may_ask_for_one_at_any_time(ledger: Ledger) -> None:
    world = World()
    done = loop(ledger, world, cooldown="1d").begin("new quality of data")
    assert (done.state, done.reason) == (HEALED, "new quality of data")
    assert loop(ledger, world).begin("once more").state == HEALED


def test_there_is_one_at_a_time(ledger: Ledger) -> None:
    ledger.begin("first", "fetch", 1.0)
    with pytest.raises(LoopError, match="a retraining is under way"):
        ledger.begin("second", "fetch", 2.0)


def test_a_ledger_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("no database")
    with pytest.raises(LoopError, match="ledger sqlite:///"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_loop_that_nobody_could_approve_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path))
    monkeypatch.delenv("MONITORING_APPROVAL_URL", raising=False)
    config = project.changed({"promote.champion": "rollout", "monitoring.loop.approval": "webhook"})
    with pytest.raises(
        ConfigError, match="got 'webhook', and MONITORING_APPROVAL_URL is not set: nobody could approve"
    ):
        commands.retrain(config, argparse.Namespace(params=Path("params.yaml"), reason="worse"))
