"""Tasks in order: in this process, in processes of this machine, and on a cluster that others started."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data import cluster
from data.cluster import Each
from data.errors import ConfigError, DataError
from tests.data import tasks
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]


#: A worker whose end the scheduler missed is given up after five minutes else.
WORKER_TTL = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s"}


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cluster.add_options(parser)
    return parser.parse_args(words)


@pytest.fixture(scope="module")
def two() -> Iterator[Each]:
    """Two processes of this machine."""
    with cluster.opened(options("--workers", "2"), {}) as each:
        yield each


@contextlib.contextmanager
def started(*words: str, cwd: Path = ROOT) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Dask's, ended in the end."""
    command = [sys.executable, "-m", "dask", *words]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | WORKER_TTL
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def wait_for(at: int) -> None:
    """Until somebody listens on a port."""
    late = time.monotonic() + 30
    while time.monotonic() < late:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", at), 1):
            return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler without workers."""
    at = free_ports()
    with started("scheduler", "--host", "127.0.0.1", "--port", str(at), "--no-dashboard"):
        wait_for(at)
        yield f"tcp://127.0.0.1:{at}"


def worker(address: str, cwd: Path = ROOT) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return started("worker", address, "--nthreads", "1", "--no-dashboard", cwd=cwd)


def test_without_options_tasks_are_done_here_one_after_another() -> None:
    with cluster.opened(options(), {}) as each:
        assert each is cluster.here
        assert list(each(tasks.pids, None, [0.0, 0.0])) == [os.getpid()] * 2
        made = each(tasks.bad, None, [1, 2, 3])
        assert [next(made), next(made)] == [1, 2]


class TestProcesses:
    def test_results_come_in_order_whoever_is_first(self, two: Each) -> None:
        items = [0.1 * value for value in range(50)]
        assert list(two(tasks.times, 1 / 3, iter(items))) == list(cluster.here(tasks.times, 1 / 3, items))
        slow_first = list(two(tasks.pids, None, [0.5, *[0.0] * 9]))
        assert len(set(slow_first)) == 2
        assert os.getpid() not in slow_first

    def test_items_are_taken_as_they_are_needed(self, two: Each) -> None:
        taken: list[int] = []

        def items() -> Iterator[int]:
            for item in range(1_000):
                taken.append(item)
                yield item

        made = two(tasks.times, 2.0, items())
        assert next(made) == 0.0
        assert len(taken) <= 2 * cluster.AHEAD
        made.close()  # type: ignore[attr-defined]

    def test_each_has_one_thread(self, two: Each) -> None:
        assert list(two(tasks.environment, None, ["OMP_NUM_THREADS"])) == ["1"]

    def test_no_items_give_no_results(self, two: Each) -> None:
        assert list(two(tasks.times, 1.0, [])) == []

    def test_an_error_of_a_task_comes_in_its_place(self, two: Each) -> None:
        made = two(tasks.bad, None, range(9))
        assert [next(made), next(made), next(made)] == [0, 1, 2]
        with pytest.raises(DataError, match="item 3 is bad") as caught:
            next(made)
        assert caught.value.param == "item"

    def test_a_task_whose_worker_is_killed_is_done_again(self, two: Each, tmp_path: Path) -> None:
        assert list(two(tasks.dying, str(tmp_path), range(7))) == [item * 10 for item in range(7)]
        assert (tmp_path / "died").exists()

    def test_no_processes_are_refused(self) -> None:
        with (
            pytest.raises(ConfigError, match="--workers: got 0, wanted 1 or more"),
            cluster.opened(options("--workers", "0")),
        ):
            pass


class TestCluster:
    def test_an_address_that_does_not_answer_is_named_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
        address = f"tcp://127.0.0.1:{free_ports()}"
        began = time.monotonic()
        with (
            pytest.raises(cluster.ClusterError) as caught,
            cluster.opened(options(), {cluster.ADDRESS: address}),
        ):
            pass
        assert time.monotonic() - began < 10
        assert caught.value.message.startswith(
            f"no Dask scheduler answers at {address} within 0.5 s: start it (`python -m dask"
        )
        assert caught.value.exit_code == 10

    def test_nonsense_for_an_address(self) -> None:
        with (
            pytest.raises(cluster.ClusterError, match="no Dask scheduler answers at nonsense://here"),
            cluster.opened(options("--scheduler", "nonsense://here"), {}),
        ):
            pass

    def test_processes_that_do_not_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONHOME", "")  # Dask leaves in this process, too, what it starts others with
        monkeypatch.delenv("PYTHONHOME")
        monkeypatch.setattr(cluster, "ENVIRONMENT", cluster.ENVIRONMENT | {"PYTHONHOME": "/nowhere"})
        with (
            pytest.raises(cluster.ClusterError, match=r"1 processes did not all start \(.*give fewer by --workers"),
            cluster.opened(options("--workers", "1"), {}),
        ):
            pass

    def test_a_scheduler_without_workers(self, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1.0)
        with (
            pytest.raises(cluster.ClusterError, match=f"the Dask scheduler at {scheduler} has no worker: start it"),
            cluster.opened(options("--scheduler", scheduler), {}),
        ):
            pass

    def test_workers_that_cannot_import_the_project(self, scheduler: str, tmp_path: Path) -> None:
        with (
            worker(scheduler, tmp_path),
            pytest.raises(cluster.ClusterError, match=r"cannot import this project .*No module named 'data'") as caught,
            cluster.opened(options("--scheduler", scheduler), {}),
        ):
            pass
        assert "start its workers in the project's folder" in caught.value.message

    def test_a_worker_that_was_started_as_the_error_says(
        self, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may be killed: what tasks share goes with it, and is sent again, though not for ever."""
        with worker(scheduler):
            with cluster.opened(options(), {cluster.ADDRESS: scheduler}) as each:
                assert list(each(tasks.times, 2.0, range(20))) == [2.0 * item for item in range(20)]
                assert list(each(tasks.environment, None, ["OMP_NUM_THREADS"])) == ["1"]
                assert list(each(tasks.dying, str(tmp_path), range(7))) == [item * 10 for item in range(7)]
                with monkeypatch.context() as once:
                    once.setattr(cluster, "TRIES", 1)
                    with pytest.raises(
                        cluster.ClusterError, match="ended again and again while they worked: out of memory"
                    ):
                        list(each(tasks.dying, str(tmp_path), [7]))
            monkeypatch.setattr(cluster, "_code", lambda: "other")
            cluster.versions.cache_clear()
            with (
                pytest.raises(
                    cluster.ClusterError, match=r"has code .*, wanted other as here, or its results would differ"
                ),
                cluster.opened(options("--scheduler", scheduler), {}),
            ):
                pass
        cluster.versions.cache_clear()


def test_a_scheduler_that_goes_meanwhile_is_named() -> None:
    at = free_ports()
    address = f"tcp://127.0.0.1:{at}"
    with started("scheduler", "--host", "127.0.0.1", "--port", str(at), "--no-dashboard") as process:
        wait_for(at)
        with worker(address), cluster.opened(options("--scheduler", address), {}) as each:
            made = each(tasks.pids, None, [0.2] * 50)
            next(made)
            process.kill()
            began = time.monotonic()
            with pytest.raises(cluster.ClusterError, match=f"the Dask cluster at {address} does not answer any more"):
                list(made)
            assert time.monotonic() - began < 30


def test_without_dask_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ConfigError, match=r"Dask is not installed: pip install '\.\[dask\]'"),
        cluster.opened(options("--workers", "2"), {}),
    ):
        pass


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    with (
        pytest.raises(ConfigError, match="got -1"),
        cluster.opened(options("--workers", "-1"), {cluster.ADDRESS: "tcp://127.0.0.1:1"}),
    ):
        pass
