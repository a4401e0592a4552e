from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from loadtests.serving import h2load
from loadtests.serving.entries import GRPC, Entry
from loadtests.serving.h2load import Loaded, LoadError

PRINTED = """starting benchmark...
Warm-up phase is over for thread #0.
finished in 5.00s, 2151.00 req/s, 1.23MB/s
requests: 8604 total, 8620 started, 8604 done, 8604 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 4.92MB (5162400) total, 940.39KB (962962) headers (space savings 0.00%), 4.78MB (5015868) data
                     min         max         mean         sd        +/- sd
time for request:     3.11ms     35.90ms      7.41ms      1.02ms    81.20%
"""
GOOD = PRINTED.format(failed=0, good=8604, bad=0)


def entry(tmp_path: Path, **changes: object) -> Entry:
    (tmp_path / "body").write_bytes(b"{}")
    made = {
        "name": "ours forecast", "server": "ours", "work": "forecast", "path": "/v1/x", "body": tmp_path / "body",
        "numbers": lambda _: [], "expected": np.zeros((1, 4, 24)), "answer_bytes": 500,
    }  # fmt: skip
    return Entry(**(made | changes))  # type: ignore[arg-type]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `h2load` on the PATH that prints a file and writes down how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "h2load"
    program.write_text(f'#!/bin/sh\necho "$@" >"{tmp_path}/called"\ncat "{tmp_path}/printed"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "printed").write_text(GOOD)
    return tmp_path


def test_summary() -> None:
    assert h2load.parse(GOOD) == Loaded(rate=2151.0, succeeded=8604, failed=0, data_bytes=5015868)


@pytest.mark.parametrize(("failed", "bad", "wanted"), [(3, 0, 3), (0, 7, 7), (7, 7, 7)])
def test_failures_are_counted_once(failed: int, bad: int, wanted: int) -> None:
    assert h2load.parse(PRINTED.format(failed=failed, good=8597, bad=bad)).failed == wanted


def test_another_output_is_refused() -> None:
    with pytest.raises(LoadError, match="printed something else than its summary:\nusage"):
        h2load.parse("usage: h2load")


def test_latencies_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "1700000000000000\t200\t1500\n1700000000000001\t200\t2000000\n1700000000000002\t503\t1\n"
    )
    assert h2load.latencies(tmp_path / "log") == [0.0015, 2.0]


def test_http_is_asked_for_by_name(fake: Path) -> None:
    h2load.for_seconds(entry(fake), 4000, 5, warm_up=1)
    called = (fake / "called").read_text()
    assert "-c 16 -m 1 --h1 -D 5 --warm-up-time 1 -H content-type: application/json" in called
    assert called.strip().endswith("http://127.0.0.1:4000/v1/x")


def test_grpc_goes_to_the_next_port(fake: Path) -> None:
    h2load.for_requests(entry(fake, protocol="grpc", headers=GRPC), 4000, 100, connections=4)
    called = (fake / "called").read_text()
    assert "--h1" not in called
    assert "-c 4 -m 1 -n 100 -H content-type: application/grpc -H te: trailers" in called
    assert called.strip().endswith("http://127.0.0.1:4001/v1/x")


def test_a_few_refusals_are_reported(fake: Path) -> None:
    (fake / "printed").write_text(PRINTED.format(failed=4, good=8600, bad=4))
    assert h2load.for_seconds(entry(fake), 4000, 5).failed == 4


def test_many_failed_requests_end_the_run(fake: Path) -> None:
    (fake / "printed").write_text(PRINTED.format(failed=0, good=8000, bad=604))
    with pytest.raises(LoadError, match="ours forecast: 604 requests failed, 8000 were answered, wanted all"):
        h2load.for_seconds(entry(fake), 4000, 5)


def test_answers_that_are_too_short_end_the_run(fake: Path) -> None:
    """A gRPC error comes with status 200 and no message."""
    with pytest.raises(LoadError, match="583 bytes an answer under load, wanted 2000"):
        h2load.for_seconds(entry(fake, answer_bytes=2_000), 4000, 5)


def test_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LoadError, match="h2load is not installed: apt-get install nghttp2-client"):
        h2load.version()
