"""The project's own params.yaml, with values changed: what a user's edit would do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from data import params
from data.params import Params

ROOT = Path(__file__).parents[2]
DELETED = object()


def raw(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """params.yaml as a dictionary, without limits of columns.

    Args:
        changes: new values by dotted path (`{"series.target": "sales"}`); `DELETED` takes the key out.
    """
    whole: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    del whole["series"]["limits"]  # of the sample's columns, which changes may take away
    for path, value in (changes or {}).items():
        *parents, key = path.split(".")
        section = whole
        for parent in parents:
            section[parent] = section.get(parent) or {}  # one that is null may have keys
            section = section[parent]
        if value is DELETED:
            del section[key]
        else:
            section[key] = copy.deepcopy(value)
    return whole


def changed(changes: dict[str, Any] | None = None) -> Params:
    """params.yaml with changes, checked."""
    return params.parse(raw(changes))
