"""The journal keeps what is written, and lets one rollout be open at a time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.faults import BusyError, RolloutError
from deploy.journal import Journal


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    """Of either kind."""
    made = Journal(url)
    yield made
    made.close()


def begin(journal: Journal, now: float = 1.0) -> int:
    return journal.begin("canary", "b:one", "b:two", {"steps": []}, {"step": -1}, now)


def test_what_is_written_is_there_for_the_next_process(journal: Journal, url: str) -> None:
    number = begin(journal)
    journal.step(number, {"step": 0}, {"weight": 0.1}, 2.0)
    journal.look(number, {"step": 0, "seen": 5}, {"counts": {}}, 3.0)
    journal.wish(number, "abort")
    journal.put_state({"revision": 1})
    journal.put_state({"revision": 2})
    other = Journal(url)
    rollout = other.under_way()
    assert rollout is not None
    assert (rollout.id, rollout.state, rollout.wish, rollout.candidate) == (number, "running", "abort", "b:two")
    assert other.progress(number) == {"step": 0, "seen": 5}
    assert [event.kind for event in other.events(number)] == ["step", "look"]
    last = other.last(number, "step")
    assert last is not None
    assert last.about == {"weight": 0.1}
    assert other.last(number, "ending") is None
    assert other.state() == {"revision": 2}
    other.close()


def test_two_rollouts_at_once_are_refused(journal: Journal) -> None:
    number = begin(journal)
    with pytest.raises(BusyError, match=r"a rollout is under way: canary of b:two \(running\); there can be one"):
        begin(journal)
    journal.end(number, "promoted", "all checks passed", 9.0)
    assert journal.under_way() is None
    assert begin(journal, 10.0) > number
    assert [one.state for one in journal.rollouts()] == ["running", "promoted"]


def test_processes(journal: Journal) -> None:
    journal.want("b-1", {"kind": "instance"})
    journal.started("b-1", [1.0, 2.0], 77, 1.5)
    journal.given_up("b-1", "ended 5 times")
    (one,) = journal.processes()
    assert (one.wanted, one.pid, one.made, one.starts, one.fault) == (True, 77, 1.5, (1.0, 2.0), "ended 5 times")
    journal.want("b-1", {"kind": "instance"})
    (again,) = journal.processes()
    assert (again.fault, again.starts, again.pid) == ("", (), 77)
    journal.unwant("b-1")
    assert not journal.processes()[0].wanted
    journal.forget("b-1")
    assert journal.processes() == []


def test_a_disk_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(RolloutError, match=r"journal sqlite:///.*journal\.db: unable to open database file"):
        Journal(f"sqlite:///{tmp_path / 'journal.db'}")


def test_the_order_of_weights_is_kept(journal: Journal) -> None:
    """Which version is last decides who moves when weights rise."""
    journal.put_state({"weights": {"z": 9, "a": 1}})
    assert list(journal.state()["weights"]) == ["z", "a"]


def test_a_full_disk_is_named_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(f"sqlite:///{path}")
    number = begin(journal)
    with (
        small(journal),
        pytest.raises(RolloutError, match=r"journal sqlite:///.*: database or disk is full; nothing was"),
    ):
        journal.look(number, {"step": 0, "seen": "x" * 100_000}, {}, 2.0)
    assert journal.progress(number) == {"step": -1}
    assert journal.events(number) == []
    journal.look(number, {"step": 0, "seen": "x" * 100_000}, {}, 2.0)
    assert len(journal.events(number)) == 1
    journal.close()


@contextlib.contextmanager
def small(journal: Journal) -> Iterator[None]:
    """No page more than there are now."""
    with journal._database._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    yield
    with journal._database._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")


def test_looks_of_a_long_step_do_not_fill_the_disk(journal: Journal) -> None:
    number = begin(journal)
    for second in range(1_000):
        journal.look(number, {"seen": second}, {"seen": second}, float(second), apart=second / 20)
    kept = [event.about["seen"] for event in journal.events(number) if event.kind == "look"]
    assert kept[-1] == 999, "the newest is always there"
    assert kept[:20] == list(range(20))
    assert len(kept) < 200
    assert all(later - earlier <= max(1, later / 20) + 1 for earlier, later in itertools.pairwise(kept[:-1]))
    assert journal.progress(number) == {"seen": 999}


def test_a_look_after_another_event_is_a_new_one(journal: Journal) -> None:
    number = begin(journal)
    journal.look(number, {}, {"seen": 1}, 1.0)
    journal.step(number, {}, {"weight": 0.5}, 2.0)
    journal.look(number, {}, {"seen": 2}, 3.0, apart=1_000.0)
    assert [event.kind for event in journal.events(number)] == ["look", "step", "look"]
