"""Answers of two versions to the same requests, from a real record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, update

from deploy.faults import RolloutError
from deploy.judging.accuracy import Accuracy
from deploy.judging.answers import Answers, Forecast, banded, differ
from deploy.judging.counts import Pairs
from service.record.address import Address
from service.record.engine import open_engine
from service.record.join import StoredForecast
from service.record.tables import ACTUALS, FORECASTS, create

MEAN = np.linspace(10.0, 12.0, 24)
STABLE = Forecast(0, MEAN, np.full(24, 3.0), np.full(24, 2.0))


def other(mean: np.ndarray[tuple[int], np.dtype[np.float64]], origin: int = 0) -> Forecast:
    return Forecast(origin, mean, np.zeros_like(mean), np.zeros_like(mean))


@pytest.mark.parametrize(
    ("candidate", "wanted"),
    [
        (other(MEAN), False),
        (other(MEAN + 1.9), False),
        (other(MEAN + 2.1), True),
        (other(MEAN - 2.9), False),
        (other(MEAN - 3.1), True),
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


@pytest.mark.parametrize("levels", [(0.1, 0.9), (0.025, 0.975), (0.25, 0.5, 0.75), (0.9,), (0.05, 0.5)])
def test_the_band_is_the_same_whatever_interval_was_asked_for(levels: tuple[float, ...]) -> None:
    """Of a forecast whose errors are normal, with a standard deviation of 1.5."""
    quantiles = np.stack([MEAN + 1.5 * NormalDist().inv_cdf(level) for level in levels])
    stable = banded(StoredForecast("s", "1", 0.0, 0, 3_600, MEAN, np.array(levels), quantiles))
    for sign in (-1, 1):
        assert not differ(stable, other(MEAN + sign * 2.95))
        assert differ(stable, other(MEAN + sign * 3.05))


@pytest.mark.parametrize("levels", [(), (0.5,), (0.45, 0.55)])
def test_quantiles_around_the_median_tell_no_band(levels: tuple[float, ...]) -> None:
    stored = StoredForecast("s", "1", 0.0, 0, 3_600, MEAN, np.array(levels), np.tile(MEAN, (len(levels), 1)))
    assert not differ(banded(stored), other(MEAN * 1.5))
    assert differ(banded(stored), other(MEAN * 2.5))


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


def put(
    url: str, request: str, bento: str, series: str = "s", *, add: float = 0.0, at: float = 100.0, origin: int = 0
) -> None:
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
                origin=origin,
                step_seconds=3600,
                horizon=24,
                last_time=origin + 24 * 3600,
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


@pytest.mark.parametrize(
    ("answered", "wanted"),
    [(("s1",), Pairs(1, 0)), (("s1", "s2"), Pairs(0, 1)), ((), Pairs(0, 0)), (("s1", "s2", "s3"), Pairs(0, 0))],
    ids=["one is missing", "all", "no copy", "more than the stable version"],
)
def test_series_that_the_candidate_does_not_answer_are_waited_for_and_then_held_against_it(
    record: str, monkeypatch: pytest.MonkeyPatch, answered: tuple[str, ...], wanted: Pairs
) -> None:
    monkeypatch.setattr("deploy.judging.answers.LATE", 2)
    answers = Answers(record, "b:one", "b:two", since=0.0)
    for series in ("s1", "s2"):
        put(record, "r1", "b:one", series)
    for series in answered:
        put(record, "r1", "b:two", series)
    assert [answers.look(until=200.0).worse for _ in range(3)] == [0, 0, wanted.worse]
    put(record, "r1", "b:two", "s2", at=300.0)  # too late, and no copy
    assert answers.look(until=200.0) == wanted
    answers.close()


def test_a_damaged_answer_is_not_held_against_the_candidate(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.judging.answers.LATE", 1)
    answers = Answers(record, "b:one", "b:two", since=0.0)
    for bento in ("b:one", "b:two"):
        for series in ("s1", "s2"):
            put(record, "r1", bento, series)
    engine = open_engine(Address.parse(record))
    with engine.begin() as connection:
        table = FORECASTS.c
        connection.execute(
            update(FORECASTS).where(table.bento == "b:two", table.series == "s2").values(mean=b"not a number")
        )
    engine.dispose()
    assert [answers.look() for _ in range(3)] == [Pairs(0, 0)] * 3
    answers.close()


def test_a_record_that_is_not_there(tmp_path: Path) -> None:
    answers = Answers(f"sqlite:///{tmp_path / 'none.db'}", "b:one", "b:two", since=0.0)
    with pytest.raises(RolloutError, match=r"cannot be read \(.*no such table.*\): without it the answers of both"):
        answers.look()
    answers.close()


def actual(url: str, step: int, value: float | None, series: str = "s", origin: int = 0) -> None:
    engine = open_engine(Address.parse(url))
    with engine.begin() as connection:
        connection.execute(
            insert(ACTUALS).values(series=series, time=origin + step * 3600, value=value, received_at=0.0)
        )
    engine.dispose()


def both(url: str, request: str, series: str = "s", origin: int = 0, *, off: float = 0.0) -> None:
    """Answers of both versions; the candidate's is so much higher."""
    put(url, request, "b:one", series, origin=origin)
    put(url, request, "b:two", series, origin=origin, add=off)


