"""Actual values on their way: what is refused, who shares a transaction, who is told what."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import RequestError
from service.record import RecordUnavailableError, actuals
from service.record.actuals import Actuals, ActualsQueue, Call, rows
from tests.service.record.kept import ORIGIN, hours


def some(names: list[str], values: list[float], first: int = 1) -> Actuals:
    return Actuals.checked(names, hours(len(names), first), np.array(values))


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"series": ["a"]}, "values", "actual values: got 1 series, 2 times and 2 values, wanted as many of each"),
        ({"values": np.ones((2, 1))}, "values", "got 2 series, 2 times and 2 values"),
        ({"series": ["a", "x" * 257]}, "series[1]", "series[1]: got 257 characters, wanted a text of at most 256"),
        ({"series": ["\0", "b"]}, "series[0]", "series[0]: got '\\x00', wanted a text without NUL"),
        (
            {"times": np.array(["2024-05-01", "NaT"], "datetime64[s]")},
            "times[1]",
            "times[1]: got NaT, wanted a time between 1900-01-01T00:00:00 and 2200-01-01T00:00:00",
        ),
        (
            {"times": np.array(["2300-01-01", "2024-05-01"], "datetime64[s]")},
            "times[0]",
            "times[0]: got 2300-01-01T00:00:00",
        ),
        ({"values": np.array([1.0, -np.inf])}, "values[1]", "values[1]: got -inf, wanted a finite number, or NaN"),
    ],
)
def test_actuals_are_refused(changes: dict[str, Any], param: str, message: str) -> None:
    given: dict[str, Any] = {"series": ["a", "b"], "times": hours(2), "values": np.array([1.0, 2.0])} | changes
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        Actuals.checked(**given)
    assert caught.value.param == param


def test_actuals_are_refused_beyond_a_number() -> None:
    count = actuals.MAX_ROWS + 1
    with pytest.raises(RequestError, match="actual values: got 100001, wanted at most 100000: send several requests"):
        Actuals.checked(["a"] * count, np.full(count, ORIGIN), np.zeros(count))


def test_rows_keep_the_last_value_and_the_order_of_keys() -> None:
    calls = [Call(some(["b", "a"], [1.0, 2.0])), Call(some(["b"], [np.nan])), Call(some(["a"], [4.0], first=2))]
    start = int(hours(1)[0].astype(np.int64))
    assert [(row["series"], row["time"], row["value"]) for row in rows(calls)] == [
        ("a", start + 3_600, 4.0),
        ("b", start, None),
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.floats(allow_infinity=False)), min_size=1))
def test_rows_are_a_dictionary_in_order(given: list[tuple[str, int, float]]) -> None:
    calls = [Call(Actuals.checked([name], hours(1, at), np.array([value]))) for name, at, value in given]
    expected = {(name, int(hours(1, at)[0].astype(np.int64))): value for name, at, value in given}
    made = {(row["series"], row["time"]): row["value"] for row in rows(calls)}
    assert list(made) == sorted(expected)
    assert all(made[key] == value or (made[key] is None and value != value) for key, value in expected.items())


def test_group_leaves_out_who_no_longer_waits() -> None:
    queue = ActualsQueue()
    futures = [queue.put(some(["a"], [float(number)])) for number in range(3)]
    futures[1].cancel()
    calls = queue.group()
    assert [call.actuals.values.tolist() for call in calls] == [[0.0], [2.0]]
    queue.done(calls)
    assert [future.result(0) for future in (futures[0], futures[2])] == [1, 1]
    assert len(queue) == 0


def test_group_has_a_limit_but_takes_the_first_call_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actuals, "MAX_ROWS", 3)
    queue = ActualsQueue()
    for names in (["a", "b"], ["c"], ["d"]):
        queue.put(some(names, [0.0] * len(names)))
    assert [len(call.actuals.series) for call in queue.group()] == [2, 1]


def test_a_call_that_was_cancelled_meanwhile_is_no_fault() -> None:
    queue = ActualsQueue()
    future = queue.put(some(["a"], [1.0]))
    calls = queue.group()
    future.cancel()
    queue.done(calls)
    calls[0].refuse(RecordUnavailableError("late"))
    assert future.cancelled()


def test_queue_refuses_when_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actuals, "MAX_WAITING", 2)
    queue = ActualsQueue()
    queue.put(some(["a", "b"], [1.0, 2.0]))
    with pytest.raises(RecordUnavailableError, match="2 actual values wait to be written, at most 2 may") as caught:
        queue.put(some(["c"], [1.0]))
    assert (caught.value.status, caught.value.code) == (503, "record_unavailable")
    assert caught.value.retry_after_seconds == 1.0


def test_queue_refuses_who_waits_when_it_closes() -> None:
    queue = ActualsQueue()
    future = queue.put(some(["a"], [1.0]))
    queue.close()
    with pytest.raises(RecordUnavailableError, match="closed before the actual values were on disk: send them again"):
        future.result(0)
    with pytest.raises(RecordUnavailableError, match="record: it is closed"):
        queue.put(some(["a"], [1.0]))
