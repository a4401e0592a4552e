"""Waiting for companions: learnt from what it brings."""

from __future__ import annotations

from collections.abc import Callable

from service.linger import EXPLORE, LINGER_SECONDS, Linger

PASS = 0.0004


def waits(passes: int, batch: Callable[[bool], int], pause: float) -> list[bool]:
    """Whether each pass was put off.

    Args:
        passes: how many.
        batch: requests that a pass answers, if it was put off and if not.
        pause: between a pass and the next request.
    """
    linger, now, made = Linger(), 0.0, []
    for _ in range(passes):
        now += pause
        wait = linger.seconds(now)
        made.append(wait > 0)
        began = now + wait
        count = batch(wait > 0)
        now = began + PASS * (0.7 + 0.3 * count)
        linger.passed(count, began, now)
    return made


def test_waits_where_many_share_a_pass() -> None:
    made = waits(1_000, lambda put_off: 16 if put_off else 1, 0.0001)
    assert sum(made[500:]) > 0.9 * 500


def test_does_not_wait_for_those_who_are_not_there() -> None:
    """A client alone is delayed by no more than the tries."""
    made = waits(1_000, lambda _: 1, 0.0001)
    assert sum(made) <= 1_000 / EXPLORE


def test_does_not_wait_where_it_is_quiet() -> None:
    assert not any(waits(1_000, lambda put_off: 16 if put_off else 1, 0.1))


def test_stops_when_it_no_longer_helps() -> None:
    linger, now, made = Linger(), 0.0, []
    for turn in range(3_000):
        now += 0.0001
        wait = linger.seconds(now)
        made.append(wait > 0)
        count = 16 if wait and turn < 1_000 else 1
        began, now = now + wait, now + wait + PASS
        linger.passed(count, began, now)
    assert sum(made[500:1_000]) > 400
    assert sum(made[2_000:]) <= 2 * 1_000 / EXPLORE


def test_waits_less_than_people_notice() -> None:
    assert LINGER_SECONDS <= 0.005
