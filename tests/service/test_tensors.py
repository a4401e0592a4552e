"""Tensors and their bytes: what is written is read back, and bytes that do not fit are refused."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from data.errors import RequestError
from service.protocols.tensors import BYTES, MAX_DIMENSIONS, NUMERIC, Tensor, checked_shape, from_raw

SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=MAX_DIMENSIONS).map(tuple)


@st.composite
def numeric(draw: st.DrawFn) -> tuple[str, NDArray[Any]]:
    datatype = draw(st.sampled_from(list(NUMERIC)))
    return datatype, draw(arrays.arrays(NUMERIC[datatype], draw(SHAPES)))


class TestRoundTrip:
    @given(drawn=numeric())
    def test_numbers_keep_their_bits(self, drawn: tuple[str, NDArray[Any]]) -> None:
        datatype, values = drawn
        raw = Tensor("x", datatype, values.shape, values).raw()
        assert len(raw) == values.size * NUMERIC[datatype].itemsize
        for data in (raw, memoryview(b"\0" + raw)[1:]):
            back = from_raw("x", datatype, values.shape, data)
            assert (back.name, back.datatype, back.shape) == ("x", datatype, values.shape)
            assert back.raw() == raw
            assert np.array_equal(back.numbers(), values.astype(np.float64), equal_nan=True)

    @given(texts=st.lists(st.text(max_size=20), max_size=6))
    def test_texts_come_back(self, texts: list[str]) -> None:
        tensor = Tensor("x", BYTES, (len(texts),), texts)
        assert from_raw("x", BYTES, tensor.shape, tensor.raw()).texts() == texts

    @given(values=arrays.arrays(np.float64, SHAPES))
    def test_numbers_are_written_in_the_datatype_that_is_said(self, values: NDArray[np.float64]) -> None:
        with np.errstate(over="ignore"):
            raw = Tensor("x", "FP32", values.shape, values).raw()
            assert raw == values.astype("<f4").tobytes()

    def test_bytes_are_little_endian(self) -> None:
        assert from_raw("x", "INT16", (2,), b"\x01\x00\x00\x01").numbers().tolist() == [1.0, 256.0]
        assert Tensor("x", "FP64", (1,), np.array([1.0], dtype=">f8")).raw() == b"\0\0\0\0\0\0\xf0\x3f"

    def test_truth_is_zero_or_one(self) -> None:
        """A client's byte may be anything."""
        assert from_raw("x", "BOOL", (4,), b"\x00\x01\x02\xff").numbers().tolist() == [0.0, 1.0, 1.0, 1.0]


class TestBytes:
    @settings(max_examples=200)
    @given(drawn=numeric(), change=st.integers(-40, 40).filter(bool))
    def test_too_many_or_too_few(self, drawn: tuple[str, NDArray[Any]], change: int) -> None:
        datatype, values = drawn
        raw = values.tobytes()
        wrong = raw[:change] if change < 0 else raw + b"\0" * change
        if len(wrong) == len(raw):
            return
        with pytest.raises(RequestError) as caught:
            from_raw("x", datatype, values.shape, wrong)
        text = f"'x': got {len(wrong)} bytes, wanted {len(raw)} for {datatype} of shape {list(values.shape)}"
        assert (caught.value.message, caught.value.param) == (text, "x")

    @given(texts=st.lists(st.text(max_size=9), min_size=1, max_size=5), cut=st.integers(1, 30))
    def test_texts_that_end_too_early(self, texts: list[str], cut: int) -> None:
        raw = Tensor("x", BYTES, (len(texts),), texts).raw()
        cut = min(cut, len(raw))
        with pytest.raises(RequestError) as caught:
            from_raw("x", BYTES, (len(texts),), raw[:-cut])
        assert caught.value.message.endswith(
            f"got {len(raw) - cut} bytes, wanted {len(texts)} elements, each its length in 4 bytes and its text"
        ) or caught.value.message.endswith(" is not UTF-8")

    @pytest.mark.parametrize(
        ("shape", "data", "text"),
        [
            ((1,), b"", "'x': got 0 bytes, wanted 1 elements, each its length in 4 bytes and its text"),
            ((0,), b"\0\0\0\0", "'x': got 4 bytes, wanted 0 elements, each its length in 4 bytes and its text"),
            ((2,), b"\0\0\0\0", "'x': got 4 bytes, wanted 2 elements, each its length in 4 bytes and its text"),
            ((1,), b"\0\0\0", "'x': got 3 bytes, wanted 1 elements, each its length in 4 bytes and its text"),
            (
                (1,),
                b"\xff\xff\xff\xffab",
                "'x': got 6 bytes, wanted 1 elements, each its length in 4 bytes and its text",
            ),
            ((1,), b"\1\0\0\0\xff", "'x': element 0 is not UTF-8"),
            ((2,), b"\0\0\0\0\2\0\0\0\xed\xa0", "'x': element 1 is not UTF-8"),
        ],
    )
    def test_that_are_no_texts(self, shape: tuple[int, ...], data: bytes, text: str) -> None:
        with pytest.raises(RequestError) as caught:
            from_raw("x", BYTES, shape, data)
        assert (caught.value.message, caught.value.param) == (text, "x")

    @given(data=st.binary(max_size=80), shape=SHAPES, datatype=st.sampled_from([*NUMERIC, BYTES]))
    def test_any_bytes(self, data: bytes, shape: tuple[int, ...], datatype: str) -> None:
        try:
            size = math.prod(from_raw("x", datatype, shape, data).shape)
        except RequestError:
            return
        assert size == math.prod(shape)

    def test_of_more_texts_than_wanted_are_not_all_read(self) -> None:
        """Four bytes of a body must not become an object of Python's each."""
        data = b"\0\0\0\0" * 500_000
        tracemalloc.start()
        try:
            with pytest.raises(RequestError):
                from_raw("x", BYTES, (3,), data)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 100_000


