"""Forecasts of a whole table: the bits of the service, for any chunk and any shape of the same table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.params import Gap
from service.batch import run
from service.batch.run import Asked
from service.call import Call
from service.histories import History
from service.protocols.timeseries import Timeseries
from tests.service.batch import tables
from tests.service.batch.tables import asked, saved
from tests.service.world import World

FOLDERS = HealthCheck.function_scoped_fixture


@pytest.fixture(params=["city", "plain"])
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.getfixturevalue(request.param)
    return made


class TestBits:
    def test_a_table_has_the_numbers_of_the_core(self, world: World, tmp_path: Path) -> None:
        told = tables.histories(world, 25)
        said = run.run(asked(world, tables.table(told, world), tmp_path, chunk=10))
        assert tables.same(tables.numbers(tmp_path / "out.parquet"), tables.expected(world, told))
        assert said == (
            f"batch: 25 series x {world.forecaster.design.horizon} steps by {world.folder} in {tmp_path / 'out.parquet'}"
        )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]

    def test_a_table_has_the_numbers_of_an_answer_over_http(self, city: World, tmp_path: Path) -> None:
        told = tables.histories(city, 6)
        run.run(asked(city, tables.table(told, city), tmp_path, chunk=4))
        door = Timeseries()
        body = json.dumps(city.document(*told, quantiles=list(tables.LEVELS))).encode()
        question = door.read(Call([], body), city.served)
        reply = json.loads(door.write(question, city.served.answer([question.question])[0], city.served).body)
        found = tables.numbers(tmp_path / "out.parquet")
        contents = [output["content"][0] for output in reply["outputs"]]
        assert found["mean"].tolist() == [value for content in contents for value in content["mean_forecast"]]
        for level in map(str, tables.LEVELS):
            assert found[level].tolist() == [value for content in contents for value in content["quantiles"][level]]

    @settings(max_examples=25, deadline=None, suppress_health_check=[FOLDERS])
    @given(
        chunk=st.integers(1, 15),
        most_rows=st.integers(1, 2_000),
        row_group=st.integers(40, 3_000),
        order=st.sampled_from(["series", "time", "shuffled"]),
        seed=st.integers(0, 99),
    )
    @pytest.mark.parametrize("name", ["city", "plain"])
    def test_any_chunk_any_order_of_rows_and_any_row_group_give_the_same_bits(
        self,
        name: str,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        chunk: int,
        most_rows: int,
        row_group: int,
        order: str,
        seed: int,
    ) -> None:
        """Some series have gaps: rows that are missing, and rows without a value."""
        world: World = request.getfixturevalue(name)
        draw = np.random.default_rng(seed)
        told = holed(tables.histories(world, 12), draw)
        made = tables.table(told, world)
        if order == "time":
            made = made.sort_by("timestamp")
        elif order == "shuffled":
            made = made.take(pa.array(draw.permutation(made.num_rows)))
        empty = np.logical_and.reduce([pc.is_null(column).to_numpy() for column in made.columns[2:]])
        made = made.filter(pa.array(~empty | (draw.random(empty.size) < 0.5)))
        monkeypatch.setattr(run, "CHUNK_ROWS", most_rows)
        run.run(asked(world, made, tmp_path, row_group, chunk=chunk))
        found = tables.numbers(tmp_path / "out.parquet")
        by_name = {history.name: history for history in told}
        names = list(dict.fromkeys(made["series_id"].to_pylist()))
        assert tables.same(found, tables.expected(world, [by_name[name] for name in names]))

    @pytest.mark.parametrize("rule", ["zero", "forward", "interpolate"])
    def test_gaps_are_filled_by_the_models_rule(self, city: World, tmp_path: Path, rule: Gap) -> None:
        world = city.filling(rule)
        told = holed(tables.histories(world, 8), np.random.default_rng(3))
        model = saved(city, world.forecaster.card, tmp_path / "model")
        run.run(asked(world, tables.table(told, world), tmp_path, model=model))
        assert tables.same(tables.numbers(tmp_path / "out.parquet"), tables.expected(world, told))

    def test_a_shorter_horizon_wants_and_gives_fewer_steps(self, city: World, tmp_path: Path) -> None:
        told = [city.history(place, steps=5) for place in range(3)]
        run.run(asked(city, tables.table(told, city), tmp_path, horizon=5, levels=()))
        found = tables.numbers(tmp_path / "out.parquet")
        assert list(found) == ["series_id", "timestamp", "step", "mean"]
        assert np.array_equal(found["mean"], city.answer(*told, horizon=5).mean.ravel())

    def test_a_level_asked_twice_is_one_column(self, plain: World, tmp_path: Path) -> None:
        run.run(asked(plain, tables.table(tables.histories(plain, 2), plain), tmp_path, levels=(0.1, 0.1, 0.9)))
        found = tables.numbers(tmp_path / "out.parquet")
        assert list(found) == ["series_id", "timestamp", "step", "mean", "0.1", "0.9"]

    def test_the_output_says_what_it_was_made_from(self, plain: World, tmp_path: Path) -> None:
        run.run(asked(plain, tables.table(tables.histories(plain, 2), plain), tmp_path))
        said = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"bentocast.made_from"])
        assert said["model"] == str(plain.folder)
        assert said["onnx"] == plain.forecaster.card.onnx_sha256
        assert len(said["input"]) == 64


def holed(told: list[History], draw: np.random.Generator) -> list[History]:
    """Histories of which every other one has gaps, not at its ends."""
    for history in told[::2]:
        lost = draw.integers(1, history.values.size - 1, 9)
        history.values[lost] = np.nan
        for values in history.past_covariates.values():
            values[lost[:4]] = np.nan
    return told


class TestTables:
    """Other shapes of the same table."""

    @pytest.fixture
    def told(self, city: World) -> list[History]:
        return tables.histories(city, 3)

    def gives(self, world: World, made: pa.Table, told: list[History], folder: Path) -> None:
        run.run(asked(world, made, folder))
        assert tables.same(tables.numbers(folder / "out.parquet"), tables.expected(world, told))

    def test_columns_may_have_the_names_of_the_models_own_table(
        self, city: World, told: list[History], tmp_path: Path
    ) -> None:
        made = tables.table(told, city)
        renamed = {"series_id": "station", "timestamp": "hour", "target": "rides"}
        self.gives(city, made.rename_columns([renamed.get(name, name) for name in made.column_names]), told, tmp_path)

    @pytest.mark.parametrize("zone", ["", "Z", "+02:00"])
    def test_times_may_be_text(self, city: World, told: list[History], tmp_path: Path, zone: str) -> None:
        made = tables.table(told, city)
        texts = pc.binary_join_element_wise(pc.strftime(made["timestamp"], "%Y-%m-%dT%H:%M:%S"), zone, "")
        self.gives(city, made.set_column(1, "timestamp", texts), told, tmp_path)

    def test_times_may_have_a_zone(self, city: World, told: list[History], tmp_path: Path) -> None:
        made = tables.table(told, city)
        zoned = pc.assume_timezone(made["timestamp"].cast(pa.timestamp("us")), "Etc/GMT-3")
        self.gives(city, made.set_column(1, "timestamp", zoned), told, tmp_path)

    def test_names_may_be_numbers_or_categories(self, city: World, told: list[History], tmp_path: Path) -> None:
        told = [
            History(str(k), h.values, h.start, None, h.past_covariates, h.future_covariates) for k, h in enumerate(told)
        ]
        made = tables.table(told, city)
        for kind in (made["series_id"].cast(pa.int64()), made["series_id"].dictionary_encode()):
            self.gives(city, made.set_column(0, "series_id", kind), told, tmp_path)

    def test_flags_and_small_numbers_are_numbers(self, city: World, told: list[History], tmp_path: Path) -> None:
        made = tables.table(told, city)
        place = made.column_names.index("workingday")
        flags = made.set_column(place, "workingday", made["workingday"].cast(pa.bool_()))
        self.gives(city, flags, told, tmp_path)

    @pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
    def test_it_may_be_csv(self, city: World, told: list[History], tmp_path: Path, ending: str) -> None:
        made = tables.table(told, city)
        path = tmp_path / f"in{ending}"
        with pa.output_stream(path) as stream:
            pyarrow.csv.write_csv(made, stream)
        run.run(Asked(path, tmp_path / "out.parquet", model=str(city.folder)))
        assert tables.same(tables.numbers(tmp_path / "out.parquet"), tables.expected(city, told))
        assert sorted(path.name for path in tmp_path.iterdir()) == [path.name, "out.parquet"]

    def test_a_table_of_one_series_needs_no_names(self, plain: World, tmp_path: Path) -> None:
        card = plain.forecaster.card
        series = card.declaration.series.model_copy(update={"id": None})
        alone = card.model_copy(update={"declaration": card.declaration.model_copy(update={"series": series})})
        history = plain.history(1, length=150)
        made = tables.table([history], plain).drop_columns(["series_id"])
        run.run(asked(plain, made, tmp_path, 40, model=saved(plain, alone, tmp_path / "model")))
        found = tables.numbers(tmp_path / "out.parquet")
        assert set(found["series_id"]) == {"series"}
        assert np.array_equal(found["mean"], plain.answer(history).mean.ravel())

    def test_other_columns_are_left_alone(self, city: World, told: list[History], tmp_path: Path) -> None:
        made = tables.table(told, city)
        self.gives(city, made.append_column("note", pa.array(["?"] * made.num_rows)), told, tmp_path)

    def test_rows_before_the_first_value_and_beyond_the_horizon_are_not_looked_at(
        self, city: World, told: list[History], tmp_path: Path
    ) -> None:
        made = tables.table(told, city)
        times = [made["timestamp"][0].as_py().replace(year=2020), made["timestamp"][-1].as_py().replace(year=2030)]
        more = pa.table({name: [None, None] for name in made.column_names}, schema=made.schema.remove_metadata())
        more = more.set_column(0, "series_id", pa.array([told[0].name, told[-1].name]))
        more = more.set_column(1, "timestamp", pa.array(times, made["timestamp"].type))
        self.gives(city, pa.concat_tables([made, more]), told, tmp_path)


def test_progress_is_told_after_a_while_and_not_too_often() -> None:
    now, said = [0.0], list[str]()
    progress = run._Progress(1_000, said.append, lambda: now[0])
    for second in range(1, 10):
        now[0] = float(second)
        progress.add(100)
    progress.add(100)
    assert said == ["batch: 200 of 1000 series, about 8 s left", "batch: 700 of 1000 series, about 3 s left"]
