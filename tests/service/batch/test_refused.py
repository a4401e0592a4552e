"""A table that cannot be forecast, and a run that goes on where another one stopped."""

from __future__ import annotations

import csv
import gzip
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest

from data import cluster
from data.errors import BentocastError, ConfigError, DataError, ModelError, RegistryError
from service.batch import arrow, run, table
from service.batch.parts import Parts, UnfinishedError, part
from service.batch.run import Asked
from service.histories import History
from tests.service.batch import tables
from tests.service.batch.tables import asked
from tests.service.world import World


def refused(wanted: Asked, kind: type[BentocastError] = DataError) -> str:
    """Why a command is refused; no output is left."""
    with pytest.raises(kind) as caught:
        run.run(wanted)
    assert not wanted.output.exists()
    return caught.value.message


def changed(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    """A table with another value in one place."""
    values = table[column].to_pylist()
    values[row] = value
    return table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))


def without(table: pa.Table, *rows: int) -> pa.Table:
    return table.filter(pa.array([row not in rows for row in range(table.num_rows)]))


class Stopped:
    """`Each` that ends in the middle, after some chunks."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.seen: list[int] = []

    def __call__(self, task: Callable[[Any, Any], Any], shared: Any, items: Iterable[Any], /) -> Iterator[Any]:
        if task is not part:
            yield from cluster.here(task, shared, items)
            return
        for item in items:
            if len(self.seen) == self.after:
                raise KeyboardInterrupt
            self.seen.append(item.number)
            yield task(shared, item)


class TestRefused:
    """What cannot be forecast is named, with its series and the fix, and there is no output."""

    def table(self, world: World) -> pa.Table:
        return tables.table(tables.histories(world, 4), world)

    def test_a_missing_column(self, city: World, tmp_path: Path) -> None:
        made = self.table(city)
        twice = made.append_column("rain", made["rain"])
        assert "column 'rain' occurs more than once" in refused(asked(city, twice, tmp_path))
        text = refused(asked(city, made.drop_columns(["target", "rain"]), tmp_path))
        assert "found no column 'target' (or 'rides'), 'rain', which the model wants; got 'series_id'" in text
        assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]

    def test_a_column_of_text(self, city: World, tmp_path: Path) -> None:
        made = self.table(city)
        text = refused(
            asked(
                city,
                made.set_column(made.column_names.index("rain"), "rain", pa.array(["wet"] * made.num_rows)),
                tmp_path,
            )
        )
        assert "column 'rain' is string, wanted numbers" in text

    def test_no_such_file_a_folder_and_no_table(self, city: World, tmp_path: Path) -> None:
        wanted = Asked(tmp_path / "in.parquet", tmp_path / "out.parquet", model=str(city.folder))
        assert "in.parquet not found: check its spelling" in refused(wanted)
        wanted.input.write_text("PAR?")
        assert "no Parquet file, or damaged or cut off" in refused(wanted)
        wanted.input.unlink()
        wanted.input.mkdir()
        assert "in.parquet is a folder, wanted one Parquet or CSV file" in refused(wanted)

    def test_a_file_that_is_damaged_within(self, city: World, tmp_path: Path) -> None:
        wanted = asked(city, self.table(city), tmp_path)
        kept = bytearray(wanted.input.read_bytes())
        kept[4 : len(kept) // 2] = bytes(len(kept) // 2 - 4)
        wanted.input.write_bytes(kept)
        assert "damaged or cut off" in refused(wanted)
        table = tmp_path / "in.csv.gz"
        pa.csv.write_csv(self.table(city), tmp_path / "in.csv")
        packed = gzip.compress((tmp_path / "in.csv").read_bytes())
        for content in (packed[: len(packed) // 2], b"series_id,timestamp\n"):
            table.write_bytes(content)
            text = refused(Asked(table, tmp_path / "out.parquet", model=str(city.folder)))
            assert "in.csv.gz: cannot be read as CSV: " in text
            assert text.endswith("; is it whole, and what the end of its name says?")

    def test_names_that_are_lists(self, city: World, tmp_path: Path) -> None:
        made = self.table(city)
        names = pa.array([[name] for name in made["series_id"].to_pylist()])
        made = made.set_column(made.column_names.index("series_id"), "series_id", names)
        assert "column 'series_id' is list<" in refused(asked(city, made, tmp_path))

    def test_an_output_that_cannot_be(self, city: World, tmp_path: Path) -> None:
        path = tables.write(tmp_path / "in.parquet", self.table(city))
        text = refused(Asked(path, tmp_path / "no" / "out.parquet", model=str(city.folder)), ConfigError)
        assert f"cannot be written: there is no folder {str(tmp_path / 'no')!r}" in text
        with pytest.raises(ConfigError, match="is a folder, wanted the path of a Parquet file"):
            run.run(Asked(path, tmp_path, model=str(city.folder)))

    def test_no_rows_and_no_name(self, city: World, tmp_path: Path) -> None:
        made = self.table(city)
        assert "there are column names but no rows" in refused(asked(city, made.slice(0, 0), tmp_path))
        assert "'series_id' has no value in 1 rows" in refused(
            asked(city, changed(made, "series_id", 3, None), tmp_path)
        )

    def test_times_that_are_none(self, city: World, tmp_path: Path) -> None:
        made = self.table(city)
        texts = pa.array(["yesterday"] * made.num_rows)
        assert "ISO 8601 such as 2024-05-01T13:00" in refused(
            asked(city, made.set_column(1, "timestamp", texts), tmp_path)
        )
        zones = pa.array(["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00"] * made.num_rows).slice(0, made.num_rows)
        text = refused(asked(city, made.set_column(1, "timestamp", zones), tmp_path))
        assert "the time zone jumps: +01:00, +02:00" in text
        some = changed(
            made.set_column(1, "timestamp", pa.array(["2024-03-31T01:00Z"] * made.num_rows)), "timestamp", 3, None
        )
        assert "column 'timestamp' is empty in 1 rows" in refused(asked(city, some, tmp_path))
        assert "column 'timestamp' is int64, wanted times" in refused(
            asked(city, made.set_column(1, "timestamp", pa.array(range(made.num_rows))), tmp_path)
        )

    def test_a_csv_with_text_for_numbers(self, city: World, tmp_path: Path) -> None:
        path = tmp_path / "in.csv"
        path.write_text("station,hour,rides,temperature,workingday,rain\ns,2024-05-01T00:00,many,1,1,1\n")
        text = refused(Asked(path, tmp_path / "out.parquet", model=str(city.folder)))
        assert f"{path}: column 'rides'" in text
        assert "'many'" in text

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (lambda made: changed(made, "target", 40, -1.0), "has 'target' -1 at 2024-0"),
            (lambda made: changed(made, "rain", 40, float("inf")), "has 'rain' inf at 2024-0"),
            (lambda made: without(made, 113), "has no 'temperature' at 2024-"),
            (lambda made: changed(made, "workingday", 105, None), "has no 'workingday' at 2024-"),
            (
                lambda made: without(made, *range(50)),
                "has 52 steps from its first target value to its last, wanted 102",
            ),
            (lambda made: pa.concat_tables([made, made.slice(9, 1)]), "has more than one row at 2024-"),
            (
                lambda made: changed(made, "timestamp", 9, made["timestamp"][9].as_py().replace(minute=30)),
                "does not fit the frequency 1h",
            ),
        ],
    )
    def test_a_bad_series(self, city: World, tmp_path: Path, change: Callable[[pa.Table], pa.Table], why: str) -> None:
        """It is named, the others' forecasts are kept, and had by --skip-bad without being made anew."""
        wanted = asked(city, change(self.table(city)), tmp_path, chunk=2)
        text = refused(wanted)
        assert text.startswith(f"1 of 4 series cannot be forecast, so {wanted.output} was not written; 'series 0000' ")
        assert why in text
        assert "mend them and run it again with --fresh, or add --skip-bad" in text
        stopped = Stopped(0)
        said = run.run(Asked(**vars(wanted) | {"skip_bad": True}), stopped)
        assert said.endswith(f"; 1 skipped, see {wanted.output}.rejected.csv")
        assert tables.same(tables.numbers(wanted.output), tables.expected(city, tables.histories(city, 4)[1:]))
        ((name, reason),) = list(csv.reader((tmp_path / "out.parquet.rejected.csv").read_text().splitlines()))[1:]
        assert name == "series 0000"
        assert why in reason

    def test_a_series_without_a_value_and_dates_that_nobody_means(self, city: World, tmp_path: Path) -> None:
        told = tables.histories(city, 3)
        told[0].values[:] = np.nan
        far = History("far", told[1].values, np.datetime64("1850-01-01", "s"), None, *covariates(told[1]))
        wanted = asked(city, tables.table([*told, far], city), tmp_path)
        text = refused(wanted)
        assert "2 of 4 series" in text
        assert "'series 0000' has no value of the target, wanted a history of it" in text
        assert "far,\"series 'far'.start_timestamp: the series runs from 1850" in parts_text(wanted)

    def test_nothing_but_bad_series(self, city: World, tmp_path: Path) -> None:
        made = without(self.table(city), *range(80))
        own = made.filter(pc.equal(made["series_id"], "series 0000"))
        text = refused(asked(city, own, tmp_path, skip_bad=True))
        assert text.startswith("1 of 1 series cannot be forecast")
        assert text.endswith("mend the table")
        run.run(asked(city, self.table(city), tmp_path))  # nothing is left that another input would have to fit

    def test_a_list_of_rejected_series_goes_with_its_reason(self, city: World, tmp_path: Path) -> None:
        run.run(asked(city, changed(self.table(city), "target", 40, -1.0), tmp_path, skip_bad=True))
        assert (tmp_path / "out.parquet.rejected.csv").exists()
        run.run(asked(city, self.table(city), tmp_path))
        assert not (tmp_path / "out.parquet.rejected.csv").exists()

    def test_options_that_cannot_be_followed(self, city: World, tmp_path: Path) -> None:
        made = self.table(city)
        assert "--horizon: got 99, wanted 1 to 12" in refused(asked(city, made, tmp_path, horizon=99), ConfigError)
        assert "--quantiles: got 0.999" in refused(asked(city, made, tmp_path, levels=(0.999,)), ConfigError)
        assert "--chunk: got 0, wanted 1 or more" in refused(asked(city, made, tmp_path, chunk=0), ConfigError)

    @pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
    def test_a_model_that_is_not_there(self, city: World, tmp_path: Path) -> None:
        text = refused(asked(city, self.table(city), tmp_path, model="nobodys:abc"), RegistryError)
        assert "no model 'nobodys:abc'" in text
        assert "`python -m training import`" in text
        assert "not found" in refused(asked(city, self.table(city), tmp_path, model=str(tmp_path)), ModelError)

    def test_an_input_that_changes_meanwhile(self, city: World, tmp_path: Path) -> None:
        wanted = asked(city, self.table(city), tmp_path)

        def touched(task: Any, shared: Any, items: Any, /) -> Iterator[Any]:
            yield from cluster.here(task, shared, items)
            os.utime(wanted.input, (1, 1))

        with pytest.raises(DataError, match="was changed while it was read"):
            run.run(wanted, touched)
        assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def covariates(history: History) -> tuple[Any, Any]:
    return history.past_covariates, history.future_covariates


