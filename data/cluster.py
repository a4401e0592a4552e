"""Tasks in order, in this process, in processes of this machine or on a Dask cluster, with the same results on each.

A task is a function of a module with two arguments: what all tasks share, which each worker gets once, and an item.
Dask does a task again whose worker has gone.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import logging
import os
import platform
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Protocol, TypeVar

from data.errors import BentocastError, ConfigError

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")

#: The environment variable that Dask's own programs take a scheduler's address from.
ADDRESS = "DASK_SCHEDULER_ADDRESS"
ANSWER_SECONDS = 10.0
START_SECONDS = 60.0
#: Tasks under way for each thread of the cluster: one is worked on, the others are there when it is done.
AHEAD = 3
#: How often tasks are given out anew after all workers that had what they share have gone.
TRIES = 3
#: Their versions decide what is computed.
PACKAGES = ("distributed", "numpy", "onnxruntime", "pyarrow", "scikit-learn")
#: What processes of this machine are started with. Dask's own choice also tells malloc to hand memory back at once, which
#: has every large array paid for in page faults.
ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
ROOMS = ("data", "training", "service")


class ClusterError(BentocastError):
    """A Dask cluster does not answer, does not fit this project, or gave up."""

    exit_code = 10
    code = "cluster_unavailable"


class Each(Protocol):
    """Does a task with each item: the results in order, some of them worked on ahead."""

    def __call__(
        self, task: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item], /
    ) -> Iterator[Result]:
        """The result of each item; an error of a task is raised in its place."""


def here(task: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item], /) -> Iterator[Result]:
    """One after another, in this process."""
    for item in items:
        yield task(shared, item)


def counted(each: Each, done: Callable[[], object]) -> Each:
    """The same, and somebody is told of every result, a progress bar for example."""

    def told(task: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item], /) -> Iterator[Result]:
        for result in each(task, shared, items):
            done()
            yield result

    return told


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say where tasks are done."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help=f"a Dask cluster, such as tcp://10.0.0.5:8786 (default: {ADDRESS}, if set)",
    )
    where.add_argument("--workers", type=int, metavar="N", help="so many processes of this machine, by Dask")


@contextlib.contextmanager
def opened(asked: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Iterator[Each]:
    """Where the tasks of a command are done: what the options say, else the environment, else this process.

    Raises:
        ConfigError: Dask is not installed, or the options make no sense.
        ClusterError: the cluster does not answer, has no worker, or does not fit this project.
    """
    address = asked.scheduler or (environ.get(ADDRESS) if asked.workers is None else None)
    if address:
        with _remote(address) as client:
            yield _Dask(client)
    elif asked.workers is not None:
        with _local(asked.workers) as client:
            yield _Dask(client)
    else:
        yield here


class _Dask:
    """`Each` on a Dask cluster.

    Args:
        client: of the cluster.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(
        self, task: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item], /
    ) -> Iterator[Result]:
        """See `Each`."""
        source, under_way, given = iter(items), deque[tuple[Item, Any]](), self._scattered(shared)
        tries = TRIES
        while True:
            more = itertools.islice(source, self._free(len(under_way)))
            under_way.extend((item, self._submitted(task, given, item)) for item in more)
            if not under_way:
                return
            try:
                made = self._result(under_way[0][1])
            except CancelledError as err:
                tries -= 1
                if not tries:
                    raise _worn_out(self._client) from err
                given = self._scattered(shared)
                under_way = deque((item, self._submitted(task, given, item)) for item, _ in under_way)
                continue
            under_way.popleft()
            yield made

    def _free(self, under_way: int) -> int:
        """How many more tasks may be under way."""
        with self._reaching():
            threads = sum(self._client.nthreads().values())
        return max(0, AHEAD * max(1, int(threads)) - under_way)

    def _submitted(self, task: Callable[[Shared, Item], Result], given: Any, item: Item) -> Any:
        return self._client.submit(task, given, item, pure=False)

    def _scattered(self, shared: Shared) -> Any:
        """What tasks share, on every worker."""
        with self._reaching():
            self._client.wait_for_workers(1, timeout=ANSWER_SECONDS)
            return self._client.scatter(shared, broadcast=True, hash=False)

    def _result(self, future: Any) -> Any:
        from distributed import KilledWorker
        from distributed.core import CommClosedError

        try:
            return future.result()
        except KilledWorker as err:
            raise _worn_out(self._client) from err
        except CommClosedError as err:
            raise _lost(self._client, err) from err

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError) as err:
            raise _lost(self._client, err) from err


