"""The keeper starts what is wanted, starts again what died, gives up what dies too often, and takes over what runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from data import ending
from deploy.journal import Journal
from deploy.place import Place
from deploy.running import keeper, processes
from deploy.running.keeper import STARTS, WITHIN_SECONDS, Keeper
from monitoring import steps
from monitoring.child import MARK
from tests.deploy.fleet import kill, wait_for


@pytest.fixture
def keepers(tmp_path: Path) -> Iterator[Callable[[], Keeper]]:
    """Keepers of one deployment, one after another."""
    place = Place(tmp_path / "place")
    place.folder.mkdir()
    journal = Journal(f"sqlite:///{place.journal}")
    made: list[Keeper] = []

    def make() -> Keeper:
        made.append(Keeper(place, journal))
        return made[-1]

    yield make
    for keeper_ in made:
        for child in keeper_.children.values():
            child.kill()
            child.wait()
    journal.close()


@pytest.fixture
def kept(keepers: Callable[[], Keeper]) -> Keeper:
    return keepers()


def about(kept: Keeper, code: str = "import time; time.sleep(600)") -> dict[str, Any]:
    return {
        "kind": "instance",
        "version": "v",
        "ports": [21000, 21001],
        "arguments": [sys.executable, "-c", code],
        "folder": str(kept.place.folder),
        "environment": {},
    }


def pid(kept: Keeper) -> int:
    (one,) = kept.journal.processes()
    assert one.pid is not None
    return one.pid


def test_a_process_that_died_is_started_again(kept: Keeper) -> None:
    kept.journal.want("one", about(kept))
    kept.look()
    first = pid(kept)
    kept.look()
    assert pid(kept) == first
    kill(psutil.Process(first))
    kept.children[first].wait()
    kept.look()
    assert pid(kept) != first
    assert psutil.pid_exists(pid(kept))


def test_a_new_keeper_takes_over(kept: Keeper, keepers: Callable[[], Keeper]) -> None:
    kept.journal.want("one", about(kept))
    kept.look()
    keepers().look()
    assert pid(kept) in kept.children


def test_what_was_started_and_not_noted_is_ended(kept: Keeper, keepers: Callable[[], Keeper]) -> None:
    kept.journal.want("one", about(kept))
    kept.look()
    first = pid(kept)
    kept.journal.started("one", [], None, None)  # as if it had been killed before it could write the pid down
    keepers().look()
    kept.children[first].wait()
    assert pid(kept) != first


def test_a_process_that_dies_too_often_is_given_up(kept: Keeper) -> None:
    kept.journal.want("one", about(kept, "raise SystemExit(3)"))
    for _ in range(STARTS):
        kept.look()
        kept.children[pid(kept)].wait()
    kept.look()
    (one,) = kept.journal.processes()
    assert one.fault == f"ended {STARTS} times within {WITHIN_SECONDS:.0f} s"
    kept.look()
    assert not kept.children


def test_what_is_not_wanted_ends_and_is_forgotten(kept: Keeper) -> None:
    home, store = kept.place.instances / "one", kept.place.folder / "store"
    home.mkdir(parents=True)
    store.mkdir()
    (home / "models").symlink_to(store)
    kept.journal.want("one", about(kept))
    kept.look()
    child = kept.children[pid(kept)]
    kept.journal.unwant("one")
    wait_for(lambda: kept.look() == 0, "it is not forgotten")
    assert child.wait() != 0
    assert not home.exists()
    assert store.exists()


def test_one_that_goes_is_no_target_before_it_is_asked_to_end(kept: Keeper) -> None:
    kept.journal.want("one", about(kept))
    kept.look()
    assert "127.0.0.1:21000" in kept.place.targets.read_text()
    kept.journal.unwant("one")
    kept.look()
    assert kept.place.targets.read_text() == "[]\n"
    assert pid(kept) in kept.children


def test_where_the_journal_is_is_told_to_the_autoscaler_alone(kept: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_JOURNAL_URL", "postgresql://ann:secret@db/journal")
    code = "import os; print(os.environ.get('DEPLOY_JOURNAL_URL'))"
    for kind in ("instance", "autoscaler"):
        kept.journal.want(kind, about(kept, code) | {"kind": kind})
    kept.look()
    for child in kept.children.values():
        child.wait()
    told = {kind: (kept.place.logs / f"{kind}.log").read_text().strip() for kind in ("instance", "autoscaler")}
    assert told == {"instance": "None", "autoscaler": "postgresql://ann:secret@db/journal"}


def test_a_clock_that_is_set_leaves_what_runs_alone(
    kept: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system reckons the time of its start anew when its clock is set; all else in /proc stays."""
    kept.journal.want("one", about(kept))
    kept.look()
    first = pid(kept)
    real, other = Path("/proc"), tmp_path / "proc"
    other.mkdir()
    for entry in real.iterdir():
        (other / entry.name).symlink_to(entry)
    (other / "stat").unlink()
    for hours in (1, -1):
        lines = (real / "stat").read_text().splitlines()
        (other / "stat").write_text(
            "\n".join(
                f"btime {int(line.split()[1]) + 3600 * hours}" if line.startswith("btime") else line for line in lines
            )
        )
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(other))
        assert abs(psutil.boot_time() - int(re.findall(r"btime (\d+)", (real / "stat").read_text())[0])) == 3600
        kept.look()
        assert pid(kept) == first


@pytest.mark.parametrize(
    ("starts", "wanted"),
    [
        ([], True),
        ([99.0] * (STARTS - 1), True),
        ([99.0] * STARTS, False),
        ([99.0 - WITHIN_SECONDS] * STARTS, True),
        ([200.0] * STARTS, True),  # the clock was set back: they say nothing
    ],
)
def test_the_limit_of_starts(starts: list[float], *, wanted: bool) -> None:
    assert keeper.may_start(starts, 100.0) is wanted


def test_what_cannot_tell_prometheus_keeps_all_the_same(kept: Keeper) -> None:
    kept.journal.want("one", about(kept))
    kept.place.targets.mkdir()
    with pytest.raises(OSError, match=r"targets\.json"):
        kept.look()
    assert psutil.pid_exists(pid(kept))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nobody waits for a keeper
def test_what_is_kept_does_not_carry_the_mark_of_the_loop_that_began_it(
    kept: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop ends what its killed steps left running, found by that mark: the service would be among it."""
    monkeypatch.setenv(MARK, str(kept.place.folder))
    monkeypatch.setenv(steps.WEBHOOK, "https://chat.example/hook/s3cret")
    keeper.ensure(kept.place)
    running = ending.marked(processes.MARK, f"{kept.place.folder}:keeper")
    try:
        assert running
        assert not running & ending.marked(MARK, str(kept.place.folder))
        keeper.end(kept.place)  # one at a time keeps
        kept.journal.want("one", about(kept))
        kept.look()
        left = ending.marked(MARK, str(kept.place.folder))
        assert pid(kept) not in {process.pid for process in left}
        assert steps.WEBHOOK not in psutil.Process(pid(kept)).environ()
    finally:
        keeper.end(kept.place)
