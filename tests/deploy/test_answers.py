"""Answers of two versions to the same requests, from a real record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from deploy.answers import Answers, Forecast, differ
from deploy.counts import Pairs
from deploy.faults import RolloutError
from service.record.address import Address
from service.record.engine import open_engine
from service.record.tables import FORECASTS, create

MEAN = np.linspace(10.0, 12.0, 24)
STABLE = Forecast(0, MEAN, MEAN - 2, MEAN + 2)


def other(mean: np.ndarray[tuple[int], np.dtype[np.float64]], origin: int = 0) -> Forecast:
    return Forecast(origin, mean, mean, mean)


@pytest.mark.parametrize(
    ("candidate", "wanted"),
    [
        (other(MEAN), False),
        (other(MEAN + 5.9), False),  # the interval's edge and once its width
        (other(MEAN + 6.1), True),
        (other(MEAN - 6.1), True),
        (other(np.where(np.arange(24) < 2, 1e6, MEAN)), False),  # two steps of 24
        (other(np.where(np.arange(24) < 3, 1e6, MEAN)), True),
        (other(np.where(np.arange(24) < 1, np.nan, MEAN)), True),
        (other(MEAN[:23]), True),
        (other(MEAN, origin=3600), True),
    ],
)
def test_what_differs(candidate: Forecast, *, wanted: bool) -> None:
    assert differ(STABLE, candidate) is wanted


@given(st.floats(1e-3, 1e9), st.floats(-0.9, 0.9))
def test_without_an_interval_the_forecasts_size_is_the_width(scale: float, by: float) -> None:
    bare = Forecast(0, MEAN * scale, MEAN * scale, MEAN * scale)
    assert not differ(bare, other(MEAN * scale * (1 + by * 0.8)))
    assert differ(bare, other(MEAN * scale * 100))


def test_forecasts_of_nothing_are_the_same() -> None:
    zeros = other(np.zeros(24))
    assert not differ(zeros, zeros)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    engine = open_engine(Address.parse(url))
    with engine.begin() as connection:
        create(connection, url)
    yield url
    engine.dispose()


def put(url: str, request: str, bento: str, series: str = "s", *, add: float = 0.0, at: float = 100.0) -> None:
    engine = open_engine(Address.parse(url))
    with engine.begin() as connection:
        connection.execute(
            insert(FORECASTS).values(
                created_at=at,
                request_id=request,
                series=series,
                model_name="m",
                model_version="1",
                bento=bento,
                origin=0,
                step_seconds=3600,
                horizon=24,
                last_time=0,
                mean=(MEAN + add).tobytes(),
                levels=np.array([0.1, 0.9]).tobytes(),
                quantiles=np.concatenate([MEAN - 2, MEAN + 2]).tobytes(),
            )
        )
    engine.dispose()


def test_pairs_are_found_as_they_come(record: str) -> None:
    answers = Answers(record, "b:one", "b:two", since=50.0)
    assert answers.look() == Pairs(0, 0)
    put(record, "r1", "b:one")
    assert answers.look() == Pairs(0, 0)
    put(record, "r1", "b:two")
    put(record, "r2", "b:two", add=1e6)
    put(record, "r2", "b:one")
    put(record, "r3", "b:one", at=40.0)
    put(record, "r3", "b:two", at=40.0)
    put(record, "r4", "b:three")
    assert answers.look() == Pairs(1, 1)
    assert answers.look() == Pairs(1, 1)
    answers.close()


def test_a_request_with_several_series_is_one_pair(record: str) -> None:
    answers = Answers(record, "b:one", "b:two", since=0.0)
    for bento in ("b:one", "b:two"):
        put(record, "r1", bento, "s1")
    assert answers.look() == Pairs(0, 1)
    for bento in ("b:one", "b:two"):
        for series in ("s1", "s2"):
            put(record, "r2", bento, series, add=1e6 * (bento == "b:two" and series == "s2"))
    assert answers.look() == Pairs(1, 1)
    answers.close()


def test_a_record_that_is_not_there(tmp_path: Path) -> None:
    answers = Answers(f"sqlite:///{tmp_path / 'none.db'}", "b:one", "b:two", since=0.0)
    with pytest.raises(RolloutError, match=r"cannot be read \(.*no such table.*\): without it the answers of both"):
        answers.look()
    answers.close()
