"""The step that brings a model to users: what it does with a rollout that was begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.fleet import LOCK
from deploy.journal import Journal
from deploy.place import Place
from deploy.rollouts.states import INTERRUPTED, PAUSED, RUNNING
from monitoring.faults import RefusedError, StopError, WaitError
from monitoring.steps import Commands
from tests.data import project

TAG = "bentocast:two"


@dataclass(frozen=True)
class Noted(Commands):
    """Commands that are noted; each brings the rollout to its end."""

    journal: Journal | None = None
    noted: list[str] = field(default_factory=list)

    def _run(self, *command: str, at_most: str | None = None) -> tuple[int, str]:
        assert self.journal is not None
        assert at_most is None
        self.noted.append(command[5])
        under_way = self.journal.under_way()
        number = under_way.id if under_way else begin(self.journal)
        self.journal.end(number, "promoted", "it passed", 3.0)
        return 0, ""


class Late(Noted):
    """Commands before which somebody begins a rollout."""

    def _run(self, *_: str, **__: object) -> tuple[int, str]:
        assert self.journal is not None
        self.journal.begin("canary", "bentocast:one", "bentocast:hers", {}, {}, now=2.0)
        return 2, "error: a rollout is under way"


class Refused(Commands):
    """Commands that fail."""

    def _run(self, *_: str, **__: object) -> tuple[int, str]:
        return 10, "error: nothing is up\n"


def begin(journal: Journal) -> int:
    return journal.begin("canary", "bentocast:one", TAG, {}, {}, now=2.0)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Noted]:
    place = Place(tmp_path)
    journal = Journal(f"sqlite:///{place.journal}")
    yield Noted(project.changed(), Path("params.yaml"), place, tmp_path / "log", lambda _: None, journal)
    journal.close()


@pytest.mark.parametrize(
    ("state", "reason", "noted", "ends"),
    [
        (RUNNING, "", ["resume"], "promoted"),
        (PAUSED, INTERRUPTED, ["resume"], "promoted"),
        (PAUSED, "asked to pause", [], PAUSED),
    ],
)
def test_what_was_begun_goes_on_unless_a_person_decides(
    commands: Noted, state: str, reason: str, noted: list[str], ends: str
) -> None:
    """Ctrl-C, or a second kill, pauses the canary of a loop; the loop that comes after goes on with it."""
    assert commands.journal is not None
    commands.journal.set_state(begin(commands.journal), state, reason)
    assert commands.rollout(TAG, since=1.0)[0] == ends
    assert commands.noted == noted


@pytest.mark.parametrize(("state", "reason"), [(RUNNING, ""), (PAUSED, INTERRUPTED)])
def test_what_somebody_goes_on_with_is_not_resumed_as_well(commands: Noted, state: str, reason: str) -> None:
    """As the runbook of a paused rollout says: its end is the loop's too."""
    assert commands.journal is not None
    number = begin(commands.journal)
    commands.journal.set_state(number, state, reason)
    with commands.place.held(LOCK, "nobody else has it"):
        assert commands.rollout(TAG, since=1.0) == (state, reason or "another command drives it")
    commands.journal.end(number, "promoted", "it passed", 3.0)
    assert commands.rollout(TAG, since=1.0) == ("promoted", "it passed")
    assert not commands.noted


def test_a_rollout_of_somebody_else_is_waited_for(commands: Noted) -> None:
    assert commands.journal is not None
    number = commands.journal.begin("blue-green", "bentocast:one", "bentocast:hers", {}, {}, now=2.0)
    with pytest.raises(
        WaitError, match=r"^blue-green of bentocast:hers is under way \(running\), and there can be one rollo"
    ):
        commands.rollout(TAG, since=1.0)
    commands.journal.end(number, "promoted", "it passed", 3.0)
    with (
        commands.place.held(LOCK, "nobody else has it"),
        pytest.raises(WaitError, match=r"^another command changes the deployment"),
    ):
        commands.rollout(TAG, since=1.0)
    assert not commands.noted
    assert commands.rollout(TAG, since=1.0)[0] == "promoted"
    assert commands.noted == ["canary"]


def test_who_came_first_is_waited_for(commands: Noted) -> None:
    late = Late(commands.params, commands.file, commands.place, commands.log, commands.say, commands.journal)
    with pytest.raises(WaitError, match=r"^canary of bentocast:hers is under way \(running\)"):
        late.rollout(TAG, since=1.0)


def test_a_rollout_that_does_not_begin_stops_it_with_its_last_words(commands: Noted) -> None:
    """Which say nothing about the model."""
    refusing = Refused(commands.params, commands.file, commands.place, commands.log, commands.say)
    with pytest.raises(StopError) as stopped:
        refusing.rollout(TAG, since=1.0)
    assert (
        stopped.value.message == f"the rollout of {TAG} did not begin: its command ended with 10: error: nothing is up"
    )
    assert not isinstance(stopped.value, RefusedError)


def test_a_rollout_whose_command_is_killed_is_the_loops_to_resume(commands: Noted) -> None:
    assert commands.journal is not None
    begin(commands.journal)
    killed = Refused(commands.params, commands.file, commands.place, commands.log, commands.say)
    assert killed.rollout(TAG, since=1.0) == (RUNNING, "its command ended with 10: error: nothing is up")
