"""The files of the model that serves, found in BentoML's store by what its service says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.errors import NotFoundError
from monitoring.context import Served

#: Where BentoML keeps what MLflow logged, in its model's folder.
INSIDE = "mlflow_model"


def folder(served: Served) -> Path:
    """Where `model.onnx` and the card of the served model lie.

    Raises:
        NotFoundError: BentoML's store has no such model, or another of that version.
    """
    for stored in _candidates(served):
        labels = stored.info.labels
        if (labels.get("mlflow_version"), labels.get("run_id", "unknown")) == (served.version, served.run_id):
            return Path(stored.path) / INSIDE
    raise NotFoundError(
        f"BentoML's store holds no model {served.model!r} of version {served.version} and run {served.run_id}, which is "
        "served: set BENTOML_HOME to the store that the service was started from"
    )


def bento_folder(served: Served) -> Path:
    """Where the served Bento lies.

    Raises:
        NotFoundError: BentoML's store has no such Bento, or it is served from the project.
    """
    import bentoml

    try:
        return Path(bentoml.bentos.get(served.bento).path)
    except (bentoml.exceptions.BentoMLException, ValueError) as err:
        raise NotFoundError(
            f"BentoML's store holds no Bento {served.bento!r}, which is served: set BENTOML_HOME to the store that the "
            "service was started from; a service that was started from the project has none"
        ) from err


def _candidates(served: Served) -> list[Any]:
    import bentoml

    try:
        return list(bentoml.models.list(served.model))
    except bentoml.exceptions.NotFound:  # none of that name, ever
        return []
