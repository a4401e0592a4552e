"""The join against pandas' merge, and what is read back from either database."""

from __future__ import annotations

import asyncio
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ConfigError
from service.record import ForecastEntry, RecordUnavailableError
from service.record import pairs as reading
from service.record.join import Pairs, StoredActuals, StoredForecast, StoredForecasts, join, texts
from service.record.pairs import pairs
from tests.service.record.kept import HOUR, ORIGIN, change, entry, hours, opened

LEVELS = st.sampled_from([(), (0.5,), (0.1, 0.9)])


@st.composite
def stored(draw: st.DrawFn) -> StoredForecast:
    horizon, levels = draw(st.integers(1, 4)), draw(LEVELS)
    numbers = st.lists(st.floats(-1e6, 1e6), min_size=horizon, max_size=horizon)
    return StoredForecast(
        series=draw(st.sampled_from("abc")),
        model_version=draw(st.sampled_from("12")),
        created_at=draw(st.floats(0, 1e9)),
        origin=draw(st.integers(-3, 5)),
        step_seconds=draw(st.integers(1, 3)),
        mean=np.array(draw(numbers)),
        levels=np.array(levels),
        quantiles=np.array([draw(numbers) for _ in levels]).reshape(len(levels), horizon),
    )


@st.composite
def recorded(draw: st.DrawFn) -> StoredActuals:
    values = draw(
        st.dictionaries(st.tuples(st.sampled_from("abz"), st.integers(-4, 12)), st.floats(-9, 9) | st.just(np.nan))
    )
    return StoredActuals(
        texts([series for series, _ in values]),
        np.array([time for _, time in values], dtype=np.int64),
        np.array(list(values.values()), dtype=np.float64),
    )


def as_frame(made: Pairs) -> pd.DataFrame:
    """One row a step, the quantiles as bytes so that they can be compared."""
    return pd.DataFrame(
        {
            "series": made.series,
            "model_version": made.model_version,
            "created_at": made.created_at,
            "origin": made.origin.astype(np.int64),
            "step": made.step,
            "time": made.time.astype(np.int64),
            "forecast": made.forecast,
            "levels": [made.levels.tobytes()] * made.step.size,
            "quantiles": [column.tobytes() for column in made.quantiles.T],
            "actual": made.actual,
            "has_actual": made.has_actual,
        }
    )


def expected(forecasts: list[StoredForecast], actuals: StoredActuals, window: tuple[int, int]) -> pd.DataFrame:
    """The same, one step at a time and by pandas' merge."""
    steps = [
        {
            "series": one.series,
            "model_version": one.model_version,
            "created_at": one.created_at,
            "origin": one.origin,
            "step": step + 1,
            "time": one.origin + (step + 1) * one.step_seconds,
            "forecast": one.mean[step],
            "levels": one.levels.tobytes(),
            "quantiles": one.quantiles[:, step].tobytes(),
        }
        for one in forecasts
        for step in range(one.mean.size)
    ]
    right = pd.DataFrame({"series": actuals.series, "time": actuals.times, "actual": actuals.values})
    right = right.astype({"series": object, "time": np.int64})
    left = pd.DataFrame(steps).astype({"series": object})
    merged = left.merge(right, how="left", on=["series", "time"], indicator="has_actual", validate="m:1")
    merged["has_actual"] = merged["has_actual"] == "both"
    return merged[(merged["time"] >= window[0]) & (merged["time"] < window[1])]


