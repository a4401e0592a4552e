"""Whether a model's files are those that were registered: their hashes stand as tags on the run and on the version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data.dvclock import dvc_hash
from data.errors import ModelError
from data.forecaster import CARD_FILE, EXAMPLES_FILE, ONNX_FILE, beside

FILES = {"model_hash": ONNX_FILE, "card_hash": CARD_FILE, "examples_hash": EXAMPLES_FILE}


def tags(folder: Path) -> dict[str, str]:
    """DVC's hashes of a model's files, by the names of their tags; a file that is not there has none."""
    there = {tag: path for tag, name in FILES.items() if (path := beside(folder, name)).exists()}
    return {tag: dvc_hash(path) for tag, path in there.items()}


def check(folder: Path, registered: Mapping[str, str], what: str, *, whole: bool) -> None:
    """Compare a model's files with the tags of its version.

    Args:
        folder: of the model, as training or MLflow laid it out.
        registered: the version's tags.
        what: the version, for messages.
        whole: every file must have a tag; versions of an earlier bentocast have one for the ONNX file alone.

    Raises:
        ModelError: a file is another one, is missing, or cannot be compared.
    """
    found = tags(folder)
    for tag, name in FILES.items():
        got, wanted = found.get(tag, "no file"), registered.get(tag)
        if wanted is None and tag in found and whole:
            raise ModelError(
                f"{what}: it has no tag {tag} to compare {name} ({got}) with; import it as it is with `python -m training "
                "import`, or register it again with `dvc repro -sf promote`"
            )
        if wanted is not None and got != wanted:
            raise ModelError(
                f"{what}: {name} is not what was registered: got {got}, wanted {wanted}; nothing was imported. Bring the "
                "server's artifacts back from its backup, or register the model again with `dvc repro -sf promote`"
            )
