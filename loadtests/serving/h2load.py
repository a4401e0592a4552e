"""Load in closed loop by h2load, a generator in C, and what it says.

HTTP/1.1 for everything but gRPC, which is HTTP/2 with one call at a time on each connection.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from data.errors import BentocastError
from loadtests.serving.entries import Entry

INSTALL = "h2load is not installed: apt-get install nghttp2-client (Debian, Ubuntu), brew install nghttp2 (macOS)"
#: Share of refusals under load that is reported and goes on; with more it is no measurement of answers.
TOLERATED = 0.05
#: An answer that is this much smaller than the one that was checked is not that answer.
SMALLEST_SHARE = 0.9


class LoadError(BentocastError):
    """h2load could not be run, or a request was not answered as it should be."""


@dataclass(frozen=True)
class Loaded:
    """One run.

    Attributes:
        rate: answers a second.
        succeeded: answers with a status of 2xx.
        failed: requests without one.
        data_bytes: of the bodies of all answers, those of the warm-up included.
    """

    rate: float
    succeeded: int
    failed: int
    data_bytes: int


def version() -> str:
    """Of the installed h2load.

    Raises:
        LoadError: there is none.
    """
    if shutil.which("h2load") is None:
        raise LoadError(INSTALL)
    return subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def for_seconds(
    entry: Entry, port: int, seconds: int, *, connections: int = 16, warm_up: int = 0, log: Path | None = None
) -> Loaded:
    """Load for a time.

    Args:
        entry: what is asked.
        port: of the server.
        seconds: of load, after the warm-up.
        connections: each with one request at a time.
        warm_up: seconds that do not count.
        log: where every request's latency is written.

    Raises:
        LoadError: too many requests failed, or an answer is shorter than the one that was checked.
    """
    how = ["-D", str(seconds), "--warm-up-time", str(warm_up), *(["--log-file", str(log)] if log else [])]
    return _run(entry, port, connections, how)


def for_requests(entry: Entry, port: int, requests: int, *, connections: int = 16) -> Loaded:
    """Load with a number of requests.

    Raises:
        LoadError: as `for_seconds`.
    """
    return _run(entry, port, connections, ["-n", str(requests)])


def parse(text: str) -> Loaded:
    """What h2load printed.

    Raises:
        LoadError: this is not what h2load prints.
    """
    found = [
        re.search(pattern, text, re.MULTILINE)
        for pattern in (
            r"^finished in [^,]*, ([\d.]+) req/s",
            r"^requests: .* (\d+) failed, (\d+) errored, (\d+) timeout",
            r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx",
            r"^traffic: .* \((\d+)\) data",
        )
    ]
    rate, faults, statuses, data = found
    if not (rate and faults and statuses and data):
        raise LoadError(f"h2load printed something else than its summary:\n{text[-2_000:]}")
    wrong = [int(count) for count in statuses.groups()[1:]]
    failed = max(int(faults[1]) + int(faults[2]) + int(faults[3]), sum(wrong))
    return Loaded(float(rate[1]), int(statuses[1]), failed, int(data[1]))


def latencies(log: Path) -> list[float]:
    """Seconds that each answered request of a log took; its lines are start, status and microseconds."""
    with log.open(encoding="ascii") as lines:
        rows = [line.split("\t") for line in lines]
    return [int(took) / 1e6 for _, status, took in rows if status.startswith("2")]


def _run(entry: Entry, port: int, connections: int, how: list[str]) -> Loaded:
    grpc = entry.protocol == "grpc"
    command = ["h2load", "-t", "1", "-c", str(connections), "-m", "1", *([] if grpc else ["--h1"]), *how]
    for header in entry.headers:
        command += ["-H", header]
    command += ["-d", str(entry.body), f"http://127.0.0.1:{port + (1 if grpc else 0)}{entry.path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"{entry.name}: h2load ended with {done.returncode}: {done.stdout}{done.stderr}")
    loaded = parse(done.stdout)
    if not loaded.succeeded or loaded.failed > TOLERATED * (loaded.succeeded + loaded.failed):
        raise LoadError(f"{entry.name}: {loaded.failed} requests failed, {loaded.succeeded} were answered, wanted all")
    if loaded.data_bytes < SMALLEST_SHARE * loaded.succeeded * entry.answer_bytes:
        raise LoadError(
            f"{entry.name}: {loaded.data_bytes / loaded.succeeded:.0f} bytes an answer under load, wanted "
            f"{entry.answer_bytes}, the size of the answer that was checked"
        )
    return loaded
