"""params.yaml checked whole, before any stage starts: also what only the features know to be impossible."""

from __future__ import annotations

from pathlib import Path

from data import params
from data.declaration import Declaration
from data.features import Design
from data.params import Params


def load(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ConfigError: a key or value is wrong, a window is no multiple of the frequency, or a feature is
            not known at the origin.
    """
    config = params.load(path)
    Design(Declaration(series=config.series, features=config.features), floor=1.0)
    return config
