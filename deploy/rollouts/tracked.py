"""The report of a rollout in MLflow, with the run that trained the candidate: as the webhook, it is tried, and no more."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable
from pathlib import Path

from data.errors import BentocastError
from deploy import lineage
from deploy.journal import Rollout
from deploy.settings import NO
from training import registry, tracking

#: Set to false, nothing is logged.
SWITCH = "DEPLOY_MLFLOW"
#: A server that does not answer delays nobody for longer.
TIMEOUT_SECONDS = 10.0
FOLDER = "rollouts"
#: On the run and on the version: how the newest rollout of it ended.
TAG = "rollout"


def log(rollout: Rollout, report: Path, say: Callable[[str], None]) -> None:
    """Log a report and how the rollout ended; told of if it cannot be.

    Args:
        rollout: that has ended.
        report: its page.
        say: tells a person.
    """
    if (
        os.environ.get(SWITCH, "").lower() in NO
        or importlib.util.find_spec("mlflow") is None
        or not tracking.is_there()
    ):
        return
    told: list[str] = []

    def work() -> None:
        try:
            told.append(_log(rollout, report))
        except BentocastError as err:
            told.append(f"report: not in MLflow: {err.message}")
        except Exception as err:
            told.append(f"report: not in MLflow: {type(err).__name__}: {err}")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    say(told[0] if told else f"report: not in MLflow: no answer within {TIMEOUT_SECONDS:g} s")


def _log(rollout: Rollout, report: Path) -> str:
    labels = lineage.labels(rollout.candidate)
    run = labels.get("run_id")
    if not run:
        return f"report: not in MLflow: the model of {rollout.candidate} does not say which run trained it"
    tracking.connect("the rollout ended all the same")
    if not tracking.attach(run, report, FOLDER, {TAG: rollout.state}):
        return f"report: not in MLflow: it knows no run {run}"
    version = registry.labelled(labels)
    if version is not None:
        registry.tag(version, {TAG: rollout.state})
    return f"report: in MLflow, run {run}, {FOLDER}/{report.name}"
