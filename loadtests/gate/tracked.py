"""A gate in MLflow, next to the version of the model that the candidate carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.errors import RegistryError
from loadtests.gate.measured import CANDIDATE, Gated
from loadtests.gate.report import NUMBERS, PAGE
from loadtests.history.chain import Gate
from training import registry, tracking

#: The tag by which runs of this kind are found again.
KIND = "load gate"


def connect() -> None:
    """See that MLflow is there, before minutes of load.

    Raises:
        ConfigError: `MLFLOW_TRACKING_URI` is no address.
        RegistryError: MLflow is out of reach.
    """
    tracking.connect("nothing was started; --no-log goes without")


def log(found: Gated, experiment: str, folder: Path) -> str:
    """Log a gate as a run, and the verdict on the candidate's version of the model.

    Returns:
        The run's id.

    Raises:
        RegistryError: MLflow is out of reach; the report is in `folder` all the same.
    """
    try:
        tracking.connect("the gate was not logged")
        return _logged(found, experiment, folder)
    except RegistryError as err:
        raise RegistryError(f"{err.message}; the report is in {folder} all the same") from err


def _logged(found: Gated, experiment: str, folder: Path) -> str:
    candidate = found.sides[CANDIDATE]
    with tracking.run(experiment, name=f"{KIND} {candidate.tag}") as run:
        tracking.log(_params(found), _metrics(found), _tags(found))
        tracking.log_file(folder / PAGE, "load_gate")
        tracking.log_file(folder / NUMBERS, "load_gate")
    version = registry.labelled(candidate.labels)
    if version is not None:
        registry.tag(version, {"load_gate": found.verdict.outcome, "load_gate_run": run})
    return run


def _params(found: Gated) -> dict[str, Any]:
    plan = found.settings.gate
    return {
        "protocol": found.settings.protocol,
        "rounds": len(found.measured.rounds),
        "confidence": plan.confidence,
        "seed": found.seed,
    } | {f"limit.{name}": value for name, value in plan.limits.model_dump().items()}


def _metrics(found: Gated) -> dict[str, float]:
    made = {"rate": found.measured.rate, "capacity": found.measured.capacity, "seconds": found.seconds}
    for check in found.verdict.checks:
        for key in ("estimate", "low", "high", "baseline", "candidate"):
            if key in check.numbers:
                made[f"{check.name}.{key}"] = check.numbers[key]
    return made


def _tags(found: Gated) -> dict[str, str]:
    sides = {side: bento.tag for side, bento in found.sides.items()}
    model = {f"{side}_model_version": bento.labels.get("mlflow_version", "") for side, bento in found.sides.items()}
    return {"kind": KIND, "outcome": found.verdict.outcome, **sides, **model}


def gates(experiment: str) -> list[Gate]:
    """All gates that were logged.

    Raises:
        RegistryError: MLflow is out of reach.
    """
    tracking.connect("there is no history without it")
    return [
        Gate(
            began=run.began,
            baseline=run.tags["baseline"],
            candidate=run.tags["candidate"],
            protocol=run.params["protocol"],
            outcome=run.tags["outcome"],
            numbers=run.metrics,
        )
        for run in tracking.runs(experiment, {"kind": KIND})
    ]
