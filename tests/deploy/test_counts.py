"""What is counted in a rollout, what cannot have been, and the edges at which latencies are compared."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.judging.counts import Pairs, Phase, Split, at_least, at_most, check, check_pairs, edges
from tests.deploy.counted import EDGES, GRID, over, phase

ONE = phase(1_000, 0.1)


def beside(one: Phase, slower: float = 1.0) -> Phase:
    """The same, where a baseline has as many requests as the canary, which takes so many times as long as that."""
    many = one.requests.canary
    own, other = over(many, slower), over(many)
    return replace(one, over={edge: Split(own[edge], other[edge]) for edge in GRID}, timed=Split(many, many))


def test_edges_are_those_nearest_to_the_stable_versions_quantiles() -> None:
    shares = [over(100_000)[edge] / 100_000 for edge in edges(over(100_000), 100_000)]
    assert shares == pytest.approx([0.5, 0.25, 0.1, 0.05, 0.01], rel=0.2)


def test_edges_that_coincide_are_one() -> None:
    assert len(edges(over(20), 20)) < 5
    assert edges({1.0: 10, 1.1: 0, 1.21: 0, 1.331: 0}, 10) == (1.0,)


def test_no_edges_where_no_request_is_over_any() -> None:
    assert edges({}, 0) == edges(dict.fromkeys(GRID, 0), 0) == edges(dict.fromkeys(GRID, 0), 50) == ()


def test_edges_leave_room_for_a_slower_canary() -> None:
    slow = dict.fromkeys(GRID, 30)
    assert edges(slow, 30) == edges(slow, 30, room=3)
    assert max(edges({edge: 30 - at // 3 for at, edge in enumerate(GRID)}, 30, room=9)) <= GRID[-10]
    assert edges(slow, 30, room=len(GRID)) == edges(slow, 30, room=len(GRID) + 5) == ()


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=20), st.integers(0, 5))
def test_edges_come_from_the_grid_in_order(counted: list[int], room: int) -> None:
    stable = dict(zip(GRID, sorted(counted, reverse=True), strict=False))
    chosen = edges(stable, 1_000, room)
    assert list(chosen) == sorted(set(chosen))
    assert all(stable[edge] > 0 and edge in list(stable)[: max(0, len(stable) - room)] for edge in chosen)


@given(st.permutations(list(range(8))))
def test_edges_do_not_mind_the_order_of_the_grid(order: list[int]) -> None:
    stable = over(500)
    some = [edge for edge in GRID if 0.008 < edge < 0.018]
    shuffled = {some[at]: stable[some[at]] for at in order if at < len(some)}
    assert edges(shuffled, 500) == edges(dict(sorted(shuffled.items())), 500)


def test_possible_counts_are_fine() -> None:
    check([], EDGES)
    check([ONE, replace(ONE, over={}), phase(0, 0.5)], EDGES)
    check([beside(ONE)], EDGES)
    check_pairs("answers", Pairs(0, 0))


def changed(what: str, canary: Any = None, stable: Any = None) -> Phase:
    split: Split = getattr(ONE, what)
    changes: Any = {what: Split(split.canary if canary is None else canary, stable or split.stable)}
    return replace(ONE, **changes)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (replace(ONE, weight=0.0), "phase 2: got a weight of 0, wanted one above 0 and below 1"),
        (replace(ONE, weight=1.0), "phase 2: got a weight of 1, wanted one above 0 and below 1"),
        (replace(ONE, weight=math.nan), "phase 2: got a weight of nan, wanted one above 0 and below 1"),
        (changed("requests", -1), "phase 2: got -1 requests of the canary, wanted a whole number, 0 or more"),
        (changed("requests", math.nan), "phase 2: got nan requests of the canary, wanted a whole number, 0 or more"),
        (changed("requests", math.inf), "phase 2: got inf requests of the canary, wanted a whole number, 0 or more"),
        (changed("requests", 100.5), "phase 2: got 100.5 requests of the canary, wanted a whole number, 0 or more"),
        (
            replace(ONE, timed=Split(100, 901)),
            "phase 2: got 901 timed requests of the stable version, wanted a whole number, 0 to 900",
        ),
        (
            replace(ONE, timed=Split(100, 100)),
            "phase 2: got 900 requests over 0.000573086 s of the stable version, wanted a whole number, 0 to 100",
        ),
        (changed("errors", -1), "phase 2: got -1 errors of the canary, wanted a whole number, 0 to 100"),
        (changed("errors", 101), "phase 2: got 101 errors of the canary, wanted a whole number, 0 to 100"),
        (changed("errors", math.nan), "phase 2: got nan errors of the canary, wanted a whole number, 0 to 100"),
        (
            changed("errors", None, 901),
            "phase 2: got 901 errors of the stable version, wanted a whole number, 0 to 900",
        ),
        (
            replace(ONE, over=dict(ONE.over) | {GRID[0]: Split(101, 900)}),
            "phase 2: got 101 requests over 0.000573086 s of the canary, wanted a whole number, 0 to 100",
        ),
        (
            replace(ONE, over=dict(ONE.over) | {GRID[-1]: Split(0, 9)}),
            "phase 2: got 9 requests over 0.452593 s of the stable version, wanted a whole number, 0 to 0",
        ),
        (
            replace(ONE, over={-0.1: Split(0, 0), 0.2: Split(0, 0)}),
            "phase 2: got an edge of -0.1 s, wanted one above 0",
        ),
        (
            replace(ONE, over={0.1: Split(0, 0), math.inf: Split(0, 0)}),
            "phase 2: got an edge of inf s, wanted one above 0",
        ),
        (
            replace(ONE, over={edge: ONE.over[edge] for edge in GRID[:20]}),
            "phase 2: has no edge of 0.01 s, wanted all that were chosen",
        ),
    ],
)
def test_impossible_counts_are_refused(one: Phase, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check([ONE, one], EDGES)


@pytest.mark.parametrize("count", [-1, math.nan, math.inf, 0.5])
def test_impossible_pairs_are_refused(count: Any) -> None:
    for pairs, what in ((Pairs(count, 1), "worse"), (Pairs(1, count), "other")):
        with pytest.raises(ValueError, match=f"answers: got {count} {what} pairs, wanted a whole number, 0 or more"):
            check_pairs("answers", pairs)


def test_edges_may_be_rounded_a_little() -> None:
    rounded = [float(f"{edge:.3g}") for edge in GRID]
    assert any(high / low != 1.1 for low, high in itertools.pairwise(rounded))
    for place, edge in enumerate(rounded[:-3]):
        for steps in range(4):
            assert at_least(rounded, edge * 1.1**steps) == rounded[place + steps]
            assert at_most(rounded, edge * 1.1**steps) == rounded[place + steps]


def test_edges_of_any_grid_leave_room_too() -> None:
    coarse = {0.01: 500, 0.025: 250, 0.05: 100, 0.1: 10, 0.12: 5}
    assert edges(coarse, 1_000) == (0.01, 0.025, 0.05)  # 0.1 has nothing 1.33 times as far
    assert edges(coarse, 1_000, room=1) == (0.01, 0.025, 0.05, 0.1)
    assert at_least(coarse, 0.3) is None
    assert at_most(coarse, 0.003) is None


@pytest.mark.parametrize(
    ("stable", "requests", "text"),
    [
        (
            {1.0: 5},
            4,
            "before the canary: got 5 requests over 1 s of the stable version, wanted a whole number, 0 to 4",
        ),
        ({1.0: math.nan}, 4, "before the canary: got nan requests over 1 s of the stable version"),
        ({0.0: 5, 1.5: 3}, 9, "before the canary: got an edge of 0 s, wanted one above 0"),
    ],
)
def test_impossible_counts_give_no_edges(stable: Any, requests: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        edges(stable, requests)


def test_of_edges_with_the_same_counts_the_lowest_is_chosen() -> None:
    counted = {0.01: 50, 0.011: 50, 0.0121: 50, 0.02: 50, 0.03: 0, 0.04: 0, 0.05: 0}
    assert edges(counted, 100) == edges(dict(reversed(counted.items())), 100) == (0.01,)
