"""Where a Bento comes from: the chain from its tag back to the data, read from what it carries."""

from __future__ import annotations

from typing import Any

import bentoml

from data.errors import NotFoundError


def of(tag: str) -> list[tuple[str, str]]:
    """The chain, newest first, as pairs of name and value.

    Args:
        tag: `name:version`, or `name` for the newest.

    Raises:
        NotFoundError: the store holds no such Bento, or it carries no model.
    """
    bento, model = carried(tag)
    labels = model.info.labels
    return [
        ("bento", str(bento.tag)),
        ("built", f"{bento.info.creation_time:%Y-%m-%d %H:%M:%S %Z}"),
        ("bentoml model", str(model.tag)),
        ("mlflow model", f"{labels.get('mlflow_name', '?')} version {labels.get('mlflow_version', '?')}"),
        ("mlflow run", labels.get("run_id", "?")),
        ("git commit", labels.get("git_commit", "?")),
        ("data", labels.get("data_hash", "?")),
    ]


def labels(tag: str) -> dict[str, str]:
    """Labels of the model that a Bento carries: its version and run in MLflow, commit and data; errors as `of`."""
    return dict(carried(tag)[1].info.labels)


def carried(tag: str) -> tuple[Any, Any]:
    """A Bento in the store and the model that it carries; errors as `of`."""
    try:
        bento = bentoml.bentos.get(tag)
    except (bentoml.exceptions.BentoMLException, ValueError) as err:  # the latter of what is no tag
        raise NotFoundError(f"BentoML's store holds no Bento {tag!r}: see them with `bentoml list`") from err
    models = bento.info.all_models
    if not models:
        raise NotFoundError(f"Bento {tag!r} carries no model: build it with `bentoml build` in the project")
    return bento, bentoml.models.get(models[0].tag)
