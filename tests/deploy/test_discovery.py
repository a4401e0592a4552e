"""Whom Prometheus asks, and when the file is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.journal import Process
from deploy.running import discovery


def process(name: str, about: dict[str, Any], *, wanted: bool = True, fault: str = "") -> Process:
    return Process(name, about, wanted, 77, 1.0, (1.0,), fault)


INSTANCE = process("b-1", {"kind": "instance", "version": "b", "tag": "bentocast:B", "ports": [21000, 21001]})
ENVOY = process("router-9901", {"kind": "router", "ports": [9901]})
OF_INSTANCE = {
    "targets": ["127.0.0.1:21000"],
    "labels": {"job": "bentocast", "version": "b", "instance_name": "b-1"},
}
OF_ENVOY = {"targets": ["127.0.0.1:9901"], "labels": {"job": "router", "__metrics_path__": "/stats/prometheus"}}


@pytest.mark.parametrize(
    ("processes", "wanted"),
    [
        ([], []),
        ([INSTANCE, ENVOY], [OF_INSTANCE, OF_ENVOY]),
        ([process("b-1", {**INSTANCE.about, "version": "b_baseline"})], [OF_INSTANCE]),
        ([process("b-1", INSTANCE.about, fault="ended 5 times")], [OF_INSTANCE]),
        ([process("b-1", INSTANCE.about, wanted=False), ENVOY], [OF_ENVOY]),
        ([process("other", {"kind": "something else"})], []),
    ],
    ids=["none", "both", "baseline", "given up", "goes", "without metrics"],
)
def test_what_is_asked(processes: list[Process], wanted: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    discovery.write(path, processes)
    assert json.loads(path.read_text()) == wanted


def test_it_is_written_only_when_something_changed(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    discovery.write(path, [INSTANCE])
    before = path.stat().st_ino
    discovery.write(path, [INSTANCE])
    assert path.stat().st_ino == before
    discovery.write(path, [INSTANCE, ENVOY])
    assert path.stat().st_ino != before
    assert list(tmp_path.iterdir()) == [path]
