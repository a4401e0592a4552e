"""What a lock file pins."""

from __future__ import annotations

from pathlib import Path

from packaging.requirements import Requirement

from data.errors import NotFoundError

#: In a Bento, what it installs.
IN_BENTO = Path("env/python/requirements.txt")


def versions(path: Path, python: str | None = None) -> dict[str, str]:
    """Pinned versions by package, of the lines that hold for a Python.

    Args:
        path: of a `requirements.txt` with hashes.
        python: its version, such as 3.11.7; the running one by default.

    Raises:
        NotFoundError: there is no such file.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as err:
        raise NotFoundError(
            f"{path} not found: run the command in the project's folder, or build the Bento again"
        ) from err
    setting = {} if python is None else {"python_full_version": python, "python_version": minor(python)}
    pinned = {}
    for line in text.splitlines():
        if "==" not in line or line.startswith(("#", " ", "-")):
            continue
        wanted = Requirement(line.rstrip("\\ "))
        if wanted.marker is None or wanted.marker.evaluate(setting):
            pinned[wanted.name] = str(wanted.specifier).removeprefix("==")
    return pinned


def minor(version: str) -> str:
    """The first two numbers of a version."""
    return ".".join(version.split(".")[:2])
