"""The monitoring part of `make bench`: what watching a service costs it, against the same Bento that nobody watches.

Watched: what the service counts of models and inputs, its record, and beside it Prometheus, Alertmanager, Pushgateway and
the exporter with the seven tests. Recorded: a copy of the Bento that counts nothing of the model, while those beside it are
stopped; it writes the record of forecasts, which is there without monitoring too. Bare: no record either. All are
saturated in turn, each time for one interval of scraping. Requests/s swing with whatever else a machine does; processor time
of the service for a request swings less, and what those beside it use is said apart, in shares of a core.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import locust  # noqa: F401 - first of all that opens connections
import numpy as np
import psutil
import requests

from loadtests import spoiled
from loadtests.arrivals import Source, picks
from loadtests.gate import bentos
from loadtests.lock import alone
from loadtests.processes import Server, running
from tests.bench_wanted import NOT_REACHED, Wanted, tell
from tests.ports import free_ports

ROOT = Path(__file__).parents[1]
WATCHED, RECORDED, BARE = "watched", "recorded", "bare"
SIDES = (WATCHED, RECORDED, BARE)
#: Prometheus asks once in so many seconds; connections are as in `make bench-serving`.
PIECE_SECONDS, CONNECTIONS = 15.0, 16
#: Of the throughput of what is not watched, so much has to be left.
LEFT = 0.95
UNCOUNTED = """

_counted = Worker.of.__func__  # type: ignore[attr-defined]


def _uncounted(cls, served, settings):  # type: ignore[no-untyped-def]
    import dataclasses

    return _counted(cls, dataclasses.replace(served, watch=lambda _: None), settings)


Worker.of = classmethod(_uncounted)  # type: ignore[assignment,method-assign]
"""


def monitoring(rounds: int) -> bool:
    """Throughput and processor time of each side over those of the next: the median, and all rounds from least to most.

    Whether watching costs no more throughput than it may. Needs a Bento in the store (`make bento`) and Prometheus
    (`make test-services` installs it).
    """
    newest = bentos.find("bentocast:latest")
    copy = spoiled.make(newest.tag, UNCOUNTED, "uncounted")
    print("\n| monitoring | watched over recorded, by rounds | recorded over bare |\n|---|---|---|")
    try:
        with tempfile.TemporaryDirectory(prefix="bentocast-bench-") as name, alone(bentos.LOCK) as mark:
            folder = Path(name)
            commands = {
                WATCHED: bentos.command(WATCHED, newest, folder / WATCHED),
                RECORDED: bentos.command(RECORDED, bentos.find(copy), folder / RECORDED),
                BARE: bentos.command(BARE, bentos.find(copy), folder / BARE),
            }
            for command in commands.values():
                command.environment["BENTOCAST_MAX_WAIT_SECONDS"] = "1"  # what is shed would be another load
            commands[BARE].environment["BENTOCAST_RECORD"] = "false"
            with running(commands, folder / "logs", mark=mark, together=True) as servers:
                sources = {
                    side: Source(f"http://127.0.0.1:{server.port}", "native", 0) for side, server in servers.items()
                }
                record = commands[WATCHED].environment["BENTOCAST_RECORD_URL"]
                with _watching(folder, servers[WATCHED].port, record) as watchers:
                    return _compare(sources, servers, watchers, rounds)
    finally:
        spoiled.remove(copy)


def _compare(
    sources: Mapping[str, Source], servers: Mapping[str, Server], watchers: psutil.Process, rounds: int
) -> bool:
    draw = np.random.default_rng(0)
    rates: list[dict[str, float]] = []
    works: list[dict[str, float]] = []
    beside: list[float] = []
    for number in range(rounds + 1):  # the first one warms up
        rate, work = {}, {}
        for side in draw.permutation(SIDES):
            _send(watchers, signal.SIGCONT if side == WATCHED else signal.SIGSTOP)
            drawn = picks(10_000, len(sources[side].connection.messages), draw)
            began, watched = servers[side].processor_seconds(), _processor_seconds(watchers)
            told = sources[side].saturate(CONNECTIONS, PIECE_SECONDS if number else 2.0, drawn)
            assert not told.failed, told.worst
            rate[side] = told.right / told.seconds
            work[side] = told.right / (servers[side].processor_seconds() - began)
            if side == WATCHED and number:
                beside.append((_processor_seconds(watchers) - watched) / told.seconds)
        rates.append(rate)
        works.append(work)
    _send(watchers, signal.SIGCONT)
    for name, each in (("requests/s", rates[1:]), ("requests in a second of the service's processor", works[1:])):
        bare = statistics.median(one[BARE] for one in each)
        cells = [_ratios(each, WATCHED, RECORDED), _ratios(each, RECORDED, BARE)]
        print(f"| {name} (bare: {bare:.0f}) | {' | '.join(cells)} |", flush=True)
    print(f"| beside the service: share of a core | {statistics.median(beside):.3f} | |", flush=True)
    left = statistics.median(one[WATCHED] / one[RECORDED] for one in rates[1:])
    return tell([Wanted("requests/s, watched over recorded", left, LEFT, most=False)])


def _processor_seconds(watchers: psutil.Process) -> float:
    used = 0.0
    for process in (watchers, *watchers.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def _ratios(rounds: list[dict[str, float]], over: str, under: str) -> str:
    ratios = sorted(rates[over] / rates[under] for rates in rounds)
    return f"{statistics.median(ratios):.3f} ({', '.join(f'{ratio:.3f}' for ratio in ratios)})"


@contextlib.contextmanager
def _watching(folder: Path, port: int, record: str) -> Iterator[psutil.Process]:
    """All of `make monitoring`, once Prometheus has scraped the service."""
    prometheus = free_ports()
    wanted = ["up", "--home", str(folder / "monitoring"), "--target", f"127.0.0.1:{port}"]
    wanted += ["--ports", f"prometheus={prometheus}"]
    with (folder / "up.log").open("wb") as log:
        command = [sys.executable, "-m", "monitoring", *wanted]
        environment = os.environ | {"BENTOCAST_RECORD_URL": record}
        started = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            with contextlib.suppress(requests.RequestException, KeyError, IndexError):
                asked = {"query": f"up{{instance='127.0.0.1:{port}'}}"}
                found = requests.get(f"http://127.0.0.1:{prometheus}/api/v1/query", params=asked, timeout=5).json()
                if float(found["data"]["result"][0]["value"][1]) >= 1:
                    break
            assert started.poll() is None, (folder / "up.log").read_text()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(0.1)
        else:
            raise AssertionError((folder / "up.log").read_text())
        yield psutil.Process(started.pid)
    finally:
        _send(psutil.Process(started.pid), signal.SIGCONT)
        started.send_signal(signal.SIGINT)
        started.wait(30)


def _send(watchers: psutil.Process, number: signal.Signals) -> None:
    for process in (watchers, *watchers.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


if __name__ == "__main__":
    sys.exit(0 if monitoring(int(sys.argv[1])) else NOT_REACHED)