def parts_text(wanted: Asked) -> str:
    return Path(f"{wanted.output}.rejected.csv").read_text()


class TestGoingOn:
    """Parts that are there are not made again; parts of something else are not taken."""

    def stopped(self, world: World, folder: Path, **options: Any) -> Asked:
        """A run of four chunks that ended after two."""
        wanted = asked(world, tables.table(tables.histories(world, 8), world), folder, chunk=2, **options)
        with pytest.raises(KeyboardInterrupt):
            run.run(wanted, Stopped(2))
        assert not wanted.output.exists()
        return wanted

    def test_the_rest_is_made(self, city: World, tmp_path: Path) -> None:
        wanted, rest, said = self.stopped(city, tmp_path), Stopped(99), list[str]()
        (tmp_path / "out.parquet.parts" / ".part-000002.parquet.left").mkdir()  # what a kill may leave
        run.run(wanted, rest, said.append)
        assert rest.seen == [2, 3]
        assert said == [f"batch: going on where {wanted.output}.parts stopped, 2 of 4 parts are there"]
        assert tables.same(tables.numbers(wanted.output), tables.expected(city, tables.histories(city, 8)))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"chunk": 3}, "chunk: 2"),
            ({"horizon": 5}, "horizon: 12"),
            ({"levels": (0.5,)}, "quantiles: [0.1, 0.5, 0.9]"),
        ],
    )
    def test_other_options_are_refused(self, city: World, tmp_path: Path, changes: dict[str, Any], what: str) -> None:
        wanted = self.stopped(city, tmp_path)
        other = Asked(**vars(wanted) | changes)
        text = refused(other, UnfinishedError)
        assert f"out.parquet.parts was begun with another {what}, and this run has" in text
        assert "or with --fresh" in text
        run.run(Asked(**vars(other) | {"fresh": True}))
        assert wanted.output.exists()

    def test_another_input_is_refused(self, city: World, tmp_path: Path) -> None:
        wanted = self.stopped(city, tmp_path)
        tables.write(wanted.input, tables.table(tables.histories(city, 7), city))
        assert "was begun with another input: " in refused(wanted, UnfinishedError)
        rest = Stopped(99)
        run.run(Asked(**vars(wanted) | {"fresh": True}), rest)
        assert rest.seen == [0, 1, 2, 3]

    def test_another_model_is_refused(self, city: World, plain: World, tmp_path: Path) -> None:
        wanted = self.stopped(city, tmp_path)
        other = Asked(**vars(wanted) | {"model": str(plain.folder)})
        assert "was begun with another model: " in refused(other, UnfinishedError)

    def test_other_code_is_refused(self, city: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wanted = self.stopped(city, tmp_path)
        monkeypatch.setattr(cluster, "versions", lambda: {"numpy": "0.1"})
        assert "another numpy: " in refused(wanted, UnfinishedError)

    def test_two_runs_at_once_are_one_too_many(self, city: World, tmp_path: Path) -> None:
        wanted = asked(city, tables.table(tables.histories(city, 2), city), tmp_path)
        with Parts.opened(wanted.output, fresh=False):
            assert "another run writes" in refused(wanted, UnfinishedError)

    def test_an_output_of_before_stays_until_the_new_one_is_whole(self, city: World, tmp_path: Path) -> None:
        (tmp_path / "out.parquet").write_text("before")
        with pytest.raises(KeyboardInterrupt):
            run.run(asked(city, tables.table(tables.histories(city, 8), city), tmp_path, chunk=2), Stopped(2))
        assert (tmp_path / "out.parquet").read_text() == "before"


def test_without_pyarrow_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    arrow.arrow.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        ConfigError, match=r"tables need pyarrow, which is not installed here: pip install '\.\[batch\]'"
    ):
        arrow.arrow()


def test_a_worker_that_does_not_see_the_file_or_sees_another_one(city: World, tmp_path: Path) -> None:
    path = tables.write(tmp_path / "in.parquet", tables.table(tables.histories(city, 3), city))
    seen = table.find(path, city.forecaster.design)
    (chunk,) = table.chunks(table.index(seen), 9, 10_000)
    tables.write(path, tables.table(tables.histories(city, 2), city))
    with pytest.raises(DataError, match="has changed since it was first looked at: run the command again"):
        table.read(seen, chunk)
    path.unlink()
    with pytest.raises(DataError, match="not found; every worker of a cluster has to see it under this path"):
        table.read(seen, chunk)
