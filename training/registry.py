"""MLflow's registry of models: versions, their aliases and tags, and their files."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from data.errors import RegistryError
from training.mlflow_errors import named
from training.tracking import FORECASTS

CHALLENGER, CHAMPION = "challenger", "champion"


class Version(NamedTuple):
    """A version in the registry."""

    name: str
    number: str
    run_id: str
    tags: dict[str, str]


def register(model_uri: str, name: str, tags: dict[str, str]) -> Version:
    """Make a new version and give it the alias `challenger`."""
    import mlflow
    from mlflow import MlflowClient

    with named():
        made = mlflow.register_model(model_uri, name, tags=tags)
        MlflowClient().set_registered_model_alias(name, CHALLENGER, made.version)
        return Version(name, str(made.version), str(made.run_id or ""), tags)


def alias(name: str, which: str) -> Version | None:
    """The version that an alias points to, or None."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with named():
        try:
            number = MlflowClient().get_registered_model(name).aliases.get(which)
        except MlflowException as err:
            if err.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
    return None if number is None else find(name, str(number))


def version(name: str, number: str) -> Version:
    """A version by its number.

    Raises:
        RegistryError: there is no such version.
    """
    found = find(name, number)
    if found is None:
        raise RegistryError(f"MLflow holds no version {number!r} of {name!r}: see them in `mlflow ui`")
    return found


def find(name: str, number: str) -> Version | None:
    """A version by its number, or None if this registry does not hold it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with named():
        try:
            found = MlflowClient().get_model_version(name, number)
        except MlflowException as err:
            if err.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None
        return Version(name, str(found.version), str(found.run_id or ""), dict(found.tags))


def labelled(labels: Mapping[str, str]) -> Version | None:
    """The version that a Bento carries, by its labels, or None if this registry does not hold it.

    A Bento may have been made where another registry was, whose numbers mean other models: the run has to be the same.
    """
    name, number = labels.get("mlflow_name"), labels.get("mlflow_version")
    found = find(name, number) if name and number else None
    return found if found and found.run_id == labels.get("run_id", found.run_id) else None


def promote(chosen: Version, tags: dict[str, str]) -> None:
    """Give a version the alias `champion`, and say on it why."""
    from mlflow import MlflowClient

    with named():
        client = MlflowClient()
        tag(chosen, tags)
        client.set_registered_model_alias(chosen.name, CHAMPION, chosen.number)


def tag(chosen: Version, tags: dict[str, str]) -> None:
    """Set tags of a version."""
    from mlflow import MlflowClient

    with named():
        for key, value in tags.items():
            MlflowClient().set_model_version_tag(chosen.name, chosen.number, key, value)


@contextlib.contextmanager
def model(chosen: Version) -> Iterator[Path]:
    """The version's model folder, downloaded for as long as the block runs."""
    import mlflow.artifacts

    with tempfile.TemporaryDirectory(prefix="bentocast-") as folder:
        with named():
            path = mlflow.artifacts.download_artifacts(f"models:/{chosen.name}/{chosen.number}", dst_path=folder)
        yield Path(path)


@contextlib.contextmanager
def files(chosen: Version) -> Iterator[tuple[Path, Path]]:
    """The version's model folder and its backtest's forecasts, downloaded for as long as the block runs."""
    import mlflow.artifacts

    with model(chosen) as path, tempfile.TemporaryDirectory(prefix="bentocast-") as folder:
        with named():
            forecasts = mlflow.artifacts.download_artifacts(f"runs:/{chosen.run_id}/{FORECASTS}", dst_path=folder)
        yield path, Path(forecasts)
