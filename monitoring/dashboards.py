"""Grafana's dashboards, as JSON that it imports or is provisioned with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data import atomic
from data.params import Params
from monitoring.panels import Panel, panels

WIDTH, HEIGHT, A_ROW = 12, 8, 2
#: Of Grafana 10; later ones read it.
SCHEMA_VERSION = 38
SOURCE = {"type": "prometheus", "uid": "${source}"}


def write(folder: Path, params: Params) -> list[Path]:
    """Write one file a dashboard: their paths."""
    made = []
    for name, shown in panels(params).items():
        made.append(folder / f"{name}.json")
        atomic.write_text(made[-1], json.dumps(dashboard(name, shown), indent=2) + "\n")
    return made


def dashboard(name: str, shown: tuple[Panel, ...]) -> dict[str, Any]:
    """One dashboard; which Prometheus it asks can be chosen on it."""
    return {
        "uid": f"bentocast-{name}",
        "title": f"bentocast: {name}",
        "tags": ["bentocast"],
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(shown)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    style = "off" if panel.limit is None else "line"
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": number % A_ROW * WIDTH, "y": number // A_ROW * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"thresholdsStyle": {"mode": style}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
    }
