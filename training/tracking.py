"""Runs in MLflow: how they were set, what was measured, and the files that came of them.

Default: SQLite in `mlflow.db` and artifacts in `mlruns/`; `MLFLOW_TRACKING_URI` is honoured.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from data.errors import ConfigError, RegistryError
from data.sources import address
from training.mlflow_errors import named

DEFAULT_URI = "sqlite:///mlflow.db"
#: How long an unreachable server may keep a stage waiting.
CONNECT_SECONDS = 5
FORECASTS = "backtest/forecasts.parquet"
#: The tag that MLflow shows as a run's description.
NOTE = "mlflow.note.content"
#: Unless the user says otherwise: fail soon, call nobody, and leave the terminal to the stages.
QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def connect(then: str = "nothing was registered, `dvc repro` goes on from here") -> str:
    """Point MLflow at its tracking server, once it is known to be there.

    Args:
        then: what an error says of what was and was not done.

    Returns:
        The address, without credentials.

    Raises:
        ConfigError: `MLFLOW_TRACKING_URI` is no address.
        RegistryError: nothing answers there.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    shown = address.mask(uri)
    if uri.startswith(("http://", "https://")):
        try:
            socket.create_connection(_host_and_port(uri), CONNECT_SECONDS).close()
        except OSError as err:
            raise RegistryError(
                f"MLflow does not answer at {shown} ({err}); start it, or set MLFLOW_TRACKING_URI to one that runs "
                f"(unset, it is {DEFAULT_URI}); {then}"
            ) from err
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    return shown


def is_there() -> bool:
    """Whether there is a tracking server to connect to, or a database that was made before: `connect` would make one."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or Path(DEFAULT_URI.removeprefix("sqlite:///")).is_file()


class Run(NamedTuple):
    """A run of the past: when it began (seconds since 1970), how it was set, what was measured and said."""

    began: float
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def runs(experiment: str, tags: dict[str, str]) -> list[Run]:
    """All finished runs of an experiment with some tags, oldest first; none if there is no such experiment."""
    from mlflow import MlflowClient

    with named():
        client = MlflowClient()
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        wanted = " and ".join([f"tags.`{key}` = '{value}'" for key, value in tags.items()] + ["status = 'FINISHED'"])
        made: list[Run] = []
        token: str | None = ""
        while token is not None:
            page = client.search_runs([found.experiment_id], wanted, order_by=["start_time"], page_token=token)
            made += [Run(one.info.start_time / 1e3, one.data.params, one.data.metrics, one.data.tags) for one in page]
            token = page.token or None
        return made


def figures(run_id: str) -> dict[str, float]:
    """The figures of a run, the last of each.

    Raises:
        RegistryError: MLflow is out of reach, or has no such run.
    """
    connect("nothing was judged, the same command tries again")
    from mlflow import MlflowClient

    with named():
        return dict(MlflowClient().get_run(run_id).data.metrics)


@contextlib.contextmanager
def run(experiment: str, name: str | None = None, tags: dict[str, str] | None = None) -> Iterator[str]:
    """A run, or the one that `mlflow run` has begun; marked failed if the block raises. Gives its id.

    Args:
        experiment: of the run.
        name: of the run.
        tags: by which it is known from its first moment; an earlier one with the same that never ended (its process
            was killed, or lost the server) is marked failed.
    """
    import mlflow

    with named():
        if "MLFLOW_RUN_ID" not in os.environ:
            mlflow.set_experiment(experiment)
        if tags:
            _end_lost(experiment, tags)
        active = mlflow.start_run(run_name=name, tags=tags)
    with named(), active:
        yield active.info.run_id


def _end_lost(experiment: str, tags: dict[str, str]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    wanted = " and ".join([f"tags.`{key}` = '{value}'" for key, value in tags.items()] + ["status = 'RUNNING'"])
    for lost in client.search_runs([found.experiment_id], wanted) if found else []:
        if lost.info.run_id != os.environ.get("MLFLOW_RUN_ID"):
            client.set_terminated(lost.info.run_id, "FAILED")


def log(params: dict[str, Any], metrics: dict[str, float], tags: dict[str, str]) -> None:
    """Log flat parameters, metrics and tags of the active run."""
    import mlflow

    with named():
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        mlflow.set_tags(tags)


def log_steps(rows: list[dict[str, float]]) -> None:
    """Log a metric per step ahead, so that MLflow draws it as a curve."""
    import mlflow

    with named():
        for row in rows:
            at = int(row["step"])
            mlflow.log_metrics({f"by_step.{name}": value for name, value in row.items() if name != "step"}, step=at)


def log_figure(figure: Any, name: str) -> None:
    """Log a picture under `plots/`."""
    import mlflow

    with named():
        mlflow.log_figure(figure, f"plots/{name}")


def log_file(path: Path, folder: str) -> None:
    """Log a file as it is."""
    import mlflow

    with named():
        mlflow.log_artifact(str(path), folder)


def log_json(content: object, name: str) -> None:
    """Log a JSON document."""
    import mlflow

    with named():
        mlflow.log_text(json.dumps(content, indent=2), name)


def log_dataset(path: Path, *, name: str, digest: str, target: str) -> None:
    """Log which table the run was trained on: its shape, its schema and DVC's hash of it."""
    import mlflow
    import mlflow.data
    import pandas as pd

    with named():
        frame = pd.read_parquet(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a path could be one of two kinds of local source
            dataset = mlflow.data.from_pandas(frame, source=str(path), name=name, digest=digest[:36], targets=target)
        mlflow.log_input(dataset, context="training")


def log_model(onnx_file: Path, extra_files: list[Path], example: Any, answers: dict[str, Any]) -> str:
    """Log the ONNX model with what lies beside it, its signature and an input example.

    Args:
        onnx_file: `model.onnx`.
        extra_files: `forecaster.json`, and `examples.json` if there is one.
        example: a few input rows, float32.
        answers: the model's outputs for them, by name.

    Returns:
        The model's address in MLflow.
    """
    import mlflow
    import mlflow.onnx
    import onnx
    from mlflow.models import infer_signature

    with named():
        logged = mlflow.onnx.log_model(
            onnx.load(onnx_file),
            name="model",
            signature=infer_signature({"features": example}, answers),
            input_example={"features": example},
            pip_requirements=["onnxruntime", "numpy"],
            onnx_execution_providers=["CPUExecutionProvider"],
            extra_files=list(map(str, extra_files)),
            save_as_external_data=False,
        )
        return str(logged.model_uri)


def attach(run_id: str, path: Path, folder: str, tags: dict[str, str]) -> bool:
    """Add a file and tags to a run of the past; whether there is such a run."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with named():
        client = MlflowClient()
        try:
            client.get_run(run_id)
        except MlflowException as err:
            if err.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return False
        client.log_artifact(run_id, str(path), folder)
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
    return True


def _host_and_port(uri: str) -> tuple[str, int]:
    try:
        parts = urllib.parse.urlsplit(uri)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as err:
        raise ConfigError(f"MLFLOW_TRACKING_URI: got {address.mask(uri)!r}, which is no address: {err}") from err
    if not parts.hostname:
        raise ConfigError(f"MLFLOW_TRACKING_URI: got {address.mask(uri)!r}, which names no host")
    return parts.hostname, port