class TestShape:
    @pytest.mark.parametrize("shape", [[1], [0], [2, 3], [2, 3, 4], [1000], [0, 1000]])
    def test_that_may_be(self, shape: list[int]) -> None:
        assert checked_shape("x", "FP64", shape, most=1_000) == tuple(shape)

    @pytest.mark.parametrize(
        ("shape", "shown"),
        [
            ([], "[]"),
            ([1, 1, 1, 1], "[1, 1, 1, 1]"),
            ([-1], "[-1]"),
            ([-2, -3], "[-2, -3]"),
            ([1001], "[1001]"),
            ([0, 1001], "[0, 1001]"),
            ([0, 10**30], "[0, 1000000000000000000000000000000]"),
            ([2**40, 2**40], "[1099511627776, 1099511627776]"),
            ([2**63, 2**63, 2], "[9223372036854775808, 9223372036854775808, 2]"),
            ([1] * 100, "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,..."),
        ],
    )
    def test_that_may_not_be(self, shape: list[int], shown: str) -> None:
        with pytest.raises(RequestError) as caught:
            checked_shape("x", "FP64", shape, most=1_000)
        text = f"'x': shape: got {shown}, wanted 1 to 3 dimensions and at most 1000 elements"
        assert (caught.value.message, caught.value.param) == (text, "x")

    @pytest.mark.parametrize("datatype", ["", "fp64", "FP8", "STRING", "FP64 ", "BF16", "x" * 1_000])
    def test_datatype(self, datatype: str) -> None:
        with pytest.raises(RequestError) as caught:
            checked_shape("x", datatype, [1], most=1_000)
        assert caught.value.message.startswith("'x': datatype: got ")
        assert caught.value.message.endswith(
            "wanted one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES"
        )
        assert len(caught.value.message) < 240


class TestKinds:
    def test_text_is_no_number(self) -> None:
        with pytest.raises(RequestError, match=r"^'x': got datatype BYTES, wanted numbers \(FP64\)$"):
            Tensor("x", BYTES, (1,), ["1"]).numbers()

    def test_a_number_is_no_text(self) -> None:
        with pytest.raises(RequestError, match=r"^'x': got datatype INT8, wanted BYTES$"):
            Tensor("x", "INT8", (1,), np.zeros(1)).texts()

    def test_a_name_is_not_sent_back_whole(self) -> None:
        name = "n" * 100_000
        for fault in (
            lambda: Tensor(name, BYTES, (1,), ["1"]).numbers(),
            lambda: Tensor(name, "INT8", (1,), np.zeros(1)).texts(),
            lambda: from_raw(name, "INT8", (1,), b""),
            lambda: from_raw(name, BYTES, (1,), b""),
            lambda: from_raw(name, BYTES, (1,), b"\1\0\0\0\xff"),
            lambda: checked_shape(name, "INT8", [-1], most=1),
        ):
            with pytest.raises(RequestError) as caught:
                fault()
            assert len(caught.value.message) < 240
