"""Test 4: ages against limits, clocks that are apart, and where each time comes from."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import durations, store
from data.errors import BentocastError
from data.monitoring import Staleness
from data.verdict import Check, Outcome, Verdict
from monitoring import staleness
from monitoring.context import Context
from monitoring.pages import Pages
from monitoring.staleness import Moment, Started
from service.record.newest import Newest, newest
from tests.service.record.kept import entry, opened
from tests.training import tiny
from tests.training.conftest import at_home
from training import tracking

pytestmark = pytest.mark.filterwarnings(*tiny.MLFLOW)

NOW = 1_750_000_000.0
DAY = 86_400.0
SETTINGS = Staleness()


def judged(*moments: Moment, stages: tuple[Started, ...] = ()) -> Verdict:
    return staleness.judge(moments, stages, NOW, SETTINGS)


@given(st.floats(0, 100 * DAY), st.sampled_from(["1h", "2d", "35d"]))
def test_an_age_passes_up_to_its_limit(age: float, limit: str) -> None:
    verdict = judged(Moment("data: the newest", NOW - age, "in the record", limit))
    at = NOW - age  # as a float
    assert verdict.outcome is (Outcome.PASS if NOW - at <= durations.seconds(limit) else Outcome.FAIL)
    assert verdict.checks[0].numbers == {"value": NOW - at, "limit": durations.seconds(limit)}


def test_an_age_says_what_by_whom_and_how_old() -> None:
    verdict = judged(Moment("data: the newest actual value", NOW - 3 * DAY, "in the record", "2d"))
    assert str(verdict) == "FAIL: data: the newest actual value is 3.0 d old, at most 2d; in the record"


def test_an_unknown_age_is_inconclusive() -> None:
    verdict = judged(Moment("features", None, "nobody says", "2d"))
    assert str(verdict) == "INCONCLUSIVE: features: age unknown: nobody says"


@pytest.mark.parametrize("what", ["moment", "stage"])
def test_a_time_in_the_future_is_an_error(what: str) -> None:
    at = NOW + 7_200
    moments = {"moment": judged(Moment("data: x", at, "y", "2d")), "stage": judged(stages=(Started("train", at, 0.0),))}
    verdict = moments[what]
    assert verdict.outcome is Outcome.ERROR
    assert "2025-06-15 17:06:40 UTC, which is 2.0 h after now (2025-06-15 15:06:40 UTC)" in str(verdict)


def test_clocks_may_be_a_little_apart() -> None:
    assert judged(Moment("data: x", NOW + 299, "y", "2d")).passed


@pytest.mark.parametrize(
    ("began", "succeeded", "outcome"),
    [
        (NOW - 11 * 3_600, NOW - DAY, Outcome.PASS),  # it runs
        (NOW - 13 * 3_600, NOW - 2 * DAY, Outcome.FAIL),  # it stopped
        (NOW - 13 * 3_600, 0.0, Outcome.FAIL),  # and never succeeded
        (NOW - 2 * DAY, NOW - DAY, Outcome.PASS),  # it ended
    ],
)
def test_a_stage_that_began_must_end(began: float, succeeded: float, outcome: Outcome) -> None:
    assert judged(stages=(Started("train", began, succeeded),)).outcome is outcome


def test_nothing_at_all_is_no_pass() -> None:
    assert not judged().passed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a table, features and a training of an hour ago; the time of its files is `NOW`."""
    with at_home(tmp_path, monkeypatch):
        store.OUT.mkdir()
        last = str(np.datetime64(int(NOW - DAY), "s"))
        store.INGEST.write_text(json.dumps({"last": last}))
        store.FEATURES.write_bytes(b"")
        os.utime(store.FEATURES, (NOW - DAY, NOW - DAY))
        yield tmp_path


def page(*lines: str, age: float = 0.0) -> Pages:
    metrics = Pages()
    metrics.read("\n".join(lines) + "\n", "i", NOW - age)
    metrics.now = NOW
    return metrics


PUSHED = [
    f'pipeline_stage_last_success_timestamp_seconds{{stage="features"}} {NOW - 3_600}',
    f'pipeline_stage_last_success_timestamp_seconds{{stage="promote"}} {NOW - 1_800}',
]
SERVED = (
    'model_info{model="m",version="1",bento="b:one",run_id="r",git_commit="c"} 1\n'
    f"model_trained_until_timestamp_seconds {NOW - DAY}"
)


