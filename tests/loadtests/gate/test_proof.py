from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadtests.faults import LoadtestError
from loadtests.gate import proof
from loadtests.gate.proof import Series


def numbers(throughput: float, **ratios: float) -> dict[str, Any]:
    """What a gate writes, as far as it is read."""
    checks = [{"name": name, "numbers": {"estimate": ratio, "baseline": 1.0}} for name, ratio in ratios.items()]
    whole = {"name": "throughput", "numbers": {"estimate": 1.0, "baseline": throughput}}
    return {"checks": [*checks, whole, {"name": "generator", "numbers": {"busy": 0.2}}]}


SAME = Series(
    "the same Bento",
    ["pass", "inconclusive", "pass", "error"],
    [60.4, 150.0, 71.6, 12.0],
    [numbers(1_000, p50=0.9), numbers(800, p50=1.0), numbers(500, p50=1.2), {"checks": [], "error": "no model"}],
)
SLOWER = Series(
    "10% slower (125 us more a request)", ["fail"], [48.0], [numbers(900, p50=1.1, p95=1.2, processor=1.15)]
)


def test_the_table() -> None:
    assert proof.table([SAME, SLOWER]).splitlines() == [
        "| candidate | gates | pass | fail | inconclusive | error | seconds | median of the ratios |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        (
            "| the same Bento | 4 | 2 | 0 | 1 | 1 | 66 (12 to 150) | "
            "p50 1.000, p95 nan, throughput 1.000, processor nan |"
        ),
        (
            "| 10% slower (125 us more a request) | 1 | 0 | 1 | 0 | 0 | 48 (48 to 48) | "
            "p50 1.100, p95 1.200, throughput 1.000, processor 1.150 |"
        ),
    ]


def test_a_request_costs_what_a_busy_service_takes_for_it() -> None:
    assert proof._cost(SAME) == 1 / 800


def test_nobody_says_what_a_request_costs(tmp_path: Path) -> None:
    wanted = "no gate of the Bento against itself says what a request costs: "
    with pytest.raises(LoadtestError, match=f"{wanted}none was run: --same 1 or more"):
        proof.run("b:1", 0, {0.1: 1}, None, tmp_path / "params.yaml")
    broken = Series("the same Bento", ["error"], [1.0], [{"checks": [], "error": "error: no model"}])
    with pytest.raises(LoadtestError, match=f"{wanted}error: no model"):
        proof._cost(broken)
