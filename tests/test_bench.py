"""What benchmarks are to reach is told, and decides how their command ends."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from tests import bench, bench_join
from tests.bench_wanted import NOT_REACHED, Wanted, tell


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Wanted("x", 60.0, 60.0), True),
        (Wanted("x", 60.1, 60.0), False),
        (Wanted("x", 0.95, 0.95, most=False), True),
        (Wanted("x", 0.94, 0.95, most=False), False),
        (Wanted("x", math.nan, 60.0), False),
        (Wanted("x", math.nan, 0.95, most=False), False),
    ],
)
def test_a_limit_is_reached_up_to_itself_and_by_no_nan(figure: Wanted, reached: bool) -> None:  # noqa: FBT001
    assert tell([Wanted("y", 1.0, 1.0), figure]) is reached


def test_each_figure_stands_beside_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    tell([Wanted("join", 62.4, 60.0, " s"), Wanted("left", 0.976, 0.95, most=False)])
    assert capsys.readouterr().out == (
        "\n| wanted | measured | limit | |\n|---|---|---|---|\n"
        "| join | 62.4 s | at most 60 s | NOT REACHED |\n| left | 0.976 | at least 0.95 | reached |\n"
    )


@pytest.mark.parametrize(
    ("seconds", "memory", "code"), [(60.0, 2e9, 0), (61.0, 2e9, NOT_REACHED), (1.0, 3e9, NOT_REACHED)]
)
def test_a_join_that_takes_too_much_ends_its_command_with_7(
    monkeypatch: pytest.MonkeyPatch, seconds: float, memory: float, code: int
) -> None:
    told = json.dumps({"found": [24_000, 1.0, 0.8], "seconds": seconds, "processor": 1.0, "memory": memory})
    done = subprocess.CompletedProcess([], 0, told, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(bench_join, "write", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["bench", "join", "--rounds", "1"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == code


@pytest.mark.parametrize("code", [0, 1, NOT_REACHED])
def test_the_benchmark_of_monitoring_ends_as_its_process_does(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code))
    monkeypatch.setattr(sys, "argv", ["bench", "monitoring"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == code
