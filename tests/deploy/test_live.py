"""A rollout while it goes on, on a terminal and in a pipe; the journal is a real one."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from data.deployment import Plan, Step
from data.rollout import Judgement
from deploy import __main__ as commands
from deploy.fleet import LOCK
from deploy.journal import Journal
from deploy.judging.counts import Pairs
from deploy.place import Place
from deploy.rollouts.live import BAR, EMPTY, FULL, Follower, Moment, picture
from deploy.rollouts.meter import Meter
from deploy.rollouts.progress import Counted, Progress
from deploy.router.counters import Counters

PLAN = Plan(steps=(Step(mirror=1.0, requests=200), Step(weight=0.1, requests=200, at_most="10min")))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def driven(place: Place) -> Iterator[ExitStack]:
    """Its command is there, until this is closed."""
    with ExitStack() as stack:
        stack.enter_context(place.held(LOCK, ""))
        yield stack


@pytest.fixture
def journal(place: Place, driven: ExitStack) -> Iterator[Journal]:
    made = Journal(f"sqlite:///{place.journal}")
    yield made
    made.close()


def begin(journal: Journal) -> int:
    progress = Progress("one", "two", 1)
    return journal.begin("canary", "b:one", "b:two", PLAN.model_dump(mode="json"), progress.written(), 1_000.0)


def look(journal: Journal, number: int, seen: int, step: int = 1, errors: int = 0) -> None:
    """So many requests of the candidate were counted in a step that has been driven for a minute."""
    within = {0.01: seen, math.inf: seen}
    sums = {"two": Counters(seen, errors, within), "one": Counters(9 * seen, 0, {0.01: 9 * seen, math.inf: 9 * seen})}
    progress = Progress("one", "two", 1, answers=Pairs(0, 50), counted=[Counted(step, False, Meter(sums))])  # noqa: FBT003
    progress.step, progress.spent = step, 60.0
    verdict = progress.verdict(PLAN.steps, Judgement())
    journal.look(number, progress.written(), {"step": step, "verdict": verdict.model_dump(mode="json")}, 2_001.0)


def shown(journal: Journal, place: Place, number: int) -> str:
    return "\n".join(picture(Moment.of(journal, place, number)))


def test_before_anything_is_counted(journal: Journal, place: Place) -> None:
    assert shown(journal, place, begin(journal)) == "canary 1 of b:two: running\n  starting"


def test_a_picture_of_a_step(journal: Journal, place: Place) -> None:
    number = begin(journal)
    look(journal, number, 50)
    told = shown(journal, place, number)
    assert "step 2 of 2: weight 10%" in told
    assert f"requests {FULL * 5}{EMPTY * 15} 50 of 200 wanted, 0 errors" in told
    assert f"time     {FULL * 2}{EMPTY * 18} 9 min left of 10min" in told
    rows = {row.split()[0]: row for row in told.splitlines()[5:]}
    assert set(rows) == {"check", "split", "errors", "refused", "slowness", "answers"}
    assert "inconclusive" in rows["errors"]
    assert rows["answers"].count("%") == 2
    assert rows["split"].count("%") == 1


def test_what_a_step_waits_for_is_told(journal: Journal, place: Place) -> None:
    number = begin(journal)
    look(journal, number, 150, errors=4, step=0)
    assert "waits" not in shown(journal, place, number), "it has not had its requests"
    look(journal, number, 250, errors=40, step=0)
    assert "waits" not in shown(journal, place, number), "it has failed"
    look(journal, number, 250, errors=4, step=1)
    assert "waits" not in shown(journal, place, number), "the last step waits for a pass"
    look(journal, number, 250, errors=4, step=0)
    assert "\n  waits    no more weight while there is doubt: errors\n" in shown(journal, place, number)
    journal.set_state(number, "paused", "")
    assert "waits" not in shown(journal, place, number), "nobody waits"


def test_a_pipe_is_told_when_doubt_comes_and_goes(journal: Journal, place: Place) -> None:
    number = begin(journal)
    acts: Iterator[Callable[[], None]] = iter(
        [
            lambda: look(journal, number, 210, errors=4, step=0),
            lambda: look(journal, number, 3_000, errors=4, step=0),
            lambda: journal.end(number, "promoted", "", 3_000.0),
        ]
    )
    look(journal, number, 190, errors=4, step=0)
    pipe = io.StringIO()
    Follower(journal, place, pipe, sleep=lambda _: next(acts)()).follow(number)
    assert [text.endswith("; no more weight while there is doubt: errors") for text in pipe.getvalue().splitlines()] == [
        False, True, False, False,
    ]  # fmt: skip


def test_evidence_of_harm_fills_its_bar(journal: Journal, place: Place) -> None:
    number = begin(journal)
    look(journal, number, 100, errors=60)
    row = next(row for row in shown(journal, place, number).splitlines() if row.startswith("  errors"))
    assert "fail" in row
    assert FULL * BAR in row


def test_a_terminal_is_redrawn_until_the_rollout_ends(journal: Journal, place: Place) -> None:
    number = begin(journal)
    acts: Iterator[Callable[[], None]] = iter(
        [
            lambda: look(journal, number, 50),
            lambda: look(journal, number, 60),
            lambda: journal.set_state(number, "paused", "asked to pause"),
            lambda: journal.end(number, "promoted", "all of 4 checks passed", 3_000.0),
        ]
    )
    terminal = Terminal()
    Follower(journal, place, terminal, sleep=lambda _: next(acts)()).follow(number)
    drawn = terminal.getvalue().split("\x1b[")
    assert len(drawn) == 1 + 2 * 4
    assert drawn[1] == "2F"  # up over the two lines of the beginning
    assert "canary 1 of b:two: paused: asked to pause" in terminal.getvalue()
    assert "canary 1 of b:two: promoted: all of 4 checks passed" in drawn[-1]


def test_a_pipe_gets_a_line_for_each_change(journal: Journal, place: Place) -> None:
    number = begin(journal)
    acts: Iterator[Callable[[], None]] = iter(
        [
            lambda: look(journal, number, 50, step=0),
            lambda: look(journal, number, 60, step=0),
            lambda: look(journal, number, 20),
            lambda: journal.end(number, "rolled back", "fail: errors", 3_000.0),
        ]
    )
    pipe = io.StringIO()
    Follower(journal, place, pipe, sleep=lambda _: next(acts)()).follow(number)
    lines = pipe.getvalue().splitlines()
    assert [text.partition(":")[0] for text in lines] == [
        "canary 1 of b", "step 1 of 2 (copies of 100%)", "step 2 of 2 (weight 10%)", "canary 1 of b",
    ]  # fmt: skip
    assert "50 requests, 0 errors; errors inconclusive" in lines[1]
    assert lines[-1] == "canary 1 of b:two: rolled back: fail: errors"


def test_one_whose_command_was_killed_does_not_run(journal: Journal, place: Place, driven: ExitStack) -> None:
    number = begin(journal)
    look(journal, number, 50, step=0)
    acts: Iterator[Callable[[], None]] = iter([driven.close, lambda: journal.end(number, "rolled back", "", 3_000.0)])
    pipe = io.StringIO()
    Follower(journal, place, pipe, sleep=lambda _: next(acts)()).follow(number)
    assert pipe.getvalue().splitlines()[1:] == [
        "canary 1 of b:two: gone: its command is gone: `resume` or `abort`",
        "canary 1 of b:two: rolled back",
    ]


def test_a_way_back_has_no_plan(journal: Journal, place: Place) -> None:
    number = journal.begin("rollback", "b:two", "b:one", {}, Progress("two", "one", 1).written(), 1.0)
    journal.end(number, "promoted", "asked to go back", 2.0)
    assert shown(journal, place, number) == "rollback 1 of b:one: promoted: asked to go back"


def test_help_lists_every_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commands.main(["--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: python -m deploy [--params FILE] COMMAND ...\n")
    listed = [name for names in commands.GROUPS.values() for name in names]
    assert len(listed) == len(set(listed)) == 22
    for name in listed:
        assert f"\n  {name} " in told
        with pytest.raises(SystemExit) as ended:
            commands.main([name, "--help"])
        assert ended.value.code == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        commands.main(["nothing"])
    known = capsys.readouterr().err
    assert set(re.findall(r"'?([a-z-]+)'?[,)]", known.partition("choose from")[2])) == set(listed)
