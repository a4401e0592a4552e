"""`make bench`: what the feature code and the pipeline cost, as ratios against peers measured in the same run.

Each contender runs in a process of its own, in turn with the others, several rounds; the median counts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
MEANS = (1, 3, 24, 168, 720)
LAGS = (1, 2, 3, 24, 168)
LENGTH = 8_760
SERIES = 1_000


def ours(values: np.ndarray, offsets: np.ndarray) -> Callable[[], object]:
    """Five moving averages and five lags by `data.features`."""
    from data.declaration import Declaration
    from data.features import Design
    from data.panel import Panel
    from data.params import Features, Series

    series = Series(timestamp="t", target="y", frequency="1h")
    features = Features(horizon=24, scale="1h", lags=LAGS, moving_averages=tuple(f"{window}h" for window in MEANS))
    panel = Panel(
        ids=tuple(map(str, range(offsets.size - 1))),
        offsets=offsets,
        starts=np.full(offsets.size - 1, np.datetime64("2024-01-01", "s")),
        step_seconds=3_600,
        target=values,
        observed=np.ones(values.size, np.bool_),
        covariates={},
    )
    design = Design(Declaration(series=series, features=features), 1e-9)
    return lambda: design.origin_table(panel)


def pandas(values: np.ndarray, offsets: np.ndarray) -> Callable[[], object]:
    """The same by groupby-rolling and groupby-shift."""
    import pandas as pd

    frame = pd.DataFrame({"id": np.repeat(np.arange(offsets.size - 1), np.diff(offsets)), "y": values})

    def run() -> object:
        groups = frame.groupby("id")["y"]
        means = {f"mean_{window}": groups.rolling(window).mean().to_numpy() for window in MEANS}
        return means | {f"lag_{lag}": groups.shift(lag - 1).to_numpy() for lag in LAGS}

    return run


def coreforecast(values: np.ndarray, offsets: np.ndarray) -> Callable[[], object]:
    """The same by coreforecast (running sums: not the same bits for another history)."""
    from coreforecast.grouped_array import GroupedArray
    from coreforecast.lag_transforms import Lag, RollingMean

    grouped = GroupedArray(values, offsets.astype(np.int32))

    def run() -> object:
        means = [RollingMean(lag=0, window_size=window, min_samples=window).transform(grouped) for window in MEANS]
        return means + [Lag(lag - 1).transform(grouped) for lag in LAGS]

    return run


CONTENDERS = {"ours": ours, "pandas": pandas, "coreforecast": coreforecast}


def contender(name: str, series: int) -> None:
    """Run one contender twice and print the second run's seconds, and its peak memory.

    The first run makes the system hand over the memory, which costs more than the work on some machines.
    """
    values = np.random.default_rng(0).gamma(2.0, 50.0, series * LENGTH)
    run = CONTENDERS[name](values, np.arange(series + 1) * LENGTH)
    run()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
    print(json.dumps({"seconds": seconds, "memory": memory}))


def measure(name: str, series: int) -> dict[str, float]:
    """Run one contender in a process of its own."""
    command = [sys.executable, __file__, "--contender", name, "--series", str(series)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def features(rounds: int) -> None:
    """Speed against the peers, and time against rows."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, taken in runs.items():
            taken.append(measure(name, SERIES))
    base = [run["seconds"] for run in runs["ours"]]
    print(
        f"features: {SERIES} series x {LENGTH} rows, {len(MEANS)} moving averages and {len(LAGS)} lags, {rounds} rounds\n"
    )
    print("| contender | seconds (median) | times ours (median of ratios) | peak memory |\n|---|---|---|---|")
    for name, taken in runs.items():
        seconds = [run["seconds"] for run in taken]
        ratio = statistics.median(other / own for other, own in zip(seconds, base, strict=True))
        memory = max(run["memory"] for run in taken) / 2**30
        print(f"| {name} | {statistics.median(seconds):.2f} | {ratio:.1f}x | {memory:.2f} GiB |", flush=True)
    print("\n| rows | seconds (median) | nanoseconds a row |\n|---|---|---|")
    for part in (16, 4, 1):
        series = SERIES // part
        seconds = [measure("ours", series)["seconds"] for _ in range(rounds)]
        rows = series * LENGTH
        print(
            f"| {rows:,} | {statistics.median(seconds):.3f} | {statistics.median(seconds) / rows * 1e9:.1f} |",
            flush=True,
        )


def pipeline() -> None:
    """`dvc repro` of the sample from nothing, and with nothing changed, in a copy of the project."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="bentocast-bench-") as folder:
        for name in listed.splitlines():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, Path(folder) / name)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        print("\n| pipeline | seconds | stages run |\n|---|---|---|")
        for name in ("from nothing", "nothing changed"):
            began = time.perf_counter()
            done = subprocess.run(["dvc", "repro"], cwd=folder, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            stages = done.stdout.count("Running stage")
            print(f"| dvc repro, {name} | {time.perf_counter() - began:.1f} | {stages} |", flush=True)


def main() -> None:
    """Run all benchmarks, or one contender; ends with 7 if what is wanted of one is not reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parts = ["features", "serving", "join", "batch", "monitoring", "pipeline"]
    parser.add_argument("part", nargs="?", choices=parts, help="default: all but monitoring, which needs a Bento")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--series", type=int, default=SERIES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender:
        contender(asked.contender, asked.series)
        return
    from tests.bench_batch import batch
    from tests.bench_join import join
    from tests.bench_serving import serving
    from tests.bench_wanted import NOT_REACHED

    reached = True
    for name, part in {"features": features, "serving": serving, "batch": batch}.items():
        if asked.part in (None, name):
            part(asked.rounds)
    if asked.part in (None, "join"):
        reached = join(asked.rounds)
    if asked.part == "monitoring":
        # In a process of its own: locust replaces parts of the standard library, which must come before all else.
        command = [sys.executable, "-m", "tests.bench_monitoring", str(asked.rounds)]
        sys.exit(subprocess.run(command, check=False).returncode)
    if asked.part in (None, "pipeline"):
        pipeline()
    sys.exit(0 if reached else NOT_REACHED)


if __name__ == "__main__":
    main()
