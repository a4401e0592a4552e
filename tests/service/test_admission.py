"""Who is let in, by what requests were seen to cost; all clocks are the tests' own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import (
    LARGE_BYTES,
    PATIENCE,
    SMALLEST_BYTES,
    STANDING,
    STRICT_SECONDS,
    THREADS,
    UNFINISHED,
    Admission,
    OverloadedError,
)

MAX_WAIT = 0.1
SIZE = 10_000
#: Seconds of the event loop for a request of that size.
COST = 0.001
LARGE = 10 * LARGE_BYTES


class Gate:
    """An admission and its clocks."""

    def __init__(self) -> None:
        self.now, self.spent = 100.0, 5.0
        self.admission = Admission(MAX_WAIT, 1_000, lambda: self.now, lambda: self.spent)

    def lets_in(self, size: int = SIZE) -> bool:
        try:
            self.admission.check(size)
        except OverloadedError:
            return False
        self.admission.add(size)
        return True

    def answer(self, count: int = 1, size: int = SIZE) -> None:
        """Answer some, each at its cost."""
        self.now += COST * count
        self.spent += COST * count
        for _ in range(count):
            self.admission.release(size)

    def fill(self, size: int = SIZE) -> int:
        """How many come in before one is refused."""
        count = 0
        while self.lets_in(size):
            count += 1
        return count


@pytest.fixture
def gate() -> Gate:
    """One that has learnt what a request costs."""
    gate = Gate()
    for _ in range(2_000):
        assert gate.lets_in()
        gate.answer()
    return gate


def test_a_burst_may_wait_for_the_longest_wait(gate: Gate) -> None:
    assert gate.fill() == pytest.approx(MAX_WAIT / COST, rel=0.1)


def test_says_how_much_waits(gate: Gate) -> None:
    gate.fill()
    with pytest.raises(OverloadedError, match=r"^\d+ ms of work are waiting, wanted at most 6 ms: ask again later$"):
        gate.admission.check(SIZE)
    error = OverloadedError("")
    assert (error.status, error.code, error.retry_after_seconds) == (503, "overloaded", 1)


def test_after_a_refusal_only_a_short_queue_stands(gate: Gate) -> None:
    """More comes than can be answered: those who are let in wait a part of what a burst waits."""
    gate.fill()
    longest = 0
    for _ in range(1_000):
        gate.answer()
        waiting = 0
        while gate.lets_in():
            waiting += 1
        longest = max(longest, waiting) if _ > MAX_WAIT / COST else 0
    left = gate.admission._loop.waiting_bytes / SIZE
    assert left == pytest.approx(STANDING * MAX_WAIT / COST, abs=2)
    assert longest <= 2


def test_bursts_are_taken_again_when_nothing_was_refused_for_a_while(gate: Gate) -> None:
    count = gate.fill()
    gate.answer(count)
    gate.now -= COST * count / 2
    assert gate.fill() < count / 2
    gate.answer(round(gate.admission._loop.waiting_bytes / SIZE))
    gate.now += 2 * STRICT_SECONDS
    assert gate.fill() == pytest.approx(count, rel=0.1)


def test_clients_that_wait_for_their_answers_are_never_refused(gate: Gate) -> None:
    """Eighty connections in closed loop keep 80 ms of work waiting, and all is answered in time."""
    for _ in range(80):
        assert gate.lets_in()
    for _ in range(5_000):
        gate.answer()
        assert gate.lets_in()


def test_unfinished_bodies_have_a_limit(gate: Gate) -> None:
    for _ in range(UNFINISHED):
        gate.admission.hold(1_000)
    with pytest.raises(
        OverloadedError, match=r"^0 bytes are left for large bodies that .*, wanted 1: ask again later$"
    ):
        gate.admission.hold(1)
    gate.admission.let_go(1_000)
    gate.admission.hold(1_000)


def test_one_alone_is_never_refused(gate: Gate) -> None:
    for size in (0, 1, SIZE, LARGE_BYTES, LARGE_BYTES + 1, 2**25):
        assert gate.lets_in(size)
        gate.admission.release(size)


def test_waits_in_proportion_to_its_own_work() -> None:
    """Large requests that take a second each: some may wait, as long as it is not for ever."""
    gate = Gate()
    for _ in range(100):
        gate.admission.worked(LARGE, 1.0)
    count = gate.fill(LARGE)
    assert count == pytest.approx(THREADS * (PATIENCE + 1), abs=2)


def test_large_ones_are_no_hindrance_to_small_ones(gate: Gate) -> None:
    gate.fill(LARGE)
    assert gate.fill() == pytest.approx(MAX_WAIT / COST, rel=0.1)


def test_learns_that_requests_became_cheaper(gate: Gate) -> None:
    before = gate.fill()
    gate.answer(before)
    gate.now += STRICT_SECONDS
    for _ in range(20_000):
        assert gate.lets_in()
        gate.spent += COST / 10
        gate.admission.release(SIZE)
    assert gate.fill() > 5 * before


def test_refusals_do_not_make_answers_look_dear(gate: Gate) -> None:
    """Else fewer were let in for every refusal, and in the end nobody."""
    gate.fill()
    for _ in range(3_000):
        gate.spent += 10 * COST * SMALLEST_BYTES / SIZE
        for _ in range(10):
            gate.lets_in()
        gate.answer()
    assert gate.admission._loop.cost * SIZE == pytest.approx(COST, rel=0.3)


def test_a_pause_teaches_little(gate: Gate) -> None:
    """What the loop did besides, while nobody asked, is no cost of requests."""
    before = gate.admission._loop.cost
    gate.spent += 1_000
    assert gate.lets_in()
    gate.answer()
    assert gate.lets_in()
    assert gate.admission._loop.cost < 2 * before


def test_what_takes_no_more_than_a_refusal_counts_as_one(gate: Gate) -> None:
    """Large bodies of strangers, answered 401 at once, would make a byte look cheap, and seconds of work be let in."""
    for _ in range(3_000):
        assert gate.lets_in(LARGE_BYTES)
        gate.spent += COST * SMALLEST_BYTES / SIZE
        gate.admission.release(LARGE_BYTES, answered=False)
    assert gate.admission._loop.cost * SIZE == pytest.approx(COST, rel=0.3)
    assert gate.fill() == pytest.approx(MAX_WAIT / COST, rel=0.3)


def test_what_fails_when_it_was_admitted_counts_as_a_refusal() -> None:
    gate = Gate()
    with pytest.raises(ZeroDivisionError), gate.admission.admitted(LARGE_BYTES):
        raise ZeroDivisionError
    assert gate.admission._done_bytes == SMALLEST_BYTES
    with gate.admission.admitted(LARGE_BYTES):
        pass
    assert gate.admission._done_bytes == SMALLEST_BYTES + LARGE_BYTES
    assert gate.admission._loop.waiting_bytes == 0


def test_what_the_loop_does_aside_teaches_nothing(gate: Gate) -> None:
    before = gate.admission._loop.cost
    for _ in range(100):
        assert gate.lets_in()
        with gate.admission.unlearnt():
            gate.spent += 100 * COST
        gate.answer()
    assert gate.admission._loop.cost == pytest.approx(before, rel=0.01)


@given(st.lists(st.tuples(st.integers(0, 2**26), st.booleans()), max_size=60))
def test_what_was_answered_leaves_nothing_behind(requests: list[tuple[int, bool]]) -> None:
    gate = Gate()
    inside = []
    for size, leaves in requests:
        if gate.lets_in(size):
            inside.append(size)
        if leaves and inside:
            gate.admission.release(inside.pop())
    for size in inside:
        gate.admission.release(size)
    assert (gate.admission._loop.waiting_bytes, gate.admission._threads.waiting_bytes) == (0, 0)
