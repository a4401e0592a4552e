"""Numbers and times of clients."""

from __future__ import annotations

import datetime as dt
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import RequestError
from service.decoding import decode, floats, moment


@given(values=st.lists(st.none() | st.floats() | st.integers(-(2**53), 2**53)))
def test_floats_are_the_numbers_with_nan_for_none(values: list[float | None]) -> None:
    got = floats(values)
    wanted = [math.nan if value is None else float(value) for value in values]
    assert got.dtype == np.float64
    assert got.tobytes() == np.array(wanted, dtype=np.float64).tobytes()


def test_floats_of_an_empty_list() -> None:
    assert floats([]).shape == (0,)


def test_decode_takes_a_part_of_a_message() -> None:
    """The numbers of a tensor are read after the message around them."""
    assert decode(msgspec.json.Decoder(list[int]), msgspec.Raw(b"[1, 2]")) == [1, 2]
    with pytest.raises(RequestError, match=r"^\[1\]: got 'x', wanted a whole number$"):
        decode(msgspec.json.Decoder(list[int]), msgspec.Raw(b'[1, "x"]'))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01.999999", 1),
        ("1970-01-01T01:00+05:30", 3_600),
        ("1970-01-01 00:00:02Z", 2),
        ("1970-W01-4", 0),
        ("19700101T00", 0),
        ("1969-12-31T23:59:59", -1),
        ("0001-01-01", -62_135_596_800),
        ("9999-12-31T23:59:59", 253_402_300_799),
    ],
)
def test_moment(text: str, seconds: int) -> None:
    got = moment(text, "x")
    assert got.dtype == np.dtype("datetime64[s]")
    assert got.astype(np.int64) == seconds


@given(time=st.datetimes(timezones=st.none() | st.just(dt.UTC)))
def test_moment_is_the_wall_clock_to_the_second(time: dt.datetime) -> None:
    assert moment(time.isoformat(), "x").item() == time.replace(microsecond=0, tzinfo=None)


@given(text=st.text(max_size=200))
def test_moment_refuses_in_a_few_words(text: str) -> None:
    try:
        message = str(moment(text, "inputs[0].start_timestamp"))
    except RequestError as err:
        message = err.message
    assert len(message) < 160
    assert message[:1].isdigit() or message.endswith(", wanted ISO 8601 such as 2024-05-01T13:00")
