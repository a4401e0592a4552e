"""`python -m service batch IN OUT`: from a table to its forecasts, in this process or on a cluster."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import atomic, cluster, forecaster
from data.cluster import Each
from data.errors import ConfigError, DataError, RegistryError, RequestError
from data.forecaster import Forecaster
from service import histories
from service.batch import delimited, table
from service.batch.forecasts import Job
from service.batch.parts import CONVERTED, Parts, part
from service.batch.table import Chunk, Table

MODEL = "bentocast"
LEVELS = (0.1, 0.5, 0.9)
CHUNK_SERIES = 1_000
#: Rows that a chunk reads, at most: about 300 MB at work.
CHUNK_ROWS = 1_000_000
CSV = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst")
#: Bytes of the input that are hashed at a time.
HASHED_BYTES = 4 << 20
#: Nothing is said of progress before, and not more often than.
QUIET_SECONDS, EVERY_SECONDS = 2.0, 5.0


@dataclass(frozen=True)
class Asked:
    """What a command asks for.

    Attributes:
        input: a Parquet or CSV file.
        output: a Parquet file.
        model: tag in BentoML's store, or a folder; None for the newest.
        horizon: steps ahead; None for the model's.
        levels: quantiles.
        chunk: most series that are worked on at once.
        fresh: whether what an unfinished run has left is thrown away.
        skip_bad: whether the others are forecast where some series cannot be.
    """

    input: Path
    output: Path
    model: str | None = None
    horizon: int | None = None
    levels: Sequence[float] = LEVELS
    chunk: int = CHUNK_SERIES
    fresh: bool = False
    skip_bad: bool = False


def run(asked: Asked, each: Each = cluster.here, say: Callable[[str], None] = lambda _: None) -> str:
    """Forecast all series of a table.

    Args:
        asked: what for.
        each: where chunks are worked on.
        say: told what is going on.

    Returns:
        One line that says what was done.

    Raises:
        ConfigError: an option cannot be followed.
        RegistryError: BentoML's store has no such model.
        ModelError: its files are damaged.
        DataError: the table is no such table, or some series cannot be forecast; the output is as it was.
        UnfinishedError: another run is at it, or has left something that belongs to another input.
        ClusterError: the cluster has gone; what is done is kept.
    """
    if asked.chunk < 1:
        raise ConfigError(f"--chunk: got {asked.chunk}, wanted 1 or more", param="chunk")
    tag, folder = _model(asked.model)
    model = Forecaster.load(folder)
    try:
        steps, levels = (
            histories.steps_of(model, asked.horizon),
            tuple(dict.fromkeys(histories.levels_of(model, asked.levels))),
        )
    except RequestError as err:
        raise ConfigError(err.message.replace("options.", "--")) from err
    card = model.card.model_dump_json()
    seen, digest = _stamp(asked.input), _aside(lambda: _sha256(asked.input))
    with Parts.opened(asked.output, fresh=asked.fresh) as parts:

        def look(path: Path) -> tuple[Table, list[Chunk]]:
            found = table.find(path, model.design, shown=asked.input)
            return found, table.chunks(table.index(found, each), asked.chunk, CHUNK_ROWS)

        # A Parquet file is looked at while it is hashed; CSV is converted into a folder that must be this input's own.
        looked = None if _is_csv(asked.input) else look(asked.input)
        made_from = {
            "input": digest(),
            "model": tag,
            "onnx": model.card.onnx_sha256,
            "card": hashlib.sha256(card.encode()).hexdigest(),
            "horizon": steps,
            "quantiles": list(levels),
            "chunk": asked.chunk,
        } | cluster.versions()
        parts.claim(made_from)
        found, cut = looked or look(_converted(asked.input, parts, model))
        job = Job(found, card, (folder / forecaster.ONNX_FILE).read_bytes(), steps, levels)
        _work(job, cut, parts, each, say)
        if _stamp(asked.input) != seen:
            parts.clear()
            raise DataError(
                f"{asked.input} was changed while it was read, so {asked.output} was not written: run it again"
            )
        return _finish(asked, parts, cut, made_from)


def _model(tag: str | None) -> tuple[str, Path]:
    """What a model is called, and its folder.

    Raises:
        RegistryError: BentoML's store does not hold it.
    """
    if tag and Path(tag).is_dir():
        return str(Path(tag).resolve()), Path(tag)
    import bentoml

    name = tag or f"{MODEL}:latest"
    try:
        stored = bentoml.models.get(name)
    except (bentoml.exceptions.BentoMLException, ValueError) as err:
        raise RegistryError(
            f"BentoML's store has no model {name!r}: `bentoml models list` says what it has, `python -m training import` "
            "imports the champion"
        ) from err
    return str(stored.tag), Path(stored.path) / "mlflow_model"


def _aside(work: Callable[[], str]) -> Callable[[], str]:
    """Begin some work in a thread that ends with the process; what is given back waits for its result."""
    made: Future[str] = Future()

    def run() -> None:
        try:
            made.set_result(work())
        except BaseException as err:  # raised where the result is asked for
            made.set_exception(err)

    threading.Thread(target=run, daemon=True).start()
    return made.result


def _sha256(path: Path) -> str:
    """Hash of a file, read in large pieces: other threads work beside it, and each piece waits for its turn."""
    found, buffer = hashlib.sha256(), memoryview(bytearray(HASHED_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            found.update(buffer[:count])
    return found.hexdigest()


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes with a file.

    Raises:
        DataError: there is no such file, or it is a folder.
    """
    try:
        found = path.stat()
    except FileNotFoundError as err:
        raise DataError(f"{path} not found: check its spelling, and the folder you are in") from err
    if path.is_dir():
        raise DataError(f"{path} is a folder, wanted one Parquet or CSV file")
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_csv(path: Path) -> bool:
    return path.name.lower().endswith(CSV)


