"""The population stability index, against a loop over the bins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.drift import MIXED, psi

COUNTS = st.lists(st.integers(0, 1_000), min_size=3, max_size=3).filter(any)
SHARES = st.lists(st.integers(1, 100), min_size=3, max_size=3).map(lambda parts: np.array(parts) / sum(parts))


@given(COUNTS, SHARES)
def test_psi_is_what_a_loop_finds(counts: list[int], shares: np.ndarray) -> None:
    wanted = 0.0
    for count, reference in zip(counts, shares.tolist(), strict=True):
        share = (1 - MIXED) * count / sum(counts) + MIXED * reference
        wanted += (share - reference) * math.log(share / reference)
    assert float(psi(np.array(counts, float), shares)) == pytest.approx(wanted, abs=1e-12)


@given(COUNTS, SHARES, st.integers(1, 1_000))
def test_psi_is_of_shares_however_many_values_there_are(counts: list[int], shares: np.ndarray, times: int) -> None:
    few, many = psi(np.array([counts, [times * count for count in counts]], float), shares)
    assert few == pytest.approx(many, abs=1e-9)
    assert few >= 0


def test_same_shares_have_none_and_an_empty_bin_has_a_bound() -> None:
    assert psi(np.array([10.0, 30.0]), np.array([0.25, 0.75])) == pytest.approx(0)
    assert psi(np.array([1e9, 0.0]), np.array([0.5, 0.5])) < 3


def test_nothing_counted_is_not_a_number() -> None:
    assert np.isnan(psi(np.zeros(2), np.array([0.5, 0.5])))
