from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.shapes import plans

Plan = Callable[[float, int, float], int | None]
ALL: list[Plan] = [plans.steps, plans.spike, plans.soak]


def test_steps() -> None:
    assert [plans.steps(second, 100, 50) for second in (0, 9.9, 10, 25, 49.9, 50)] == [20, 20, 40, 60, 100, None]


def test_spike() -> None:
    assert [plans.spike(second, 200, 100) for second in (0, 39, 40, 59, 60, 99, 100)] == [
        20,
        20,
        200,
        200,
        20,
        20,
        None,
    ]


def test_soak() -> None:
    assert [plans.soak(second, 100, 1_000) for second in (0, 10, 20, 999, 1_000)] == [1, 50, 100, 100, None]


@pytest.mark.parametrize("plan", ALL)
@given(second=st.floats(0, 1e6), peak=st.integers(1, 10_000), duration=st.floats(0.1, 1e6))
def test_never_beyond_the_peak_and_over_at_the_end(plan: Plan, second: float, peak: int, duration: float) -> None:
    users = plan(second, peak, duration)
    if second >= duration:
        assert users is None
    else:
        assert users is not None
        assert 1 <= users <= peak