def in_order(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(map(tuple, frame.fillna({"actual": 1e9}).itertuples(index=False)))


def by_levels(forecast: StoredForecast) -> bytes:
    return forecast.levels.tobytes()


@settings(deadline=None)
@given(st.lists(stored(), min_size=1, max_size=8), recorded(), st.tuples(st.integers(-5, 5), st.integers(-5, 15)))
def test_join_is_pandas_merge(forecasts: list[StoredForecast], actuals: StoredActuals, window: tuple[int, int]) -> None:
    groups = itertools.groupby(sorted(forecasts, key=by_levels), key=by_levels)
    parts = [StoredForecasts.of(list(group)) for _, group in groups]
    made = [as_frame(part) for part in join(parts, actuals, window)]
    wanted = expected(forecasts, actuals, window)
    assert all(len(part) for part in made)
    assert (in_order(pd.concat(made)) if made else []) == in_order(wanted)


def test_join_of_nothing_is_nothing() -> None:
    nothing = StoredActuals(texts([]), np.empty(0, np.int64), np.empty(0))
    assert list(join([], nothing, (0, 10))) == []


def read(url: str, first: int, last: int, version: str | None = None) -> pd.DataFrame:
    """Pairs of some hours after the origin, the last one left out."""
    parts = [as_frame(part) for part in pairs(url, ORIGIN + first * HOUR, ORIGIN + last * HOUR, version)]
    assert all(len(part) for part in parts)
    return pd.concat(parts) if parts else pd.DataFrame()


def keep(url: str, entries: list[ForecastEntry], names: list[str], values: list[float]) -> None:
    recorder = opened(url)
    recorder.put_many(entries)
    if names:
        asyncio.run(recorder.put_actuals(names, hours(len(names)), np.array(values)))
    recorder.close()


def test_pairs_tell_known_missing_and_unknown_apart(url: str) -> None:
    keep(url, [entry()], ["s01", "s01"], [10.0, np.nan])
    [part] = pairs(url, ORIGIN, ORIGIN + 9 * HOUR)
    assert part.series.tolist() == ["s01"] * 3
    assert part.model_version.tolist() == ["7"] * 3
    assert part.origin.tolist() == [ORIGIN.item()] * 3
    assert part.step.tolist() == [1, 2, 3]
    assert part.time.tolist() == hours(3).tolist()
    assert part.forecast.tolist() == [1.0, 2.0, 3.0]
    assert part.levels.tolist() == [0.1, 0.9]
    assert part.quantiles.tolist() == [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    assert part.has_actual.tolist() == [True, True, False]
    assert part.actual[0] == 10.0
    assert np.isnan(part.actual[1:]).all()


def test_pairs_are_those_whose_time_is_in_the_window(url: str) -> None:
    late = entry(origin=ORIGIN + 2 * HOUR, model_version="8")
    keep(url, [entry(), late, entry(series="other", origin=ORIGIN + 50 * HOUR)], [], [])
    found = read(url, 2, 4)
    assert sorted(zip(found["model_version"], found["step"], strict=True)) == [("7", 2), ("7", 3), ("8", 1)]
    assert read(url, 2, 4, "8")["step"].tolist() == [1]
    assert read(url, 10, 20).empty
    assert read(url, 4, 2).empty


@pytest.mark.parametrize(("forecasts", "numbers"), [(512, 1_000_000), (7, 1_000_000), (512, 20)])
def test_pairs_are_the_same_in_chunks_of_any_size(
    url: str, forecasts: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK_FORECASTS", forecasts)
    monkeypatch.setattr(reading, "CHUNK_NUMBERS", numbers)
    monkeypatch.setattr(reading, "_FETCH", 3)
    levels: list[tuple[float, ...]] = [(), (0.5,), (0.5, 0.9)]

    def made(number: int) -> ForecastEntry:
        mean = number + np.arange(1, 3 + number % 2) / 10
        return entry(
            series=f"s{number % 5}",
            origin=ORIGIN + (number % 4) * HOUR,
            created_at=float(number),
            mean=mean,
            quantiles={level: mean + level for level in levels[number % 3]},
        )

    names = [f"s{number % 5}" for number in range(20)]
    keep(url, [made(number) for number in range(40)], names, [float(number) for number in range(20)])
    found = read(url, 0, 100)
    assert len(found) == 100
    actuals = dict(zip(zip(names, hours(20).astype(np.int64).tolist(), strict=True), range(20), strict=True))
    rows: Any = found.itertuples()
    for row in rows:
        known = (row.series, row.time)
        assert row.has_actual == (known in actuals)
        assert not row.has_actual or row.actual == actuals[known]
        number = row.created_at
        assert row.forecast == number + row.step / 10
        assert np.frombuffer(row.quantiles).tolist() == [row.forecast + level for level in levels[int(number) % 3]]


def test_pairs_leave_no_transaction_open_between_chunks(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK_FORECASTS", 1)
    keep(sqlite, [entry(), entry(), entry()], ["s01"], [1.0])
    parts = pairs(sqlite, ORIGIN, ORIGIN + 9 * HOUR)
    next(parts)
    change(sqlite, "PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE actuals SET value = 5")
    assert next(parts).actual[0] == 5.0
    parts.close()  # type: ignore[attr-defined]


def test_a_forecast_that_lost_steps_is_read_once(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next chunk begins after the place that the record has for it, not after the steps that are left."""
    monkeypatch.setattr(reading, "CHUNK_FORECASTS", 1)
    keep(sqlite, [entry(), entry()], [], [])
    change(sqlite, "UPDATE forecasts SET mean = substr(mean, 1, 16), quantiles = zeroblob(32)")
    assert [part.step.tolist() for part in itertools.islice(pairs(sqlite, ORIGIN, ORIGIN + 9 * HOUR), 5)] == [
        [1, 2]
    ] * 2


@pytest.mark.parametrize("column", ["mean", "quantiles", "levels"])
@pytest.mark.parametrize("cut", [3, 8])
def test_a_damaged_forecast_is_told_of_and_left_out(
    sqlite: str, column: str, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    keep(sqlite, [entry(series=name) for name in "abc"], ["a", "b", "c"], [1.0, 2.0, 3.0])
    change(sqlite, f"UPDATE forecasts SET {column} = substr({column}, 1, length({column}) - {cut}) WHERE series = 'b'")
    found = read(sqlite, -5, 50)
    assert set(found["series"]) == {"a", "c"}
    assert "left out as damaged, their numbers not whole: 1 in the table forecasts, id 2: " in caplog.text


def test_what_is_damaged_altogether_hides_nothing_that_comes_after(
    sqlite: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "CHUNK_FORECASTS", 7)
    keep(sqlite, [entry(series=name) for name in "abcdefghi"], [], [])
    change(sqlite, "UPDATE forecasts SET mean = x'00' WHERE series < 'h'")
    assert set(read(sqlite, -5, 50)["series"]) == {"h", "i"}
    assert "7 in the table forecasts, id 1, 2, 3, 4, 5, ...: " in caplog.text


def test_a_record_with_a_damaged_page_is_named(sqlite: str) -> None:
    """The driver finds it after it has given many rows."""
    keep(sqlite, [entry(series=f"s{number}") for number in range(3_000)], [], [])
    change(sqlite, "PRAGMA wal_checkpoint(TRUNCATE)")
    path = Path(sqlite.removeprefix("sqlite:///"))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(bytes(size // 4))
    with pytest.raises(RecordUnavailableError, match=r"cannot be read: .*malformed"):
        list(pairs(sqlite, ORIGIN, ORIGIN + 99 * HOUR))


def test_pairs_of_what_is_no_record(tmp_path: Any, sqlite: str) -> None:
    with pytest.raises(ConfigError, match=r"record: got 'mysql://a:\*\*\*@b/c', wanted"):
        next(pairs("mysql://a:secret@b/c", ORIGIN, ORIGIN))
    with pytest.raises(
        RecordUnavailableError, match=r"record.db: there is no such file: has the service kept a record there\?"
    ):
        next(pairs(sqlite, ORIGIN, ORIGIN))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "record.db").write_text("not a database, but a text that is long enough to be taken for one" * 20)
    with pytest.raises(
        RecordUnavailableError, match=re.escape("cannot be read: file is not a database: move the file away")
    ):
        next(pairs(sqlite, ORIGIN, ORIGIN))


def test_pairs_of_tables_of_the_future(url: str) -> None:
    opened(url).close()
    change(url, "UPDATE record_version SET version = 99")
    with pytest.raises(ConfigError, match="its tables are of version 99"):
        next(pairs(url, ORIGIN, ORIGIN))


@pytest.mark.services
def test_pairs_of_a_database_out_of_reach() -> None:
    pytest.importorskip("psycopg", reason="no psycopg: pip install '.[postgres]'")
    with pytest.raises(
        RecordUnavailableError, match=r"record postgresql://u:\*\*\*@127.0.0.1:1/x cannot be read: .*refused"
    ):
        next(pairs("postgresql://u:hush-hush@127.0.0.1:1/x", ORIGIN, ORIGIN))