def _converted(path: Path, parts: Parts, model: Forecaster) -> Path:
    """CSV as Parquet, converted once."""
    converted = parts.folder / CONVERTED
    if not converted.exists():
        with atomic.replacing(converted) as scratch:
            delimited.to_parquet(path, scratch, model.design)
    return converted


def _work(job: Job, cut: Sequence[Chunk], parts: Parts, each: Each, say: Callable[[str], None]) -> None:
    """Make the parts that are not there yet."""
    done = parts.done()
    left = [chunk for chunk in cut if chunk.number not in done]
    if done:
        say(f"batch: going on where {parts.folder} stopped, {len(done)} of {len(cut)} parts are there")
    told = _Progress(sum(len(chunk.names) for chunk in left), say)
    for chunk, file in zip(left, each(part, job, left), strict=True):
        parts.write(chunk.number, file)
        told.add(len(chunk.names))


def _finish(asked: Asked, parts: Parts, cut: Sequence[Chunk], made_from: dict[str, Any]) -> str:
    """Put the parts together, unless some series are missing and nobody said that they may be."""
    rejected, series = parts.rejected(len(cut)), sum(len(chunk.names) for chunk in cut)
    parts.list_rejected(rejected)
    if rejected and (not asked.skip_bad or len(rejected) == series):
        name, why = rejected[0]
        fix = (
            "mend them and run it again with --fresh, or add --skip-bad to have the forecasts of the others, which are made "
            "and kept"
        )
        if len(rejected) == series:
            fix = "mend the table"
            parts.clear()
        raise DataError(
            f"{len(rejected)} of {series} series cannot be forecast, so {asked.output} was not written; {name!r} {why} "
            f"(all are listed in {parts.rejected_file}); {fix}"
        )
    parts.put_together(len(cut), made_from)
    skipped = f"; {len(rejected)} skipped, see {parts.rejected_file}" if rejected else ""
    done = f"{series - len(rejected)} series x {made_from['horizon']} steps by {made_from['model']}"
    return f"batch: {done} in {asked.output}{skipped}"


class _Progress:
    """Tells how far it is, to whoever waits.

    Args:
        total: series.
        say: told.
        clock: seconds.
    """

    def __init__(self, total: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._say, self._clock = total, say, clock
        self._done, self._next = 0, clock() + QUIET_SECONDS
        self._first: tuple[int, float] | None = None

    def add(self, series: int) -> None:
        """So many more are done."""
        self._done += series
        now = self._clock()
        if self._first is None:  # the pace is taken from here on: a cluster needs its time to begin
            self._first = self._done, now
        elif now >= self._next and self._done < self._total:
            self._next = now + EVERY_SECONDS
            begun, since = self._first
            left = (now - since) / (self._done - begun) * (self._total - self._done)
            self._say(f"batch: {self._done} of {self._total} series, about {left:.0f} s left")