@pytest.fixture
def answers(record: str) -> Iterator[Answers]:
    made = Answers(record, "b:one", "b:two", since=0.0, pause=0)
    yield made
    made.close()


def test_without_actual_values_there_is_no_accuracy(record: str, answers: Answers) -> None:
    both(record, "r1", off=1.0)
    actual(record, 3, None)
    actual(record, 3, 5.0, series="another")
    actual(record, 25, 5.0)
    assert accuracy(answers) is None


def accuracy(answers: Answers) -> Pairs | None:
    answers.look()
    return answers.accuracy


def test_actual_values_that_come_later_are_seen(record: str, answers: Answers) -> None:
    both(record, "r1", off=1.0)
    both(record, "r2", series="t", off=1.0)
    assert accuracy(answers) is None
    actual(record, 1, MEAN[0] + 0.1)  # the stable version is nearer
    assert accuracy(answers) == Pairs(1, 0)
    actual(record, 1, MEAN[0] + 0.9, series="t")
    assert accuracy(answers) == Pairs(1, 1)


def test_errors_are_summed_over_steps_with_a_value(record: str, answers: Answers) -> None:
    both(record, "r1", off=1.0)
    for step, above in ((1, 0.2), (5, 0.9), (24, 0.9)):  # further off in one, nearer in two
        actual(record, step, MEAN[step - 1] + above)
    assert accuracy(answers) == Pairs(0, 1)


def test_a_pair_is_counted_once(record: str, answers: Answers) -> None:
    """However often it is asked for, and whatever comes true later."""
    for request in ("r1", "r2"):
        both(record, request, off=1.0)
    actual(record, 1, MEAN[0])
    answers.look()
    both(record, "r3", off=1.0)
    actual(record, 2, MEAN[1] + 50)
    assert accuracy(answers) == Pairs(1, 0)
    both(record, "r4", origin=3600, off=1.0)
    assert accuracy(answers) == Pairs(1, 1)  # step 1 of it is that value


def test_ties_count_half(record: str, answers: Answers) -> None:
    for number in range(5):
        both(record, f"r{number}", series=f"s{number}")
        actual(record, 1, 3.0, series=f"s{number}")
    assert accuracy(answers) == Pairs(2, 3)


def test_a_forecast_that_is_no_number_is_the_worse_one(record: str, answers: Answers) -> None:
    both(record, "r1", off=float("nan"))
    actual(record, 1, 3.0)
    assert accuracy(answers) == Pairs(1, 0)


def test_what_users_are_answered_after_the_copies_is_no_pair(record: str, answers: Answers) -> None:
    both(record, "r1", off=1.0)
    answers.look()
    for bento in ("b:one", "b:two"):
        put(record, "chosen by a client", bento, "t", at=300.0)
    actual(record, 1, MEAN[0])
    actual(record, 1, MEAN[0], series="t")
    assert answers.look(until=200.0) == Pairs(0, 1)
    assert answers.accuracy == Pairs(1, 0)


def test_what_waits_is_bounded(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.judging.answers.MOST_WAITING", 3)
    answers = Answers(record, "b:one", "b:two", since=0.0, pause=0)
    for number in range(5):
        put(record, f"r{number}", "b:one")
    answers.look()
    for number in range(5):
        put(record, f"r{number}", "b:two")
    assert answers.look() == Pairs(0, 3)
    answers.close()


def test_the_oldest_that_wait_for_actual_values_are_forgotten(record: str) -> None:
    compared = Accuracy(most=2)
    for origin in (0, 1, 2):
        stored = StoredForecast("s", "1", 0.0, origin * 86_400, 3_600, MEAN, np.empty(0), np.empty((0, 24)))
        compared.add(stored, dataclasses.replace(stored, mean=MEAN + 1))
        actual(record, 1, MEAN[0], origin=origin * 86_400)
    engine = open_engine(Address.parse(record))
    with engine.begin() as connection:
        compared.look(connection)
    engine.dispose()
    assert compared.pairs == Pairs(2, 0)
