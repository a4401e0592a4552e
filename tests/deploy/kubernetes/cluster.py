"""A cluster that manifests are made for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from data.deployment import Deploy
from deploy.kubernetes import render

BENTO = "bentocast:a1b2c3"
CLUSTER: dict[str, Any] = {
    "image": "registry.example.org/team/bentocast",
    "judge": "registry.example.org:5000/team/bentocast-judge:7",
    "host": "forecast.example.org",
    "gateway": {"name": "public", "namespace": "gateways"},
    "prometheus": "http://prometheus.monitoring.svc:9090",
    "namespace": "prod",
    "record_port": 5432,
}
WHOLE: dict[str, Any] = {"kubernetes": CLUSTER, "autoscale": {"least": 2, "most": 6}}

Documents = dict[str, list[dict[str, Any]]]


def config(**changes: Any) -> Deploy:
    """Of deployment, with a cluster."""
    return Deploy.model_validate(WHOLE | changes)


def documents(folder: str, files: Mapping[Path, str]) -> Documents:
    """Objects by kind, of a folder."""
    found: Documents = {}
    for path, text in files.items():
        if path.parts[0] == folder:
            for one in yaml.safe_load_all(text):
                found.setdefault(one["kind"], []).append(one)
    return found


def made(folder: str, **changes: Any) -> Documents:
    """Objects by kind, of a folder, as they are written."""
    return documents(folder, render.files(config(**changes), BENTO))
