"""What people say to the loop, and one turn of it, as they type them: up to the commands that it starts."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.errors import NotFoundError
from data.verdict import Check, Outcome, Verdict
from deploy.place import Place
from monitoring import __main__ as monitoring
from monitoring import child, suite
from monitoring.ledger import HEALED, RUNNING, STOPPED, Ledger
from tests.data import project

NOBODY = "no retraining waits for approval: see `python -m monitoring history`"
WORSE = "MAE is twice the backtest's"


@dataclass(frozen=True)
class Typed:
    """Commands in a folder, and the ledger that they write."""

    params: Path
    ledger: Ledger

    def __call__(self, *arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            monitoring.main(["--params", str(self.params), *arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "deployment"))
    monkeypatch.delenv("DEPLOY_JOURNAL_URL", raising=False)
    monkeypatch.delenv("MONITORING_WEBHOOK", raising=False)
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path / "deployment")
    place.folder.mkdir()
    changes = {"promote.champion": "rollout", "monitoring.prometheus": "http://127.0.0.1:9"}
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(project.raw(changes)), encoding="utf-8")
    ledger, before = Ledger(f"sqlite:///{place.journal}"), signal.getsignal(signal.SIGTERM)
    yield Typed(params, ledger)
    ledger.close()
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("wish", ["approve", "reject"])
def test_a_word_goes_to_the_retraining_that_waits_for_it(
    typed: Typed, wish: str, capfd: pytest.CaptureFixture[str]
) -> None:
    number = typed.ledger.begin("worse", "approve", 1.0).id
    assert typed(wish) == 0
    assert f"retraining {number}: {wish}; the loop goes on with it" in capfd.readouterr().err
    (only,) = typed.ledger.all()
    assert (only.wish, only.state) == (wish, RUNNING)


@pytest.mark.parametrize("wish", ["approve", "reject"])
@pytest.mark.parametrize("step", ["", "train", "rollout"])
def test_where_nothing_waits_a_word_is_refused(typed: Typed, wish: str, step: str) -> None:
    typed.ledger.end(typed.ledger.begin("before", "approve", 1.0).id, STOPPED, "rejected", 2.0, {})
    if step:
        typed.ledger.begin("worse", step, 3.0)
    with pytest.raises(NotFoundError) as refused:
        monitoring.main(["--params", str(typed.params), wish])
    assert refused.value.message == NOBODY
    assert {one.wish for one in typed.ledger.all()} == {""}


def test_history_tells_all_the_newest_first(typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("history") == 0
    assert capsys.readouterr().out == ""
    typed.ledger.end(typed.ledger.begin("quality: worse", "crown", 0.0).id, HEALED, "bentocast:one serves", 9.0, {})
    typed.ledger.begin("schedule: its time", "train", 86_400.0 + 3_660)
    assert typed("history") == 0
    assert capsys.readouterr().out.splitlines() == [
        "   2  1970-01-02 01:01  running   train     schedule: its time",
        "   1  1970-01-01 00:00  healed    crown     bentocast:one serves",
    ]


def judging(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> list[tuple[str, ...]]:
    """The test of quality says so, and commands are noted and fail."""
    started: list[tuple[str, ...]] = []

    def run(command: tuple[str, ...], *_: Any, **__: Any) -> tuple[int, str]:
        started.append(command)
        return 255, "failed to run: python -m data ingest, exited with 3"

    verdict = Verdict.of([Check(name="error", outcome=outcome, text=WORSE)])
    monkeypatch.setattr(suite, "TESTS", {"quality": lambda _: verdict})
    monkeypatch.setattr(child, "run", run)
    return started


def test_a_test_that_fails_leads_to_a_retraining(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    started = judging(monkeypatch, Outcome.FAIL)
    assert typed("loop", "--once") == 7
    (only,) = typed.ledger.all()
    assert (only.reason, only.step, only.state) == (f"quality: {WORSE}", "train", STOPPED)
    assert started == [(str(Path(sys.executable).with_name("dvc")), "repro")]
    said = capfd.readouterr().err
    assert f"retraining {only.id}: quality: {WORSE}" in said
    assert "`dvc` ended with 255: failed to run: python -m data ingest, exited with 3" in said
    assert typed("loop", "--once") == 0
    assert "the next retraining may begin in" in capfd.readouterr().err
    assert len(typed.ledger.all()) == len(started) == 1


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.ERROR])
def test_a_test_that_does_not_fail_leads_to_none(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    started = judging(monkeypatch, outcome)
    assert typed("loop", "--once") == 0
    assert (typed.ledger.all(), started) == ([], [])
