"""From what survives (git, DVC's remote, MLflow's server) to a service that answers as before: each step looks at what it got.

Every step may be killed and run again: what is done already is compared, not done twice.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data import dvclock
from data.errors import RegistryError, SourceError
from data.params import Params
from data.sources import address
from deploy.faults import BuildError
from training import bento, registry, tracking

#: Label of a Bento: the commit that it was built from.
BUILT_FROM = "built_from"


def run(config: Params, serve: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Bring tables and model, the champion, its Bento and the deployment back.

    Args:
        config: the configuration.
        serve: brings a Bento up, by its tag.
        say: tells a person what was done, and how long it took.

    Raises:
        RegistryError: MLflow is out of reach, or has no champion; nothing was done.
        SourceError: DVC cannot bring the files.
        DataError: a file is not what dvc.lock says.
        ModelError: a file of the model is not what was registered.
        BuildError: `bentoml build` failed.
    """
    began = time.monotonic()
    with _step("registry", say) as told:
        told.append(_champion(config.promote.experiment))
    with _step("data", say) as told:
        _pull()
        told.append(f"{dvclock.check():,} bytes are what {dvclock.LOCK} says")
    with _step("model", say) as told:
        tag, _ = bento.import_model(config.promote.experiment, registry.CHAMPION, whole=True)
        told.append(f"{tag}, its files are what was registered")
    with _step("Bento", say) as told:
        made = _built(tag)
        told.append(made)
    with _step("service", say) as told:
        serve(made)
        told.append("up")
    say(f"restore: done in {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def _step(name: str, say: Callable[[str], None]) -> Iterator[list[str]]:
    began = time.monotonic()
    told: list[str] = []
    yield told
    say(f"restore: {name}: {', '.join(told)} ({time.monotonic() - began:.1f} s)")


def _champion(name: str) -> str:
    """The version that is to come back; a registry that was lost as well is not made anew."""
    server, champion = "", None
    if tracking.is_there():
        server = tracking.connect("nothing was restored, the same command tries again")
        champion = registry.alias(name, registry.CHAMPION)
    if champion is None:
        raise RegistryError(
            f"MLflow holds no champion of {name!r}: set MLFLOW_TRACKING_URI to the server that does; if that is lost too, "
            "`dvc pull` and `dvc repro -sf promote` register the model that DVC keeps as version 1; nothing was restored"
        )
    return f"{name} version {champion.number} at {server}"


def _pull() -> None:
    """`dvc pull`; what is there already is not fetched again.

    Twice: seen with DVC 3.67, the first one after one that was killed may find files missing that the next one fetches.
    """
    dvclock.outs()
    done = _run("dvc", "pull")
    if done.returncode != 0:
        done = _run("dvc", "pull")
    if done.returncode != 0:
        said = " ".join(done.stderr[max(0, done.stderr.find("ERROR: ")) :].removeprefix("ERROR: ").split())
        raise SourceError(
            f"`dvc pull` failed: {address.mask(said)[:600]}; see the remote with "
            "`dvc remote list`; the same command goes on from here"
        )


def _built(model: str) -> str:
    """Tag of a Bento of this commit that carries a model: the newest one if it does, else a new one."""
    commit = _commit()
    newest = _newest()
    if newest and commit and newest.info.labels.get(BUILT_FROM) == commit and model in _models(newest):
        return str(newest.tag)
    labels = [*bento.labels().items(), *([(BUILT_FROM, commit)] if commit else [])]
    done = _run(
        "bentoml", "build", "-o", "tag", *(word for key, value in labels for word in ("--label", f"{key}={value}"))
    )
    tag = done.stdout.strip().rpartition("__tag__:")[2]
    if done.returncode != 0 or not tag:
        raise BuildError(f"`bentoml build` failed ({done.returncode}): {' '.join(done.stderr.split())[-600:]}")
    return tag


def _newest() -> Any:
    import bentoml

    try:
        return bentoml.bentos.get("bentocast")
    except bentoml.exceptions.BentoMLException:
        return None


def _models(found: Any) -> set[str]:
    return {str(model.tag) for model in found.info.all_models}


def _commit() -> str | None:
    """The commit that the files of the workspace are; None if they are of no commit."""
    done = _run("git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    return done.stdout.strip() if done.returncode == 0 and not done.stdout.strip().endswith("-dirty") else None


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name(words[0])
    command = [str(beside) if beside.exists() else words[0], *words[1:]]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
