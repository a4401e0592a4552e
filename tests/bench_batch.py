"""The batch part of `make bench`: forecasts of 10,000 series from a Parquet file, in one process and on one and two workers."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
#: Where the fixed cost of a run is seen, and where it is little.
SERIES = (10_000, 40_000)
CONTENDERS = {"this process": [], "1 worker": ["--workers", "1"], "2 workers": ["--workers", "2"]}


def model(folder: Path) -> Path:
    """A model with the features of params.yaml, trained on a year of the sample; its accuracy is no matter here."""
    from data import configuration, ingest, schema
    from data.declaration import Declaration
    from data.features import Design, scale_floor
    from data.forecaster import save
    from data.params import PARAMS
    from data.sources import sample
    from training import backtest, train

    params = configuration.load(PARAMS)
    small = params.ingest.sample.model_copy(update={"stations": 4})
    table = schema.check(sample.generate(small).astype({params.series.target: float}), params.series)
    panel, _ = ingest.to_panel(table, params.series)
    design = Design(Declaration(series=params.series, features=params.features), scale_floor(panel))
    known = design.origin_table(panel)
    trained = train.run(params, design, panel, known, backtest.run(params, design, panel, known).forecasts)
    save(folder, trained.card, trained.onnx)
    return folder


def write(path: Path, folder: Path, series: int) -> None:
    """A table of invented series, each as long as the model's context, and covariates for its horizon, sorted by series."""
    import pyarrow.parquet as pq

    from data.forecaster import Forecaster

    design = Forecaster.load(folder).design
    length, draw = design.context + design.horizon, np.random.default_rng(0)
    times = np.datetime64("2025-01-01", "s") + np.arange(length) * np.timedelta64(1, "h")
    hidden = np.arange(length) >= design.context
    flags = {name: (draw.random(length) < 0.3).astype(float) for name in ("holiday", "workingday")}
    with pq.ParquetWriter(path, _rows(design, times, hidden, flags, draw, 0, 1).schema) as writer:
        for begin in range(0, series, 1_000):
            count = min(1_000, series - begin)
            writer.write_table(_rows(design, times, hidden, flags, draw, begin, count))


def _rows(design: Any, times: Any, hidden: Any, flags: Any, draw: np.random.Generator, begin: int, count: int) -> Any:
    import pyarrow as pa

    length = times.size
    names = pa.array([f"series {place:05}" for place in range(begin, begin + count)])
    columns = {
        "series_id": pa.DictionaryArray.from_arrays(np.repeat(np.arange(count, dtype=np.int32), length), names).cast(
            "string"
        ),
        "timestamp": pa.array(np.tile(times, count)),
        "target": pa.array(draw.gamma(2, 50, count * length).round(), mask=np.tile(hidden, count)),
    }
    for name in dict.fromkeys((*design.future, *design.past)):
        values = flags.get(name)
        columns[name] = pa.array(draw.gamma(2, 5, count * length) if values is None else np.tile(values, count))
    return pa.table(columns)


def batch(rounds: int) -> None:
    """A table of each size."""
    with tempfile.TemporaryDirectory(prefix="bentocast-bench-") as work:
        folder = model(Path(work) / "model")
        for series in SERIES:
            _batch(rounds, folder, Path(work) / "in.parquet", series)


def _batch(rounds: int, folder: Path, path: Path, series: int) -> None:
    """Seconds, processor time and peak memory of each contender, in turn; all must give the same bytes."""
    write(path, folder, series)
    write(path.with_name("few.parquet"), folder, 8)
    size = path.stat().st_size / 1e6
    print(f"\nbatch: {series} series in {size:.0f} MB of Parquet, {rounds} rounds\n", flush=True)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, taken in runs.items():
            taken.append(_measured(name, path, folder))
    assert len({run["bytes"] for taken in runs.values() for run in taken}) == 1
    print(
        "| batch | seconds (median) | of them at work | times 1 worker's | processor | peak memory |\n|---|---|---|---|---|---|"
    )
    for name, taken in runs.items():
        ratio = statistics.median(one["work"] / run["work"] for one, run in zip(runs["1 worker"], taken, strict=True))
        seconds, work, cpu, memory = (
            statistics.median(run[key] for run in taken) for key in ("seconds", "work", "processor", "memory")
        )
        print(
            f"| {name} | {seconds:.1f} | {work:.1f} | {ratio:.2f}x | {cpu:.1f} | {memory / 2**30:.2f} GiB |", flush=True
        )


def _measured(name: str, path: Path, folder: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.bench_batch", name, str(path), str(folder)]
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def main(name: str, path: str, folder: str) -> None:
    """Run one contender, and print what it took: in all, and from when its workers stood ready."""
    import argparse
    import hashlib

    from data import cluster
    from service.batch import run

    parser = argparse.ArgumentParser()
    cluster.add_options(parser)
    output, few = Path(path).with_name("out.parquet"), Path(path).with_name("few.parquet")
    began = time.perf_counter()
    with cluster.opened(parser.parse_args(CONTENDERS[name]), {}) as each:
        # What is imported at a worker's first chunk is no part of its pace.
        run.run(run.Asked(few, output, model=folder, chunk=2), each)
        ready = time.perf_counter()
        run.run(run.Asked(Path(path), output, model=folder), each)
        worked = time.perf_counter() - ready
    seconds = time.perf_counter() - began
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    print(
        json.dumps(
            {
                "seconds": seconds,
                "work": worked,
                "processor": sum(one.ru_utime + one.ru_stime for one in used),
                "memory": max(one.ru_maxrss for one in used) * 1_024,
                "bytes": hashlib.sha256(output.read_bytes()).hexdigest(),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