def record(folder: Path, *ages: float) -> str:
    """A record whose actual values have these ages; an odd one out came in last, and is known to be missing."""
    url = f"sqlite:///{folder}/record.db"
    recorder = opened(url)
    times = np.array([int(NOW - age) for age in ages], dtype="datetime64[s]")
    missing = np.array([int(NOW)], dtype="datetime64[s]")
    if ages:
        asyncio.run(recorder.put_actuals(["s"] * len(ages), times, np.ones(len(ages))))
        asyncio.run(recorder.put_actuals(["s"], missing, np.array([np.nan])))
    recorder.close()
    return url


def checked(metrics: Pages, url: str | None) -> Verdict:
    return staleness.check(Context(tiny.params(), NOW, metrics, url))


def test_fresh_everything_passes(home: Path) -> None:
    verdict = checked(page(*PUSHED, SERVED), record(home, 3 * DAY, 3_600, 2 * DAY))
    assert verdict.passed, str(verdict)
    ages = {check.name: check.numbers["value"] for check in verdict.checks}
    assert ages == {"data": 3_600, "table": DAY, "features": 3_600, "training": 1_800, "model": DAY}


def test_without_a_pushgateway_files_and_mlflow_tell(home: Path) -> None:
    tracking.connect()
    with tracking.run("town"):
        tracking.log({}, {"cost.train.seconds": 1.0}, {})
    verdict = checked(page(SERVED), record(home, 3_600))
    texts = {check.name: check.text for check in verdict.checks}
    assert "by the time of out/features.parquet" in texts["features"]
    assert "a clock or a client is wrong" in texts["training"]  # the run is of today, the test is of 2025


def test_nothing_there_is_inconclusive_five_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_home(tmp_path, monkeypatch):
        verdict = checked(Pages(), None)
    assert [check.outcome for check in verdict.checks] == [Outcome.INCONCLUSIVE] * 5
    for text in ("there is no record", "out/ingest.json cannot be read", "has no finished run of 'town'", "is it up?"):
        assert text in str(verdict)


def test_a_record_that_cannot_be_read_leaves_the_other_ages(home: Path) -> None:
    verdict = checked(page(*PUSHED, SERVED), f"sqlite:///{home}/none.db")
    unknown = {check.name: check.text for check in verdict.checks if check.outcome is Outcome.INCONCLUSIVE}
    assert list(unknown) == ["data"]
    assert "there is no such file" in unknown["data"]


def test_a_page_that_is_old_tells_nothing(home: Path) -> None:
    verdict = checked(page(SERVED, *PUSHED, age=600.0), record(home, 3_600))
    assert {check.name: check.outcome for check in verdict.checks}["model"] is Outcome.INCONCLUSIVE


def test_a_fresh_candidate_does_not_hide_an_old_model(home: Path) -> None:
    metrics = page(*PUSHED, 'rollout_weight_ratio{service_version="one"} 1')
    for version, bento, age in (("1", "b:one", 90 * DAY), ("2", "b:two", DAY)):
        told = f'model_info{{model="m",version="{version}",bento="{bento}",run_id="r",git_commit="c"}} 1\n'
        metrics.read(f"{told}model_trained_until_timestamp_seconds {NOW - age}\n", bento, NOW)
    found = {check.name: check for check in checked(metrics, None).checks}
    assert found["model"].outcome is Outcome.FAIL
    assert found["model"].numbers["value"] == 90 * DAY


def test_a_stage_that_hangs_and_a_monitor_that_stands_still_fail(home: Path) -> None:
    lines = [
        f'pipeline_stage_started_timestamp_seconds{{stage="promote"}} {NOW - 60}',
        f'pipeline_stage_started_timestamp_seconds{{stage="train"}} {NOW - 13 * 3_600}',
        f'ml_test_run_timestamp_seconds{{test="quality"}} {NOW - 7_200}',
        f'ml_test_run_timestamp_seconds{{test="staleness"}} {NOW - 9_000}',
        'ml_test_run_timestamp_seconds{test="cost"} 0',
    ]
    verdict = checked(page(*PUSHED, SERVED, *lines), record(home, 3_600))
    failed = {check.name: check.text for check in verdict.checks if check.outcome is Outcome.FAIL}
    assert set(failed) == {"stage train", "monitor"}
    assert failed["monitor"].endswith("is 2.0 h old, at most 1h; quality")


