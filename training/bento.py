"""Import a registered model into BentoML's store, labelled with its lineage, for `bentoml build` and `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.errors import ModelError, RegistryError
from data.forecaster import Forecaster
from training import proof, registry, tracking
from training.registry import Version

MODEL = "bentocast"


def import_model(name: str, alias: str, *, whole: bool = False) -> tuple[str, bool]:
    """Import the version that an alias points to, unless it is the newest in the store already.

    Its files are compared with the hashes that it was registered with.

    Args:
        name: the registered model's name in MLflow.
        alias: `champion` or `challenger`.
        whole: refuse a version that has no hash of one of its files.

    Returns:
        The tag in BentoML's store, and whether it was imported just now.

    Raises:
        RegistryError: nothing has that alias yet, or MLflow is out of reach.
        ModelError: what MLflow holds is damaged; the store is as it was.
    """
    import bentoml

    tracking.connect()
    version = registry.alias(name, alias)
    if version is None:
        raise RegistryError(
            f"no {alias} of {name!r} in MLflow yet: run `dvc repro` to train one; if its gate did not pass, see why in "
            "out/promote.json and promote it by hand with `python -m training promote --version N --reason TEXT`; if dvc "
            "says that nothing changed, `dvc repro -sf promote` registers the model again"
        )
    labels = _labels(version)
    newest = _newest()
    known = newest is not None and {key: newest.info.labels.get(key) for key in labels} == labels
    if known and not (whole and _is_damaged(newest, version)):
        return str(newest.tag), False
    with registry.model(version) as folder:
        Forecaster.load(folder)  # before the store is touched
        proof.check(folder, version.tags, f"{name} version {version.number} in MLflow", whole=whole)
        imported = bentoml.mlflow.import_model(MODEL, str(folder), labels=labels, metadata=dict(version.tags))
    return str(imported.tag), True


def labels() -> dict[str, str]:
    """Labels of the newest imported model: its version, run, commit and data.

    Raises:
        RegistryError: no model was imported yet.
    """
    newest = _newest()
    if newest is None:
        raise RegistryError("BentoML's store holds no model: import one with `python -m training import`")
    return dict(newest.info.labels)


def _newest() -> Any:
    import bentoml

    try:
        return bentoml.models.get(f"{MODEL}:latest")
    except bentoml.exceptions.NotFound:
        return None


def _is_damaged(model: Any, version: Version) -> bool:
    try:
        proof.check(Path(model.path) / "mlflow_model", version.tags, str(model.tag), whole=True)
    except ModelError:
        return True
    return False


def _labels(version: Version) -> dict[str, str]:
    """Labels have 63 characters at most."""
    return {
        "mlflow_name": version.name,
        "mlflow_version": version.number,
        "run_id": version.run_id,
        "git_commit": version.tags.get("git_commit", "unknown"),
        "data_hash": version.tags.get("data_hash", "unknown").replace(":", "-"),
    }
