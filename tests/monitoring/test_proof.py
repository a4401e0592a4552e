"""What a simulation says in the end, and what it takes for good, without the hours that playing one takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from data.verdict import Check, Outcome, Verdict
from monitoring.ledger import HEALED, STOPPED, Retraining
from monitoring.simulation import healed, proof
from monitoring.simulation.city import City
from monitoring.simulation.faults import FAULTS
from monitoring.simulation.healed import Errors
from monitoring.simulation.play import Alarm, Told
from service.record import ForecastEntry, Recorder, RecordSettings
from tests.data import project

TREES = {"max_iter": 20, "max_leaf_nodes": 7, "min_samples_leaf": 20}
PARAMS = project.changed({"train.max_rows": 2_000, "train.point": TREES, "train.spread": TREES})
ALARM = Alarm(3.0, "cost", Outcome.FAIL, "training took 1.84 times as long")
#: Place of the hour of the change.
CHANGE = 24 * 60


def retrained(state: str) -> Retraining:
    return Retraining(1, 0.0, 1.0, "worse", "crown", {}, state, "it serves", "")


@dataclass
class Played:
    """A player whom nothing is asked of but what it saw."""

    told: Told = field(default_factory=Told)
    trained: int = CHANGE + 24 * 20
    until: list[int] = field(default_factory=list)
    city: City | None = None
    record: str = ""

    def play(self, until: int) -> None:
        self.until.append(until)

    def days(self, _: float) -> float:
        return 23.0

    @contextlib.contextmanager
    def up(self, begin: int) -> Iterator[None]:
        self.until.append(begin)
        yield


@pytest.mark.parametrize(
    ("alarms", "failed", "good"), [(0, 0, True), (2, 0, True), (3, 0, False), (0, 1, False)], ids=str
)
def test_quiet_months_may_have_two_alarms_and_no_request_that_fails(
    monkeypatch: pytest.MonkeyPatch,
    alarms: int,
    failed: int,
    good: bool,  # noqa: FBT001
) -> None:
    verdict = Verdict.of([Check(name="MAE", outcome=Outcome.PASS, text="as in the backtest")])
    told = Told([ALARM] * alarms, [retrained(HEALED)] * 2, 4_321, failed, {"quality": verdict})
    player = Played(told)
    monkeypatch.setattr(proof, "Player", lambda *_, **__: player)
    city = City((), np.arange("2024-06-01T00", "2025-01-01T00", dtype="datetime64[h]"), np.empty((0, 0)), {})
    result = proof._quiet(cast("Any", None), city, "bentocast:one", 6, lambda _: None)
    assert (result.name, result.good) == ("quiet", good)
    begin = 30 * 24
    assert player.until == [begin, begin + 6 * 30 * 24]
    assert dict(result.rows) == {
        "6 months without a fault: alarms": "; ".join(["day 3 cost fail: training took 1.84 times as long"] * alarms)
        or "none",
        "models made anew by schedule": "healed, healed",
        "requests, and failed ones": f"4,321, {failed}",
        "verdicts in the end": "quality pass",
    }
    assert "| requests, and failed ones | 4,321, " in proof.table([result])


@pytest.mark.parametrize(
    ("served", "state", "good"), [(1.05, HEALED, True), (1.06, HEALED, False), (1.0, STOPPED, False)]
)
def test_healed_is_what_is_as_good_as_a_model_made_by_hand_from_the_same_days(
    monkeypatch: pytest.MonkeyPatch,
    served: float,
    state: str,
    good: bool,  # noqa: FBT001
) -> None:
    """One made from all days since the change may be better, and is told besides."""
    player = Played(Told(retrainings=[retrained(state)]))
    monkeypatch.setattr(healed, "compare", lambda *_: Errors(served, 1.0, 0.8, 2.0))
    result = healed.watch(cast("Any", player), PARAMS, CHANGE, FAULTS["regime"], lambda _: None)
    assert result.good is good
    assert player.until == [CHANGE + 24 * 30, CHANGE + 24 * 44]
    (same, judged), (more, besides), (before, of_before), (_, states) = result.rows
    assert "by hand from the same 20 days since the change that the loop had when it trained last (judged:" in same
    assert judged == f"{served:.3f}, 1.000: {served:.3f}x"
    assert "by hand from all 30 days since the change, 10 more than the loop had (told, not judged)" in more
    assert besides == f"0.800: {served / 0.8:.3f}x"
    assert (before, of_before) == ("the same, of the model before the change", "2.000")
    assert states == f"day 23 {state}"


def test_a_fault_without_a_change_of_regime_is_healed_by_the_loop_alone() -> None:
    player = Played(Told(retrainings=[retrained(HEALED)]))
    result = healed.watch(cast("Any", player), PARAMS, CHANGE, FAULTS["stopped"], lambda _: None)
    assert result == ([("the loop", "day 23 healed")], True)
    assert player.until == []


def test_a_forecast_counts_once_and_who_knows_more_of_the_new_regime_errs_less(tmp_path: Path) -> None:
    first, begin, days = np.datetime64("2024-01-01", "h"), CHANGE + 24 * 30, 2
    change = str(first + CHANGE)
    made = PARAMS.ingest.sample.model_copy(
        update={"stations": 2, "start": str(first), "end": "2024-04-30T23:00", "regime_change": change}
    )
    city = City.of(PARAMS, made)
    url = f"sqlite:///{tmp_path / 'record.db'}"
    recorder = Recorder.open(RecordSettings(url=url))
    try:
        for hour in range(begin - 1, begin + 24 * days, 6):
            for place, name in enumerate(city.names):
                actual = np.nan_to_num(city.target[place, hour + 1 : hour + 25])
                times = np.arange(hour + 1, hour + 25)
                origin = city.hours[hour].astype("datetime64[s]")
                # Asked for once more where it is right: errors of 3 and 1 are one of 2.
                for wrong in (3.0, 1.0):
                    entry = ForecastEntry("r", name, "m", "1", "b:1", 0.0, origin, 3_600, actual + wrong, {})
                    recorder.put_many((entry,))
                asyncio.run(recorder.put_actuals([name] * 24, city.hours[times].astype("datetime64[s]"), actual))
    finally:
        recorder.close(10)
    player = Played(city=city, record=url)
    errors = healed.compare(cast("Any", player), PARAMS, CHANGE, (CHANGE + 24 * 10, begin, begin + 24 * days))
    assert errors.served == pytest.approx(2.0)
    assert 0 < errors.later < errors.before
    assert errors.hand > 0
