"""Stage `promote`: log the model to MLflow, register it as challenger, and make it champion if the gate passes."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import command, frame, store
from data.dvclock import dvc_hash
from data.errors import BentocastError, DataError, ModelError
from data.features import Design
from data.forecaster import CARD_FILE, EXAMPLES_FILE, ONNX_FILE, Forecaster
from data.panel import Panel
from data.params import Params
from data.verdict import Check, Outcome, Verdict
from training import forecasts as table
from training import gate, metrics, packages, plots, proof, registry, tracking
from training.forecasts import Bounds, Forecasts
from training.registry import Version

Floats = NDArray[np.float64]

EXAMPLE_ROWS = 5
UNKNOWN = "unknown"


def run(params: Params, panel: Panel, design: Design) -> tuple[Version, Verdict, bool]:
    """Log, register, judge; promote if the verdict is a pass and a rollout is not to decide.

    Returns:
        The version, the gate's verdict, and whether it is the champion now.

    Raises:
        DataError: a stage before this one has not run.
        RegistryError: MLflow is out of reach; the champion stays.
    """
    for path in (store.BACKTEST_METRICS, store.TRAIN_METRICS, store.IMPORTANCE):
        if not path.exists():
            raise DataError(f"{path} not found: run `dvc repro` to make it, or `dvc pull` to fetch it")
    server = tracking.connect()
    command.say(f"promote: logging the run to {server}")
    forecaster = Forecaster.load(store.MODEL)
    made, bounds = table.read(store.FORECASTS, design, panel, frame.read_features(store.FEATURES, design))
    figures = metrics.summary(made, bounds)
    champion = registry.alias(params.promote.experiment, registry.CHAMPION)
    with tracking.run(params.promote.experiment, tags=proof.tags(store.MODEL)) as run_id:
        tags = lineage(run_id)
        model_uri = _log(params, panel, design, forecaster, made, bounds, figures, tags)
        command.say("promote: comparing with the champion" if champion else "promote: no champion yet")
        verdict = gate.judge(figures, params.promote.gate, _versus(params, panel, made, champion))
        tracking.log_json(verdict.model_dump(mode="json"), "gate.json")
        tracking.log({}, {}, {"gate": verdict.outcome, tracking.NOTE: _note(verdict)})
        tags = tags | {"gate": verdict.outcome, "gate_reason": str(verdict)[:4_000]}
        challenger = registry.register(model_uri, params.promote.experiment, tags)
    crowned = verdict.passed and (champion is None or params.promote.champion == "gate")
    if crowned:
        registry.promote(challenger, {"promoted_because": "the gate passed"})
    return challenger, verdict, crowned


def _note(verdict: Verdict) -> str:
    """What a person wants to read first on the run's page, as Markdown."""
    lines = [f"- {check.outcome}: {check.text}" for check in verdict.checks]
    return "\n".join([f"**Gate: {verdict.outcome}**", "", *lines, "", "Pictures are under Artifacts, `plots/`."])


def lineage(run_id: str) -> dict[str, str]:
    """Where a model comes from: run, git commit (and whether the tree was clean), DVC's hashes of data and model files."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {
        "run_id": run_id,
        "git_commit": UNKNOWN if commit is None else commit,
        "git_dirty": UNKNOWN if changes is None else str(bool(changes)).lower(),
        "data_hash": dvc_hash(store.SERIES),
        **proof.tags(store.MODEL),
    }


def _log(
    params: Params,
    panel: Panel,
    design: Design,
    forecaster: Forecaster,
    made: Forecasts,
    bounds: Bounds,
    figures: dict[str, float],
    tags: dict[str, str],
) -> str:
    trained = json.loads(store.TRAIN_METRICS.read_text())
    spent = {"backtest": json.loads(store.BACKTEST_METRICS.read_text())["cost"], "train": trained.pop("cost")}
    cost = {f"cost.{stage}.{name}": value for stage, part in spent.items() for name, value in part.items()}
    versions = packages.versions()
    python = {"python": versions.pop("python")}
    known = {f"backtest.{name}": value for name, value in figures.items() if np.isfinite(value)}
    tracking.log(
        _flat(params.model_dump(mode="json")),
        known | cost | {f"export.{name}": float(value) for name, value in trained.items()},
        tags | {f"package.{name}": version for name, version in versions.items()} | python,
    )
    steps = metrics.by_step(made, bounds)
    tracking.log_steps(steps)
    tracking.log_dataset(
        store.SERIES, name=params.series.target, digest=tags["data_hash"].removeprefix("md5:"), target="target"
    )
    for name, figure in plots.draw(panel, design, made, bounds, steps, _importance()):
        tracking.log_figure(figure, name)
    tracking.log_file(store.FORECASTS, "backtest")
    example = made.inputs[:EXAMPLE_ROWS]
    point, spread = forecaster.run(example)
    answers = {"point": point.astype(np.float32)[:, None], "spread": spread.astype(np.float32)[:, None]}
    extra = [path for path in (store.MODEL / CARD_FILE, store.MODEL / EXAMPLES_FILE) if path.exists()]
    return tracking.log_model(store.MODEL / ONNX_FILE, extra, example, answers)


def _versus(params: Params, panel: Panel, made: Forecasts, champion: Version | None) -> Check | None:
    """Compare with the champion on the challenger's backtest, wherever the champion did not see the answer."""
    if champion is None:
        return None
    try:
        with registry.files(champion) as (model, forecasts):
            theirs = table.matched(forecasts, panel, made)
            with contextlib.suppress(ModelError):
                theirs = _after_training(Forecaster.load(model), panel, made, theirs)
    except BentocastError as err:
        text = f"champion {champion.number} cannot be compared with: {err.message}"
        return Check(name="MAE / champion's", outcome=Outcome.INCONCLUSIVE, text=text)
    horizon = made.actual.shape[1]
    days = panel.times[made.origins].astype("datetime64[D]").astype(np.int64)
    ours, champions = (np.abs(part - made.actual).ravel() for part in (made.point, theirs))
    return gate.compare(ours, champions, np.repeat(days, horizon), params.promote.gate)


def _after_training(champion: Forecaster, panel: Panel, made: Forecasts, theirs: Floats) -> Floats:
    """Put the champion model's own forecasts where the origin lies after all that it was trained on."""
    series = champion.card.declaration.series
    same = series.step_seconds == panel.step_seconds and champion.design.horizon == theirs.shape[1]
    covariates = {*champion.design.future, *champion.design.past}
    late = panel.times[made.origins] >= np.datetime64(champion.card.trained_until, "s")
    late &= panel.age[made.origins] >= champion.design.context - 1
    if same and covariates <= set(panel.covariates) and late.any():
        theirs = theirs.copy()
        theirs[late] = champion.forecast(panel, made.origins[late]).point
    return theirs


def _importance() -> dict[str, float]:
    with store.IMPORTANCE.open(newline="", encoding="utf-8") as lines:
        return {row["column"]: float(row["rise"]) for row in csv.DictReader(lines)}


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _git(*arguments: str) -> str | None:
    """What git answers; None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
