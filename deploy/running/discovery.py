"""Whom Prometheus asks: a file of the instances and Envoys that are wanted, for its `file_sd_configs`.

One that is wanted and does not answer stays in it, so that its `up` of 0 can be seen; one that goes is taken out before it
is asked to end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from data.atomic import write_text
from deploy import versions
from deploy.journal import INSTANCE, ROUTER, Process

#: Of an instance's metrics, and of an Envoy's.
JOBS = {INSTANCE: "bentocast", ROUTER: "router"}
ROUTER_PATH = "/stats/prometheus"


class Group(TypedDict):
    """Targets that share their labels.

    Attributes:
        targets: addresses, `host:port`.
        labels: by name.
    """

    targets: list[str]
    labels: dict[str, str]


def groups(processes: Iterable[Process]) -> list[Group]:
    """Targets of the processes that are wanted, one a group."""
    return [
        {"targets": [f"127.0.0.1:{one.about['ports'][0]}"], "labels": {"job": JOBS[one.about["kind"]], **_labels(one)}}
        for one in processes
        if one.wanted and one.about["kind"] in JOBS
    ]


def write(path: Path, processes: Iterable[Process]) -> None:
    """Put the targets into the file, unless they are what it holds.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    text = json.dumps(groups(processes), indent=2) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _labels(process: Process) -> dict[str, str]:
    """Besides its job."""
    if process.about["kind"] == INSTANCE:
        return {"version": versions.own(process.about["version"]), "instance_name": process.name}
    return {"__metrics_path__": ROUTER_PATH}
