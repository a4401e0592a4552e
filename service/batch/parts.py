"""What a batch has done so far: a folder beside the output with one file a chunk, and what they were made from.

A part appears whole or not at all, so a run that was killed is gone on with. When all are there, they are put together
into the output, which appears whole too, and the folder goes.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data import atomic
from data.errors import BentocastError, ConfigError
from service.batch import forecasts
from service.batch.arrow import arrow
from service.batch.forecasts import Job
from service.batch.table import Chunk

MANIFEST, LOCK, WHOLE, CONVERTED = "manifest.json", "lock", "whole.parquet", "input.parquet"
#: Where a part keeps the series that could not be forecast, and the output what it was made from.
REJECTED, LINEAGE = b"bentocast.rejected", b"bentocast.made_from"

#: Columns with the same values again and again.
DICTIONARY = ["series_id", "timestamp", "step"]

MadeFrom = Mapping[str, Any]


class UnfinishedError(BentocastError):
    """The folder of parts belongs to another run."""

    exit_code = 2
    code = "batch_unfinished"


class Parts:
    """A folder of parts; `opened` makes it.

    Args:
        output: where the forecasts will stand.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(output.name + ".parts")
        self.rejected_file = output.with_name(output.name + ".rejected.csv")

    @classmethod
    @contextlib.contextmanager
    def opened(cls, output: Path, *, fresh: bool) -> Iterator[Parts]:
        """Take the folder for this run alone.

        Args:
            output: where the forecasts will stand.
            fresh: throw away what another run has left.

        Raises:
            ConfigError: the output is a folder, or its folder is not there.
            UnfinishedError: another run is at it.
        """
        if output.is_dir() or not output.parent.is_dir():
            what = "is a folder" if output.is_dir() else f"cannot be written: there is no folder {str(output.parent)!r}"
            raise ConfigError(f"{output} {what}, wanted the path of a Parquet file in a folder that is there")
        parts = cls(output)
        parts.folder.mkdir(exist_ok=True)
        with (parts.folder / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as err:
                if err.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                raise UnfinishedError(
                    f"another run writes {output} just now (it holds {parts.folder}): wait for it, or name another output"
                ) from err
            if fresh:
                parts.clear()
            try:
                yield parts
            finally:
                if parts.folder.exists() and not parts.done():
                    shutil.rmtree(parts.folder)

    def clear(self) -> None:
        """Throw away all but the lock."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def claim(self, made_from: MadeFrom) -> None:
        """Say what the parts are made from; those that are there must be made from the same.

        Args:
            made_from: by name, in the words of an error message.

        Raises:
            UnfinishedError: they are made from something else.
        """
        manifest = self.folder / MANIFEST
        if not self.done():
            self.clear()
            atomic.write_text(manifest, json.dumps(made_from, indent=1) + "\n")
            return
        begun = json.loads(manifest.read_text(encoding="utf-8"))
        for name in dict.fromkeys((*made_from, *begun)):
            if begun.get(name) != made_from.get(name):
                raise UnfinishedError(
                    f"{self.folder} was begun with another {name}: {begun.get(name)}, and this run has {made_from.get(name)}; "
                    "run it again as it was begun to go on, or with --fresh to throw away what is done and begin anew"
                )

    def done(self) -> set[int]:
        """Numbers of the parts that are there."""
        return {int(path.stem.removeprefix("part-")) for path in self.folder.glob("part-*.parquet")}

    def write(self, number: int, file: bytes) -> None:
        """Keep what `part` has made of a chunk."""
        with atomic.replacing(self._part(number)) as scratch:
            scratch.write_bytes(file)

    def rejected(self, count: int) -> list[tuple[str, str]]:
        """The series of all parts that could not be forecast, and why."""
        found = (arrow().parquet.read_metadata(self._part(number)).metadata[REJECTED] for number in range(count))
        return [(name, why) for text in found for name, why in json.loads(text)]

    def list_rejected(self, rejected: list[tuple[str, str]]) -> None:
        """Write them beside the output; no file if there are none."""
        if not rejected:
            self.rejected_file.unlink(missing_ok=True)
            return
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("series_id", "why"), *rejected])
        atomic.write_text(self.rejected_file, text.getvalue())

    def put_together(self, count: int, made_from: MadeFrom) -> None:
        """Write the output from all parts, and remove the folder."""
        pa, whole = arrow(), self.folder / WHOLE
        lineage = {LINEAGE: json.dumps(made_from)}
        with atomic.replacing(whole) as scratch:
            kinds = pa.parquet.read_schema(self._part(0)).with_metadata(lineage)
            with pa.parquet.ParquetWriter(scratch, kinds, compression="zstd", use_dictionary=DICTIONARY) as writer:
                for number in range(count):
                    writer.write_table(pa.parquet.read_table(self._part(number)).replace_schema_metadata(lineage))
        whole.replace(self.output)
        atomic.sync(self.output.parent)
        shutil.rmtree(self.folder)

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.parquet"


def part(job: Job, chunk: Chunk) -> bytes:
    """A chunk's forecasts as the part that is kept: a Parquet file, written where the forecasts are made.

    Raises:
        DataError: the table cannot be read, or a column does not hold what it should.
    """
    pa, found = arrow(), forecasts.make(job, chunk)
    steps = found.mean.shape[1]
    step = np.arange(1, steps + 1)
    codes = np.repeat(np.arange(len(found.names), dtype=np.int32), steps)
    names = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(found.names, pa.string()))
    times = found.starts[:, None] + ((step - 1) * found.step_seconds).astype("timedelta64[s]")
    columns = {
        "series_id": names.cast(pa.string()),
        "timestamp": pa.array(times.ravel()),
        "step": pa.array(np.tile(step, len(found.names)), pa.int32()),
        "mean": pa.array(found.mean.ravel()),
    } | {str(level): pa.array(values.ravel()) for level, values in zip(job.levels, found.quantiles, strict=True)}
    written = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata({REJECTED: json.dumps(found.rejected)})
    pa.parquet.write_table(table, written, compression="none", use_dictionary=DICTIONARY)
    return written.getvalue()
