"""Test 4: data, features, training, model, pipeline and monitor are not too old, each by its own limit.

Times are told by whoever knows them: the record, the service, the Pushgateway; where nobody pushes, by MLflow and by the
files that the pipeline made. A time that nobody tells is inconclusive, one in the future is an error: of two clocks one is
wrong, and no age can be told. Actual values of the future, which anybody may send, are left out and told of.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import durations, store
from data.errors import BentocastError
from data.monitoring import Staleness
from data.shown import some
from data.verdict import Check, Outcome, Verdict
from monitoring.context import Context
from service.record.newest import Newest, newest

#: How far clocks of two machines may be apart.
CLOCKS_SECONDS = 300.0
SUCCESS, STARTED = "pipeline_stage_last_success_timestamp_seconds", "pipeline_stage_started_timestamp_seconds"
#: The stage that ends the pipeline, and the one that computes features.
LAST, FEATURES = "promote", "features"
#: This test's own run is under way.
SELF = "staleness"


class Moment(NamedTuple):
    """When something was last as it should be.

    Attributes:
        what: it is, for people.
        at: seconds since 1970; None if nobody says.
        told: by whom; or who was asked in vain.
        limit: the oldest that it may be, such as `2d`.
    """

    what: str
    at: float | None
    told: str
    limit: str


class Started(NamedTuple):
    """A stage of the pipeline: when it was last begun, and last succeeded, in seconds since 1970."""

    stage: str
    began: float
    succeeded: float


def check(context: Context) -> Verdict:
    """Look at every age."""
    settings = context.params.monitoring.staleness
    succeeded = _by_stage(context, SUCCESS)
    began = _by_stage(context, STARTED)
    stages = [Started(stage, at, succeeded.get(stage, 0.0)) for stage, at in began.items()]
    actual, ahead = _actual(context, settings)
    moments = [
        actual,
        Moment("table: its newest row", *_by_wall(context, _table()), settings.table),
        Moment("features", *_pushed(succeeded, FEATURES, _features), settings.features),
        Moment("training", *_pushed(succeeded, LAST, lambda: _asked(lambda: _run(context))), settings.training),
        Moment("model: the data that it was trained on", *_by_wall(context, _trained_until(context)), settings.model),
        *_monitor(context, settings),
    ]
    found = judge(moments, stages, context.now, settings)
    return Verdict.of([*found.checks, *ahead])


def judge(moments: Sequence[Moment], stages: Sequence[Started], now: float, settings: Staleness) -> Verdict:
    """The verdict on ages.

    Args:
        moments: with their limits.
        stages: that were begun.
        now: seconds since 1970.
        settings: `pipeline` is the longest that a stage may run.
    """
    return Verdict.of([_age(one, now) for one in moments] + [_ended(one, now, settings.pipeline) for one in stages])


def _age(moment: Moment, now: float) -> Check:
    name = moment.what.partition(":")[0]
    if moment.at is None:
        return Check(name=name, outcome=Outcome.INCONCLUSIVE, text=f"{moment.what}: age unknown: {moment.told}")
    if (fault := _future(name, moment.what, moment.at, now)) is not None:
        return fault
    age, limit = max(0.0, now - moment.at), float(durations.seconds(moment.limit))
    outcome = Outcome.PASS if age <= limit else Outcome.FAIL
    text = f"{moment.what} is {_days(age)} old, at most {moment.limit}; {moment.told}"
    return Check(name=name, outcome=outcome, text=text, numbers={"value": age, "limit": limit})


def _ended(stage: Started, now: float, longest: str) -> Check:
    name, limit = f"stage {stage.stage}", float(durations.seconds(longest))
    if (fault := _future(name, f"{name}: its begin", max(stage.began, stage.succeeded), now)) is not None:
        return fault
    ran = max(0.0, now - stage.began) if stage.began > stage.succeeded else 0.0
    text = (
        f"{name} has ended" if not ran else f"{name} began {_days(ran)} ago and has not ended well, at most {longest}"
    )
    outcome = Outcome.PASS if ran <= limit else Outcome.FAIL
    return Check(name=name, outcome=outcome, text=text, numbers={"value": ran, "limit": limit})


def _future(name: str, what: str, at: float, now: float) -> Check | None:
    if at <= now + CLOCKS_SECONDS:
        return None
    text = (
        f"{what} is of {_shown(at)}, which is {_days(at - now)} after now ({_shown(now)}): a clock or a client is wrong, "
        "and no age can be told: set the clocks (NTP), or monitoring.utc_offset where data have local time"
    )
    return Check(name=name, outcome=Outcome.ERROR, text=text, numbers={"ahead": at - now})


def _shown(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _days(seconds: float) -> str:
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


Told = tuple[float | None, str]


def _asked(ask: Callable[[], Told]) -> Told:
    """What somebody tells; one who cannot be asked leaves the other ages to be told."""
    try:
        return ask()
    except BentocastError as err:
        return None, err.message


def _actual(context: Context, settings: Staleness) -> tuple[Moment, list[Check]]:
    """The age of the data by the record, and what is wrong with values in it."""
    name, unknown = "data: the newest actual value", "there is no record: start the service with BENTOCAST_RECORD=true"
    if context.record is None:
        return Moment(name, None, unknown, settings.data), []
    limit = durations.seconds(settings.data)
    try:
        found = newest(context.record, context.now - limit, int(context.wall + CLOCKS_SECONDS))
    except BentocastError as err:
        return Moment(name, None, err.message, settings.data), []
    told = slowest(found, int(context.wall - limit), settings.silent)
    return Moment(name, *_by_wall(context, told), settings.data), _ahead(found)


def slowest(found: Newest, least: int, silent: float) -> Told:
    """Time of the newest actual value of the series that is slowest, but for a share of them that may be silent.

    Series count that clients had forecast and of which a value ever came: others may be names that nobody measures.
    Where nobody had any forecast, one value of any series has to do.

    Args:
        found: in the record.
        least: seconds since 1970, before which a series is silent.
        silent: share of the series.
    """
    if not found.asked:
        return found.at, "the record has none: POST /v1/timeseries/actuals" if found.at is None else "in the record"
    if not found.by_series:
        return (
            None,
            f"the record has none of the {found.asked:,} series that were forecast: POST /v1/timeseries/actuals",
        )
    slow = sorted(found.by_series, key=lambda name: found.by_series[name])
    behind = [name for name in slow if found.by_series[name] < least]
    told = f"in the record, by {len(slow):,} of {found.asked:,} series that are forecast"
    if behind:
        told += f"; silent are {len(behind):,} of them: {some(behind)}"
    return found.by_series[slow[int(silent * len(slow))]], told


def _ahead(found: Newest) -> list[Check]:
    """Values of the future: they are no age, and will be compared with forecasts when their time has come."""
    if not found.later:
        return []
    text = (
        f"{found.later:,} of the last actual values in the record are of times after now, and left out (of series "
        f"{', '.join(found.later_series)}): set the clock of who sent them, or monitoring.utc_offset where data have local "
        "time, and send them again"
    )
    return [Check(name="future values", outcome=Outcome.INCONCLUSIVE, text=text, numbers={"value": float(found.later)})]


def _by_wall(context: Context, told: Told) -> Told:
    """A time of the data, by the clock of this machine."""
    at, by = told
    return (None if at is None else at - (context.wall - context.now)), by


def _table(path: Path = store.INGEST) -> Told:
    try:
        last = json.loads(path.read_text("utf-8"))["last"]
        return float(np.datetime64(last, "s").astype(np.int64)), f"in {path}"
    except (OSError, ValueError, KeyError):
        return None, f"{path} cannot be read: run `dvc repro` or `dvc pull`"


def _by_stage(context: Context, name: str) -> Mapping[str, float]:
    """The newest time of each stage, whichever instance pushed it."""
    found: dict[str, float] = {}
    for sample in context.metrics.last(name):
        stage = sample.labels.get("stage", "")
        found[stage] = max(sample.value, found.get(stage, 0.0))
    return found


def _pushed(succeeded: Mapping[str, float], stage: str, otherwise: Callable[[], Told]) -> Told:
    """The stage's last success by the Pushgateway, else by what it left."""
    if stage in succeeded:
        return succeeded[stage], f"stage {stage} pushed it"
    return otherwise()


