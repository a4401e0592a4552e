"""Forecasts on their way: the queue's bounds, and rows that give back what was put in."""

from __future__ import annotations

import re
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service import histories
from service.record import ForecastEntry
from service.record.entries import EARLIEST, LATEST, MAX_TEXT, ForecastQueue, check_text, encode, encode_all
from tests.service.record.kept import ORIGIN, entry

FINITE = st.floats(allow_infinity=False, width=64)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=256)


@st.composite
def entries(draw: st.DrawFn) -> ForecastEntry:
    """Any entry that the record takes."""
    horizon = draw(st.integers(1, 12))
    numbers = arrays.arrays(np.float64, horizon, elements=FINITE)
    levels = draw(st.lists(st.floats(0.001, 0.999), unique=True, max_size=4))
    return entry(
        series=draw(NAMES),
        request_id=draw(NAMES),
        origin=np.datetime64(draw(st.integers(-2_208_988_800, 7_258_118_400)), "s"),
        step_seconds=draw(st.integers(1, 604_800)),
        mean=draw(numbers),
        quantiles={level: draw(numbers) for level in levels},
    )


@settings(deadline=None)
@given(entries())
def test_encode_keeps_every_number(made: ForecastEntry) -> None:
    row = encode(made)
    levels = np.frombuffer(row["levels"], "<f8")
    quantiles = np.frombuffer(row["quantiles"], "<f8").reshape(levels.size, row["horizon"])
    assert levels.tolist() == sorted(made.quantiles)
    assert row["mean"] == made.mean.astype("<f8").tobytes()
    for level, values in zip(levels.tolist(), quantiles, strict=True):
        assert values.tobytes() == made.quantiles[level].astype("<f8").tobytes()
    assert np.datetime64(row["origin"], "s") == made.origin
    assert np.datetime64(row["last_time"], "s") == made.origin + made.mean.size * np.timedelta64(made.step_seconds, "s")
    assert [row[name] for name in ("series", "request_id", "step_seconds")] == [
        made.series,
        made.request_id,
        made.step_seconds,
    ]


def test_encode_takes_other_units_orders_and_types() -> None:
    row = encode(
        entry(
            origin=np.datetime64("2024-05-01", "D"),
            mean=np.arange(6, dtype=">f4")[::2],
            quantiles={0.5: np.arange(3, dtype=np.int64)},
            step_seconds=np.int64(60),
        )
    )
    assert row["origin"] == int(ORIGIN.astype(np.int64))
    assert np.frombuffer(row["mean"], "<f8").tolist() == [0.0, 2.0, 4.0]
    assert type(row["step_seconds"]) is int
    assert encode(entry(quantiles={}))["quantiles"] == b""


def test_encode_takes_large_values() -> None:
    encode(entry(mean=np.full(3, 1e300), quantiles={0.5: np.full(3, -1e300)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"series": "x" * 257}, "series: got 257 characters, wanted a text of at most 256 characters"),
        ({"series": None}, "series: got None, wanted a text of at most 256 characters"),
        ({"request_id": "a\0b"}, "request_id: got 'a\\x00b', wanted a text without NUL"),
        ({"bento": "\ud800"}, "bento: got '\\ud800', wanted a text without NUL and without halves of surrogate pairs"),
        ({"mean": np.ones((2, 2))}, "mean, quantiles: got shape (2, 2) and 2 levels, wanted one dimension"),
        ({"mean": np.empty(0)}, "mean, quantiles: got shape (0,) and 2 levels"),
        (
            {"mean": np.ones(400_000)},
            "mean, quantiles: got shape (400000,) and 2 levels, wanted one dimension and at most 1000000",
        ),
        ({"quantiles": {0.5: np.ones(2)}}, "quantiles: got shape (1, 2), wanted (1, 3), as the mean has"),
        ({"quantiles": {1.5: np.ones(3)}}, "quantiles: got levels [1.5], wanted numbers between 0 and 1"),
        ({"quantiles": {float("nan"): np.ones(3)}}, "quantiles: got levels [nan], wanted numbers between 0 and 1"),
        ({"mean": np.array([1.0, np.inf, 2.0])}, "mean, quantiles: got an infinite value, wanted finite ones, or NaN"),
        ({"quantiles": {0.5: np.array([np.nan, -np.inf, 1.0])}}, "mean, quantiles: got an infinite value"),
        ({"origin": np.datetime64("1850-01-01", "s")}, "created_at, origin: got "),
        (
            {"origin": np.datetime64("NaT", "s")},
            "NaT, wanted times between 1900-01-01T00:00:00 and 2200-01-01T00:00:00",
        ),
        ({"created_at": float("nan")}, "created_at, origin: got nan and 2024-05-01T00:00:00, wanted times"),
        ({"step_seconds": 0}, "step_seconds: got 0, wanted 1 to 31622400"),
    ],
)
def test_encode_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        encode(entry(**changes))


