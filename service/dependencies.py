"""What a worker runs on, for whoever compares it with the lock file and with training."""

from __future__ import annotations

import importlib.metadata
import platform

#: The `dependencies` of pyproject.toml, which a Bento does not carry.
PACKAGES = (
    "bentoml",
    "grpcio",
    "grpcio-health-checking",
    "grpcio-reflection",
    "httptools",
    "msgspec",
    "numpy",
    "onnxruntime",
    "prometheus-client",
    "protobuf",
    "pydantic",
    "pysimdjson",
    "sqlalchemy",
    "uvloop",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # uvloop, where there is none for the system
            continue
    return found
