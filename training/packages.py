"""What a model is made with."""

from __future__ import annotations

import importlib.metadata
import platform

#: Packages whose versions decide what the model computes.
PACKAGES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx")


def versions() -> dict[str, str]:
    """Versions of Python and of those packages."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
