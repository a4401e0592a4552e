"""Messages about JSON: where, what was got, what is wanted, and no longer than a person reads."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from data.errors import RequestError
from service import faults
from service.decoding import decode
from service.protocols.actuals import ActualsRequest
from service.protocols.inference_http import InferRequest
from service.protocols.predict import RowsRequest, SeriesRequest
from service.protocols.timeseries import ForecastRequest


class Bicycle(Struct):
    """One of each kind of field."""

    name: Annotated[str, Meta(max_length=8)]
    wheels: int = 2
    weight: float | None = None
    kind: Literal["city", "cargo"] = "city"
    parts: dict[Annotated[str, Meta(max_length=8)], list[float]] = {}
    riders: Annotated[list[str], Meta(max_length=3)] = []
    owner: dict[str, dict[str, int]] = {}
    locked: bool = False


class Shop(Struct):
    """Some of them."""

    bicycles: list[Bicycle]


SHOP = msgspec.json.Decoder(Shop)


def refused(body: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(SHOP, body)
    assert caught.value.__cause__ is not None
    return caught.value


def one(**fields: Any) -> bytes:
    return json.dumps({"bicycles": [{"name": "a"}, {"name": "b"} | fields]}).encode()


SHAPES: dict[str, tuple[bytes, str, str | None]] = {
    "not an object": (b"3", "body: got 3, wanted an object", None),
    "null": (b"null", "body: got null, wanted an object", None),
    "missing": (b"{}", "bicycles is missing", "bicycles"),
    "missing inside": (b'{"bicycles":[{"wheels":1}]}', "bicycles[0].name is missing", "bicycles[0].name"),
    "a text": (one(wheels="two"), "bicycles[1].wheels: got 'two', wanted a whole number", "bicycles[1].wheels"),
    "half a wheel": (one(wheels=1.5), "bicycles[1].wheels: got 1.5, wanted a whole number", "bicycles[1].wheels"),
    "true": (one(wheels=True), "bicycles[1].wheels: got true, wanted a whole number", "bicycles[1].wheels"),
    "a choice": (one(weight="9"), "bicycles[1].weight: got '9', wanted a number or null", "bicycles[1].weight"),
    "a list": (one(weight=[]), "bicycles[1].weight: got [], wanted a number or null", "bicycles[1].weight"),
    "truth": (one(locked=0), "bicycles[1].locked: got 0, wanted true or false", "bicycles[1].locked"),
    "another kind": (one(kind="race"), "bicycles[1].kind: got 'race', wanted 'cargo' or 'city'", "bicycles[1].kind"),
    "long text": (
        one(name="n" * 9),
        "bicycles[1].name: got 'nnnnnnnnn', wanted text of at most 8 characters",
        "bicycles[1].name",
    ),
    "long list": (
        one(riders=["a", "b", "c", "d"]),
        "bicycles[1].riders: got ['a', 'b', 'c', 'd'], wanted a list of at most 3 elements",
        "bicycles[1].riders",
    ),
    "long key": (
        one(parts={"bell": [], "n" * 9: []}),
        "bicycles[1].parts: got 'nnnnnnnnn', wanted text of at most 8 characters",
        "bicycles[1].parts",
    ),
    "a key": (
        one(parts={"bell": [1], "lamp": [1, "on"], "seat": ["x", "on"]}),
        "bicycles[1].parts.lamp[1]: got 'on', wanted a number",
        "bicycles[1].parts.lamp[1]",
    ),
    "two keys": (
        one(owner={"a": {"x": 1}, "b": {"y": 2, "z": "3"}}),
        "bicycles[1].owner.b.z: got '3', wanted a whole number",
        "bicycles[1].owner.b.z",
    ),
    "beyond 64 bits": (
        one(parts={"bell": [1e308], "lamp": [1.5, 0]}).replace(b"1.5", b"-1e309"),
        "bicycles[1].parts.lamp[0]: got -inf, wanted a number that 64 bits can hold",
        "bicycles[1].parts.lamp[0]",
    ),
    "a field twice": (
        one(wheels=3).replace(b'"wheels": 3', b'"wheels": "x", "wheels": 3'),
        "bicycles[1].wheels: got text, wanted a whole number",
        "bicycles[1].wheels",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shape(case: str) -> None:
    body, text, param = SHAPES[case]
    err = refused(body)
    assert (err.message, err.param, err.status) == (text, param, 400)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "body is empty, wanted JSON"),
        (b" \n", "body is empty, wanted JSON"),
        (b"name=a&x=1", "body: got '=a&x=1' at byte 4, wanted JSON: invalid character"),
        (b'{"bicycles": [', "body: the JSON ends too early, after 14 bytes"),
        (b'{"bicycles": []}{}', "body: got '{}' at byte 16, wanted JSON: trailing characters"),
        (b'{"bicycles": []', "body: the JSON ends too early, after 15 bytes"),
        (b"{'bicycles': []}", "body: got \"'bicycles': []}\" at byte 1, wanted JSON: object keys must be strings"),
        (
            one(parts={"a": [float("nan")]}),
            "body: got NaN at byte 59, wanted a number, or null where a value is missing",
        ),
        (
            one(weight=float("-inf")),
            "body: got Infinity at byte 54, wanted a number, or null where a value is missing",
        ),
        (
            b'{"bicycles": [{"name": "\xff"}]}',
            "body: wanted JSON in UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
    ],
)
def test_syntax(body: bytes, text: str) -> None:
    err = refused(body)
    assert (err.message, err.param) == (text, None)


def test_nested_too_deeply() -> None:
    err = refused(b'{"x":' + b"[" * 100_000)
    assert err.message == "body: it is nested too deeply, wanted the API's own shape"


def test_in_a_large_body_no_value_is_looked_up() -> None:
    """Half a million values as Python's objects would take a gigabyte."""
    body = one(parts={"bell": [0.5] * 100_000 + ["x"]})
    assert len(body) > faults.MAX_SEARCHED_BYTES
    err = refused(body)
    assert err.message == "bicycles[1].parts....[100000]: got text, wanted a number"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        ("a'b", '"a\'b"'),
        (b"x", "b'x'"),
        ([None, 1.5], "[None, 1.5]"),
        ("x" * 100, "'" + "x" * 56 + "..."),
        (10**100, "1" + "0" * 56 + "..."),
    ],
)
def test_short(value: object, text: str) -> None:
    assert faults.short(value) == text
    assert len(text) <= faults.MAX_SHOWN


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TYPES = [ForecastRequest, SeriesRequest, RowsRequest, InferRequest, ActualsRequest, Shop]
KEYS = [
    "inputs",
    "instances",
    "actuals",
    "bicycles",
    "options",
    "parameters",
    "series",
    "name",
    "past_covariates",
    "shape",
]
SHAPED = st.recursive(
    JUNK,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(TYPES), document=SHAPED, cut=st.none() | st.integers(0, 200))
def test_whatever_is_wrong_there_is_a_short_message(kind: type[Any], document: Any, cut: int | None) -> None:
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")[:cut]
    err = refusal(msgspec.json.Decoder(kind), body)
    assert err is None or len(err.message) < 400
    assert err is None or err.param is None or err.message.startswith(err.param)


def refusal(decoder: msgspec.json.Decoder[Any], body: bytes) -> RequestError | None:
    """What is wrong with a body, if anything is."""
    try:
        decode(decoder, body)
    except RequestError as err:
        return err
    return None