def _features() -> Told:
    try:
        return store.FEATURES.stat().st_mtime, f"by the time of {store.FEATURES}"
    except OSError:
        return None, f"no stage pushed it, and {store.FEATURES} is not there: run `dvc repro`"


def _run(context: Context) -> Told:
    """The newest finished training of MLflow's experiment."""
    from training import tracking

    experiment = context.params.promote.experiment
    server = tracking.connect("the test was not run")
    began = [run.began for run in tracking.runs(experiment, {}) if "cost.train.seconds" in run.metrics]
    if not began:
        return None, f"no stage pushed it, and {server} has no finished run of {experiment!r}: run `dvc repro`"
    return max(began), f"by the newest run of {experiment!r} in MLflow"


def _trained_until(context: Context) -> Told:
    found = context.trained_until()
    return found, "no service says until when: is it up?" if found is None else "as the service says"


def _monitor(context: Context, settings: Staleness) -> list[Moment]:
    """The oldest of the other tests' last runs, where they are run as a service; 0 is one that has not ended yet."""
    found = {
        sample.labels.get("test", ""): sample.value
        for sample in context.metrics.last("ml_test_run_timestamp_seconds")
        if sample.value and sample.labels.get("test") != SELF
    }
    if not found:
        return []
    oldest = min(found, key=lambda name: found[name])
    return [Moment("monitor: its test that ran longest ago", found[oldest], oldest, settings.monitor)]