def _worn_out(client: Any) -> ClusterError:
    return ClusterError(
        f"workers of the Dask cluster at {client.scheduler.address} ended again and again while they worked: out of memory, "
        "as a rule (their logs say); give them more, or less to do at once (--chunk), then run the command again"
    )


def _lost(client: Any, err: BaseException) -> ClusterError:
    address = client.scheduler.address if client.scheduler else "its address"
    return ClusterError(
        f"the Dask cluster at {address} does not answer any more, or has no worker left ({type(err).__name__}): see the "
        "logs of its scheduler and workers, then run the command again"
    )


@contextlib.contextmanager
def _remote(address: str) -> Iterator[Any]:
    distributed = _distributed()
    fix = (
        f"start it (`python -m dask scheduler` and, in this project's folder on each machine, `python -m dask worker "
        f"ADDRESS --nthreads 1`), or give its address by --scheduler or {ADDRESS}"
    )
    try:
        with _quiet():
            client = distributed.Client(address, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as err:
        raise ClusterError(
            f"no Dask scheduler answers at {address} within {ANSWER_SECONDS:g} s: {fix}", param="scheduler"
        ) from err
    with _closing(client):
        try:
            client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        except TimeoutError as err:
            raise ClusterError(f"the Dask scheduler at {address} has no worker: {fix}", param="scheduler") from err
        _check(client)
        yield client


@contextlib.contextmanager
def _local(workers: int) -> Iterator[Any]:
    if workers < 1:
        raise ConfigError(f"--workers: got {workers}, wanted 1 or more", param="workers")
    distributed = _distributed()
    import dask

    # Dask's profiler looks at every worker a hundred times a second, and nobody reads what it saw.
    chosen = {"distributed.nanny.pre-spawn-environ": ENVIRONMENT, "distributed.worker.profile.enabled": False}
    with _quiet(), dask.config.set(chosen), contextlib.ExitStack() as ending:
        try:
            cluster = ending.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )
            )
            made = distributed.Client(cluster, set_as_default=False, timeout=START_SECONDS)
            client = ending.enter_context(_closing(made))
            client.wait_for_workers(workers, timeout=START_SECONDS)
        except (OSError, RuntimeError) as err:
            raise ClusterError(
                f"{workers} processes did not all start ({type(err).__name__}: {err}): give fewer by "
                "--workers, or end what else this machine does",
                param="workers",
            ) from err
        yield client


@contextlib.contextmanager
def _closing(client: Any) -> Iterator[Any]:
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep from people what Dask's own logs say about connections: an error says it once, with the fix."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions there: they are compared below
            yield
    finally:
        logger.setLevel(before)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as err:
        raise ConfigError(
            "a Dask cluster was asked for, but Dask is not installed: pip install '.[dask]', or do without --workers, "
            f"--scheduler and {ADDRESS}"
        ) from err
    return distributed


def _check(client: Any) -> None:
    """See that every worker has this project's code and its packages, since they decide the results.

    Raises:
        ClusterError: names the first worker that has not, and what it has.
    """
    try:
        there = client.run(versions)
    except Exception as err:  # Dask's own where a worker lacks a module
        raise ClusterError(
            f"a worker of the Dask cluster cannot import this project ({err}): start its workers in the project's folder, "
            "by `python -m dask worker ADDRESS --nthreads 1`"
        ) from err
    ours = versions()
    for address, theirs in there.items():
        for name, wanted in ours.items():
            if theirs.get(name) != wanted:
                raise ClusterError(
                    f"worker {address} has {name} {theirs.get(name)}, wanted {wanted} as here, or its results would differ: "
                    "give it the same commit and requirements/dev.txt, and start it again"
                )


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results, and the hash of the code as it was when first asked."""
    found = {"python": platform.python_version(), "code": _code()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _code() -> str:
    """Hash of the rooms that compute."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
