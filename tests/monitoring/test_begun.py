"""The step that brings a model to users: what it does with a rollout that was begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.journal import Journal
from deploy.place import Place
from deploy.rollouts.states import INTERRUPTED, PAUSED, RUNNING
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
