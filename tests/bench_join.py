"""The join part of `make bench`: ten million forecast values put beside what came, against pandas' merge."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from service.record.address import Address
from service.record.engine import open_engine
from service.record.pairs import pairs
from service.record.tables import create
from tests.bench_wanted import Wanted, tell

#: What joining `VALUES` may take.
SECONDS, GIGABYTES = 60.0, 2.0
VALUES = 10_000_000
SERIES = 1_000
HOUR = 3_600
START = int(np.datetime64("2024-01-01", "s").astype(np.int64))
LEVELS = np.array([0.1, 0.5, 0.9])


def write(path: Path, values: int, horizon: int) -> None:
    """A record of hourly forecasts of all series, in the order in which a service writes them, with all actual values."""
    engine = open_engine(Address.parse(f"sqlite:///{path}"))
    with engine.begin() as connection:
        create(connection, str(path))
    engine.dispose()
    hours = values // horizon // SERIES
    draw = np.random.default_rng(0)

    def forecasts() -> Iterator[tuple[Any, ...]]:
        for hour in range(hours):
            origin, numbers = START + HOUR * hour, draw.gamma(2, 50, (SERIES, 1 + LEVELS.size, horizon))
            for series in range(SERIES):
                mean, quantiles = numbers[series, 0].tobytes(), numbers[series, 1:].tobytes()
                times = (origin, HOUR, horizon, origin + HOUR * horizon)
                names = (f"request {hour}", f"series {series:04d}", "bentocast", "7", "bentocast:abc")
                yield (origin + 60.0, *names, *times, mean, LEVELS.tobytes(), quantiles)

    def actuals() -> Iterator[tuple[Any, ...]]:
        for series in range(SERIES):
            for hour, value in enumerate(draw.gamma(2, 50, hours + horizon).tolist(), start=1):
                yield f"series {series:04d}", START + HOUR * hour, value, START + HOUR * hour + 60.0

    columns = (
        "created_at, request_id, series, model_name, model_version, bento, origin, step_seconds, horizon, last_time, "
        "mean, levels, quantiles"
    )
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.executemany(f"INSERT INTO forecasts ({columns}) VALUES ({','.join('?' * 13)})", forecasts())
        database.executemany("INSERT INTO actuals VALUES (?, ?, ?, ?)", actuals())
    database.close()


def ours(path: Path) -> tuple[int, float, float]:
    """Pairs, mean absolute error and coverage, added up as the chunks come."""
    count, error, inside = 0, 0.0, 0
    begin, end = np.datetime64("2000-01-01"), np.datetime64("2100-01-01")
    for part in pairs(f"sqlite:///{path}", begin, end):
        count += int(part.has_actual.sum())
        error += float(np.nansum(np.abs(part.forecast - part.actual)))
        inside += int(((part.quantiles[0] <= part.actual) & (part.actual <= part.quantiles[-1])).sum())
    return count, error / count, inside / count


def pandas(path: Path) -> tuple[int, float, float]:
    """The same as one would write it in pandas."""
    with sqlite3.connect(path) as database:
        stored = pd.read_sql("SELECT series, origin, step_seconds, horizon, mean, quantiles FROM forecasts", database)
        actuals = pd.read_sql("SELECT series, time, value FROM actuals", database)
    database.close()
    steps = np.concatenate([np.arange(1, horizon + 1) for horizon in stored["horizon"]])
    rows = np.repeat(np.arange(len(stored)), stored["horizon"])
    quantiles = [np.frombuffer(blob).reshape(LEVELS.size, -1)[[0, -1]] for blob in stored["quantiles"]]
    low, high = np.concatenate(quantiles, axis=1)
    frame = pd.DataFrame(
        {
            "series": stored["series"].astype("category").to_numpy()[rows],
            "time": stored["origin"].to_numpy()[rows] + stored["step_seconds"].to_numpy()[rows] * steps,
            "forecast": np.frombuffer(b"".join(stored["mean"])),
            "low": low,
            "high": high,
        }
    )
    merged = frame.merge(actuals, on=["series", "time"])
    inside = merged["value"].between(merged["low"], merged["high"])
    return len(merged), float((merged["forecast"] - merged["value"]).abs().mean()), float(inside.mean())


CONTENDERS: dict[str, Callable[[Path], tuple[int, float, float]]] = {"ours": ours, "pandas": pandas}


def join(rounds: int, values: int = VALUES, horizons: tuple[int, ...] = (24, 1)) -> bool:
    """Seconds and peak memory of each contender, in turn, each in a process of its own; whether ours are as wanted."""
    wanted = []
    print("\n| join | contender | seconds (median) | processor | times ours | peak memory |\n|---|---|---|---|---|---|")
    for horizon in horizons:
        with tempfile.TemporaryDirectory(prefix="bentocast-bench-") as folder:
            path = Path(folder) / "record.db"
            write(path, values, horizon)
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
            for _ in range(rounds):
                for name, taken in runs.items():
                    command = [sys.executable, "-m", "tests.bench_join", name, str(path)]
                    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
                    taken.append(json.loads(done.stdout))
        counted = {name: taken[0]["found"] for name, taken in runs.items()}
        assert np.allclose(counted["ours"], counted["pandas"]), counted
        base = [run["seconds"] for run in runs["ours"]]
        for name, taken in runs.items():
            seconds = [run["seconds"] for run in taken]
            ratio = statistics.median(other / own for other, own in zip(seconds, base, strict=True))
            cpu, memory = (statistics.median(run[key] for run in taken) for key in ("processor", "memory"))
            rows = f"{counted[name][0] // horizon:,} x {horizon}"
            print(
                f"| {rows} | {name} | {statistics.median(seconds):.1f} | {cpu:.1f} | {ratio:.1f}x | {memory / 2**30:.2f} GiB |",
                flush=True,
            )
            if name == "ours":
                wanted += [
                    Wanted(f"join of {rows}", statistics.median(seconds), SECONDS, " s"),
                    Wanted(f"memory of it, {rows}", memory / 1e9, GIGABYTES, " GB"),
                ]
    return tell(wanted)


def main(name: str, path: str) -> None:
    """Run one contender, and print what it found and what it took."""
    began = time.perf_counter()
    found = CONTENDERS[name](Path(path))
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
    print(json.dumps({"found": found, "seconds": seconds, "processor": time.process_time(), "memory": memory}))


if __name__ == "__main__":
    main(*sys.argv[1:])
