"""The simulator as people use it: the real deployment, a fault, and the test that finds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.data import project

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

TREES = {"max_iter": 10, "max_leaf_nodes": 7, "min_samples_leaf": 20}
SMALL = {
    "ingest.sample.stations": 3,
    "backtest": {"folds": 3, "fold": "7d", "every": "7d", "stride": 24, "season": "7d"},
    "train": {"max_rows": 4_000, "point": TREES, "spread": TREES},
    "promote.gate": {"min_days": 10, "coverage_tolerance": 0.5, "max_ratio_to_naive": 5.0},
}


def test_a_fault_is_found_by_its_test_and_by_no_other_before(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(project.raw(SMALL)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "monitoring", "--params", str(params), "simulate", "nan"],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| nan: some outputs are no numbers | found by numerics after " in done.stdout
    assert "nan: as it must be" in done.stderr
    assert "failed requests" not in done.stdout


def test_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "monitoring", "simulate", "rain"],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 10
    assert "got 'rain', wanted one of quiet, drift" in done.stderr
