from __future__ import annotations

import math

import pytest

from loadtests.serving.ratios import Ratio, percentile, ratio


def test_a_slow_round_cancels() -> None:
    assert ratio([100, 10, 120], [50, 5, 60]) == Ratio(2, 2, 2)


def test_median_smallest_and_largest() -> None:
    assert ratio([3, 1, 2], [1, 1, 1]) == Ratio(2, 1, 3)


def test_a_peer_that_answers_nothing() -> None:
    assert ratio([3], [0]).median == math.inf


@pytest.mark.parametrize(("ours", "others"), [([1.0], [1.0, 2.0]), ([], [])])
def test_rounds_must_match(ours: list[float], others: list[float]) -> None:
    with pytest.raises(ValueError, match=f"got {len(ours)} and {len(others)} rounds, wanted the same number"):
        ratio(ours, others)


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile_is_the_nearest_rank(share: float, wanted: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == wanted


def test_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.99))
