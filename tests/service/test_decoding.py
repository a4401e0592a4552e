"""Numbers and times of clients."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import RequestError
from service.decoding import NotPlainError, Numbers, Reader, decode, floats, moment


@given(values=st.lists(st.none() | st.floats() | st.integers(-(2**53), 2**53)))
def test_floats_are_the_numbers_with_nan_for_none(values: list[float | None]) -> None:
    got = floats(values)
    wanted = [math.nan if value is None else float(value) for value in values]
    assert got.dtype == np.float64
    assert got.tobytes() == np.array(wanted, dtype=np.float64).tobytes()


def test_floats_of_an_empty_list() -> None:
    assert floats([]).shape == (0,)


class Message(msgspec.Struct, frozen=True):
    """Declared as the service's own messages are."""

    numbers: Annotated[Numbers, msgspec.Meta(description="some")]
    by_name: Annotated[dict[str, Numbers], msgspec.Meta(max_length=2)] = {}
    parts: list[Numbers] = []
    text: str | None = None


READER = Reader(Message)
#: What stands in arrays: numbers as they are written anywhere, and what is none.
ELEMENT = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from("null true [1] {} 01 1. .5 -0 -0.0 1e400 -1e-400 1E5 1e+5 0.1e1 +1 NaN Infinity -".split()),  # noqa: SIM905
    st.sampled_from(['"1"', "", " 2 ", "1.7976931348623159e308", "9007199254740993", "5e-324", "\ud800"]),
)
ARRAY = st.lists(ELEMENT, max_size=6).map(lambda parts: f"[{','.join(parts)}]")


def made(message: Message) -> tuple[list[bytes], str | None]:
    """All that a message says."""
    arrays = [message.numbers, *message.by_name.values(), *message.parts]
    return [floats(array).tobytes() for array in arrays], message.text


def outcome(read: Callable[[], Any]) -> Any:
    """What is read, or the error's text."""
    try:
        return read()
    except RequestError as err:
        return err.message


@given(arrays=st.tuples(ARRAY, ARRAY, ARRAY), text=st.sampled_from(['"x"', "null", "3"]))
def test_a_reader_reads_as_the_decoder_does(arrays: tuple[str, str, str], text: str) -> None:
    """The same numbers to the last bit, or the same error: the quick way is never seen."""
    one, two, three = arrays
    body = f'{{"numbers":{one},"by_name":{{"a":{two}}},"parts":[{three},[]],"text":{text}}}'
    sent = body.encode("utf-8", "surrogatepass")
    assert outcome(lambda: READER.read(sent, made)) == outcome(
        lambda: made(decode(msgspec.json.Decoder(Message), sent))
    )


def test_a_reader_takes_plain_numbers_the_quick_way() -> None:
    sent = b'{"numbers": [1, 2.5, -3e2] , "by_name": {"a": []}}'
    kinds: list[type] = []
    READER.read(sent, lambda message: kinds.append(type(message.numbers)))
    assert kinds == [msgspec.Raw]
    assert READER.read(sent, made)[0] == [np.array([1, 2.5, -300.0]).tobytes(), b""]


@pytest.mark.parametrize("text", ["[1, null]", "[[1], [2]]", "{}", "3", "[1, true]", "[1e999]", " [1]"])
def test_floats_of_anything_but_plain_numbers_are_left_to_the_careful_way(text: str) -> None:
    with pytest.raises(NotPlainError):
        floats(msgspec.Raw(text.encode()))


def test_arrays_read_one_after_another_do_not_share_memory() -> None:
    first, second = floats(msgspec.Raw(b"[1, 2]")), floats(msgspec.Raw(b"[3, 4]"))
    assert (first.tolist(), second.tolist()) == ([1, 2], [3, 4])


def test_decode_takes_a_part_of_a_message() -> None:
    """The numbers of a tensor are read after the message around them."""
    assert decode(msgspec.json.Decoder(list[int]), msgspec.Raw(b"[1, 2]")) == [1, 2]
    with pytest.raises(RequestError, match=r"^\[1\]: got 'x', wanted a whole number$"):
        decode(msgspec.json.Decoder(list[int]), msgspec.Raw(b'[1, "x"]'))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01.000000", 1),
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
    assert moment(time.replace(microsecond=0).isoformat(), "x").item() == time.replace(microsecond=0, tzinfo=None)


@pytest.mark.parametrize("text", ["2024-05-01T13:00:00.5", "2024-05-01T13:00:00.000001+02:00"])
def test_moment_refuses_a_fraction_of_a_second(text: str) -> None:
    """As training and batch do."""
    with pytest.raises(RequestError) as caught:
        moment(text, "inputs[0].start_timestamp")
    assert caught.value.message == (
        f"inputs[0].start_timestamp: got '{text}', wanted whole seconds such as 2024-05-01T13:00"
    )


@given(text=st.text(max_size=200))
def test_moment_refuses_in_a_few_words(text: str) -> None:
    try:
        message = str(moment(text, "inputs[0].start_timestamp"))
    except RequestError as err:
        message = err.message
    assert len(message) < 160
    assert message[:1].isdigit() or message.endswith(" such as 2024-05-01T13:00")