def test_the_newest_value_is_one_that_is_a_number(tmp_path: Path) -> None:
    found = newest(record(tmp_path, 5 * DAY, 3 * DAY), NOW, int(NOW))
    assert found == Newest(at=int(NOW - 3 * DAY), by_series={}, asked=0, later=0, later_series=())


def test_a_value_of_another_century_hides_no_age_and_is_told_of(home: Path) -> None:
    verdict = checked(page(*PUSHED, SERVED), record(home, -170 * 365 * DAY, 3_600))
    found = {check.name: check for check in verdict.checks}
    assert found["data"].outcome is Outcome.PASS
    assert found["data"].numbers["value"] == 3_600
    assert found["future values"].outcome is Outcome.INCONCLUSIVE
    assert found["future values"].text.startswith(
        "1 of the last actual values in the record are of times after now, and left out (of series s): set the clock"
    )


def asked(folder: Path, ages: dict[str, float | None], at: float = NOW) -> str:
    """A record of series that were forecast at a moment, each with its newest actual value of this age, or none."""
    url = record(folder, 40 * DAY)
    recorder = opened(url)
    for name in ages:
        recorder.put(entry(series=name, created_at=at))
    came = {name: age for name, age in ages.items() if age is not None}
    times = np.array([int(NOW - age) for age in came.values()], dtype="datetime64[s]")
    asyncio.run(recorder.put_actuals([*came], times, np.ones(len(came))))
    asyncio.run(recorder.put_actuals(["stranger"], np.array([int(NOW)], dtype="datetime64[s]"), np.ones(1)))
    recorder.close()
    return url


def of_data(url: str) -> Check:
    verdict = checked(page(*PUSHED, SERVED), url)
    return next(check for check in verdict.checks if check.name == "data")


def test_one_series_that_reports_hides_none_that_are_silent(home: Path) -> None:
    check = of_data(asked(home, {"a": 3_600, "b": 3 * DAY, "c": 5 * DAY, "never measured": None}))
    assert check.outcome is Outcome.FAIL
    assert check.numbers["value"] == 5 * DAY
    assert check.text.endswith("in the record, by 3 of 4 series that are forecast; silent are 2 of them: c, b")


def test_a_few_silent_series_of_many_are_named(home: Path) -> None:
    many: dict[str, float | None] = {f"s{number}": 3_600.0 for number in range(39)}
    check = of_data(asked(home, many | {"gone": 9 * DAY}))
    assert check.outcome is Outcome.PASS
    assert check.text.endswith("silent are 1 of them: gone")


def test_series_that_are_forecast_and_never_measured_tell_no_age(home: Path) -> None:
    check = of_data(asked(home, {"a": None, "b": None}))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "the record has none of the 2 series that were forecast" in check.text


def test_series_that_nobody_asks_for_any_more_may_be_silent(home: Path) -> None:
    check = of_data(asked(home, {"gone": 9 * DAY}, at=NOW - 3 * DAY))
    assert check.outcome is Outcome.PASS  # by any series, since nothing was forecast
    assert check.numbers["value"] == 0


@pytest.mark.parametrize("offset", [-8, 8])
def test_ages_of_data_in_local_time_are_told_by_its_clock(home: Path, offset: int) -> None:
    params = tiny.params({"monitoring": {"utc_offset": offset}})
    store.INGEST.write_text(json.dumps({"last": str(np.datetime64(int(NOW - DAY + 3_600 * offset), "s"))}))
    trained = SERVED.replace(str(NOW - DAY), str(NOW - DAY + 3_600 * offset))
    context = Context(params, NOW, page(*PUSHED, trained), record(home, 3_600 - 3_600 * offset))
    ages = {check.name: check.numbers.get("value") for check in staleness.check(context).checks}
    assert ages == {"data": 3_600, "table": DAY, "features": 3_600, "training": 1_800, "model": DAY}


def test_an_empty_record_has_no_newest_value(tmp_path: Path) -> None:
    assert newest(record(tmp_path), NOW, int(NOW)) == Newest(None, {}, 0, 0, ())


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BentocastError, match="there is no such file: has the service kept a record there"):
        newest(f"sqlite:///{tmp_path}/none.db", NOW, int(NOW))
