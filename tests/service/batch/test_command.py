"""`python -m service batch` as people type it: killed and begun again, on processes that are killed, and its exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from service.forecasting import Answer
from tests.service.batch import tables
from tests.service.live import STORE
from tests.service.world import World

ROOT = Path(__file__).parents[3]
SERIES = 300


@pytest.fixture(scope="module")
def case(plain: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A table of many series, and what the core says of them."""
    told = tables.histories(plain, SERIES)
    path = tables.write(tmp_path_factory.mktemp("batch") / "in.parquet", tables.table(told, plain))
    return path, tables.expected(plain, told)


def command(world: World, path: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """Begin a batch, a series at a time."""
    words = [sys.executable, "-m", "service", "batch", str(path), str(output), "--model", str(world.folder), *options]
    environment = {key: value for key, value in os.environ.items() if key != "DASK_SCHEDULER_ADDRESS"}
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def parts(output: Path) -> int:
    return len(list(Path(f"{output}.parts").glob("part-*.parquet")))


def until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait, while the process is there."""
    late = time.monotonic() + 60
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < late
        time.sleep(0.005)


def test_a_killed_run_goes_on_where_it_stopped(plain: World, case: tuple[Path, Answer], tmp_path: Path) -> None:
    path, answer = case
    output = tmp_path / "out.parquet"
    killed = 0
    for least in (5, 60, 120):
        process = command(plain, path, output, "--chunk", "1")
        until(lambda least=least: parts(output) >= least, process)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not output.exists()
        assert killed <= parts(output) < SERIES
        killed = parts(output)
    process = command(plain, path, output, "--chunk", "1")
    said, told = process.communicate(timeout=100)
    assert process.returncode == 0, told
    assert f"batch: going on where {output}.parts stopped, {killed} of {SERIES} parts are there" in told
    assert said == f"batch: {SERIES} series x 24 steps by {plain.folder} in {output}\n"
    assert tables.same(tables.numbers(output), answer)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_a_worker_that_is_killed_costs_time_alone(plain: World, case: tuple[Path, Answer], tmp_path: Path) -> None:
    path, answer = case
    output = tmp_path / "out.parquet"
    process = command(plain, path, output, "--chunk", "4", "--workers", "2")
    until(lambda: parts(output) >= 3, process)
    own = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in own if "spawn_main" in " ".join(one.cmdline())]
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    assert parts(output) < SERIES // 4
    _, told = process.communicate(timeout=100)
    assert process.returncode == 0, told
    assert tables.same(tables.numbers(output), answer)
    assert "rror" not in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (["--horizon", "25"], 2, "--horizon: got 25, wanted 1 to 24"),
        (["--model", "nobodys:abc"], 6, "no model 'nobodys:abc'"),
        (["--workers", "0"], 2, "--workers: got 0"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    plain: World, case: tuple[Path, Answer], tmp_path: Path, options: list[str], code: int, why: str
) -> None:
    process = command(plain, case[0], tmp_path / "out.parquet", *options)
    said, told = process.communicate(timeout=100)
    assert (process.returncode, said) == (code, "")
    assert told.startswith("error: ")
    assert why in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_newest_model_of_the_store_is_taken(plain: World, case: tuple[Path, Answer], tmp_path: Path) -> None:
    path, answer = case
    environment = os.environ | {"BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    words = [sys.executable, "-m", "service", "batch", str(path), str(tmp_path / "out.parquet")]
    empty = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (empty.returncode, empty.stdout) == (6, "")
    assert empty.stderr.startswith("error: BentoML's store has no model 'bentocast:latest': `bentoml models list`")
    subprocess.run([sys.executable, "-c", STORE, str(plain.folder)], env=environment, check=True, capture_output=True)
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"batch: {SERIES} series x 24 steps by bentocast:")
    assert tables.same(tables.numbers(tmp_path / "out.parquet"), answer)


def test_no_permission_is_named(plain: World, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path = tables.write(tmp_path / "in.parquet", tables.table(tables.histories(plain, 1), plain))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    process = command(plain, path, closed / "out.parquet")
    assert process.wait(100) == 74