#: Entries among which some are of one shape, and some at fault.
ALIKE = st.builds(
    lambda name, origin, mean, high: entry(
        series=name, origin=origin, mean=np.array(mean), quantiles={0.9: np.array(high), 0.1: np.array(mean)}
    ),
    st.sampled_from(["s01", "s02", "", "a\0b", "\ud800", None, ["x"]]),
    st.sampled_from(
        [ORIGIN, np.datetime64("2024-05-02", "D"), np.datetime64("NaT", "s"), np.datetime64("1850-01-01", "s")]
    ),
    st.lists(st.sampled_from([1.0, -0.0, 1e300, np.nan, np.inf]), min_size=2, max_size=2),
    st.lists(st.sampled_from([1.0, np.nan, -np.inf]), min_size=2, max_size=3),
)


@settings(deadline=None)
@given(st.lists(entries() | ALIKE, max_size=5) | st.lists(ALIKE, max_size=5))
def test_encoded_together_is_encoded_one_by_one(given: list[ForecastEntry]) -> None:
    def alone(made: ForecastEntry) -> Any:
        try:
            return encode(made)
        except Exception as err:
            return type(err), str(err)

    together = [made if isinstance(made, dict) else (type(made), str(made)) for made in encode_all(given)]
    assert together == [alone(made) for made in given]


@settings(deadline=None)
@given(NAMES)
def test_check_text_takes_what_can_be_written(text: str) -> None:
    check_text("series", text)


def test_record_and_service_take_the_same_names_and_times() -> None:
    assert (histories.EARLIEST, histories.LATEST, histories.MAX_NAME) == (EARLIEST, LATEST, MAX_TEXT)


def test_queue_drops_and_counts_what_does_not_fit() -> None:
    queue = ForecastQueue(entries=3, size_bytes=10**6, batch=10)
    queue.put([entry(series=str(number)) for number in range(5)])
    assert (len(queue), queue.dropped) == (3, 2)
    assert [kept.series for kept in queue.first(10)] == ["0", "1", "2"]
    queue.done(2)
    queue.put([entry(series="5")])
    assert [kept.series for kept in queue.first(10)] == ["2", "5"]


def test_queue_is_bounded_in_bytes_too() -> None:
    size = 3 * 8 * (1 + 2)
    queue = ForecastQueue(entries=100, size_bytes=2 * size, batch=10)
    for _ in range(3):
        queue.put([entry()])
    assert (len(queue), queue.dropped) == (2, 1)
    queue.done(2)
    queue.put([entry(), entry()])
    assert (len(queue), queue.dropped) == (2, 1)


def test_queue_says_when_a_batch_is_full_once() -> None:
    queue = ForecastQueue(entries=100, size_bytes=10**6, batch=3)
    assert [queue.put([entry()]) for _ in range(5)] == [False, False, True, False, False]
    queue.done(4)
    assert queue.put([entry(), entry()])


def test_queue_takes_what_is_no_entry_without_a_word() -> None:
    queue = ForecastQueue(entries=100, size_bytes=10**6, batch=3)
    queue.put([None, entry(mean=[1.0]), entry(quantiles=None)])  # type: ignore[list-item]
    assert len(queue) == 3
    queue.done(3)
    assert len(queue) == 0


def test_queue_counts_what_is_left_when_it_closes() -> None:
    queue = ForecastQueue(entries=100, size_bytes=10**6, batch=3)
    queue.put([entry(), entry()])
    queue.close()
    queue.put([entry()])
    queue.done(2)  # the writer comes late
    assert (len(queue), queue.dropped) == (0, 3)


def test_queue_loses_nothing_among_threads() -> None:
    queue = ForecastQueue(entries=1_500, size_bytes=10**9, batch=100)
    taken = 0

    def put() -> None:
        for _ in range(1_000):
            queue.put([entry()])

    threads = [threading.Thread(target=put) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        count = len(queue.first(50))
        queue.done(count)
        taken += count
    assert taken + len(queue) + queue.dropped == 3_000
