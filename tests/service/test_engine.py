"""Batches made by what waits, refusals by what is too much, and large work that holds up nobody."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import THREADS
from service.engine import MAX_BATCH_ROWS, DeadlineError, Engine

#: Seconds a row takes in these tests, once the engine has seen it.
ROW_SECONDS = 1e-3
#: A time that does not come.
NEVER = 1e9


@dataclass(frozen=True)
class Work:
    """A piece of work with a name."""

    name: int
    rows: int = 1


@dataclass
class Model:
    """Answers work with its name, takes time by a clock of its own, and remembers the batches."""

    now: float = 0.0
    row_seconds: float = ROW_SECONDS
    #: Work that the model cannot do.
    faulty: set[int] = field(default_factory=set)
    batches: list[list[int]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def run(self, batch: Sequence[Work]) -> list[str]:
        self.batches.append([work.name for work in batch])
        self.now += self.row_seconds * sum(work.rows for work in batch)
        if self.faulty & set(self.batches[-1]):
            raise ZeroDivisionError("odd")
        return [f"answer {work.name}" for work in batch]


def running(talk: Callable[[Engine[Work, str], Model], Coroutine[Any, Any, None]]) -> None:
    """Let an engine work, in a loop of its own."""

    async def main() -> None:
        model = Model()
        engine = Engine(model.run, clock=model.clock)
        try:
            await talk(engine, model)
        finally:
            engine.close()

    asyncio.run(main())


async def learn(engine: Engine[Work, str], model: Model) -> None:
    """Show the engine what a row costs."""
    for _ in range(100):
        await engine.submit(Work(0, rows=10), NEVER)
    model.batches.clear()


class TestBatches:
    def test_what_waits_together_is_answered_together_in_order(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            futures = [engine.submit(Work(name), NEVER) for name in range(7)]
            assert not model.batches  # nothing is done within the call
            assert await asyncio.gather(*futures) == [f"answer {name}" for name in range(7)]
            assert model.batches == [list(range(7))]

        running(talk)

    def test_nobody_waits_for_others_to_come(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            for name in range(3):
                await engine.submit(Work(name), NEVER)
            assert model.batches == [[0], [1], [2]]

        running(talk)

    def test_requests_of_many_tasks_meet_in_one_batch(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            async def ask(name: int) -> str:
                return await engine.submit(Work(name), NEVER)

            assert await asyncio.gather(*(ask(name) for name in range(20))) == [f"answer {n}" for n in range(20)]
            assert model.batches == [list(range(20))]

        running(talk)

    def test_the_loop_looks_around_between_two_batches(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            futures = [engine.submit(Work(name, rows=MAX_BATCH_ROWS), NEVER) for name in range(3)]
            seen: list[int] = []

            def look() -> None:
                seen.append(len(model.batches))
                if len(seen) < 8:
                    asyncio.get_running_loop().call_soon(look)

            look()
            await asyncio.gather(*futures)
            assert model.batches == [[0], [1], [2]]
            assert {0, 1, 2} <= set(seen)

        running(talk)

    @given(sizes=st.lists(st.integers(0, MAX_BATCH_ROWS + 500), min_size=1, max_size=12))
    def test_batches_are_as_large_as_one_may_be_and_no_larger(self, sizes: list[int]) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            model.row_seconds = 0.0
            futures = [engine.submit(Work(name, rows), NEVER) for name, rows in enumerate(sizes)]
            assert await asyncio.gather(*futures) == [f"answer {name}" for name in range(len(sizes))]
            assert list(itertools.chain(*model.batches)) == list(range(len(sizes)))
            for batch, after in itertools.pairwise([*model.batches, None]):
                assert batch is not None
                rows = sum(sizes[name] for name in batch)
                assert rows <= MAX_BATCH_ROWS or len(batch) == 1
                assert after is None or rows + sizes[after[0]] > MAX_BATCH_ROWS

        async def generous(engine: Engine[Work, str], model: Model) -> None:
            await talk(Engine(model.run, clock=model.clock), model)

        running(generous)

    def test_one_who_has_left_is_passed_over(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            futures = [engine.submit(Work(name, rows=5), NEVER) for name in range(4)]
            futures[0].cancel()
            futures[2].cancel()
            assert list(await asyncio.gather(futures[1], futures[3])) == ["answer 1", "answer 3"]
            assert model.batches == [[1, 3]]

        running(talk)

    def test_nobody_left_is_no_batch(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            engine.submit(Work(0), NEVER).cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert model.batches == []
            assert await engine.submit(Work(1), NEVER) == "answer 1"

        running(talk)

    def test_a_task_that_is_cancelled_takes_its_work_along(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            async def ask() -> str:
                return await engine.submit(Work(0), NEVER)

            task = asyncio.create_task(ask())
            asyncio.get_running_loop().call_soon(task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await engine.submit(Work(1), NEVER) == "answer 1"
            assert model.batches == [[1]]

        running(talk)


class TestFaults:
    def test_reach_whose_they_are_and_nobody_beside_or_after(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            model.faulty = {1}
            futures = [engine.submit(Work(name), NEVER) for name in range(3)]
            got = await asyncio.gather(*futures, return_exceptions=True)
            assert [str(told) for told in got] == ["answer 0", "odd", "answer 2"]
            assert model.batches == [[0, 1, 2], [0], [1], [2]]
            assert await engine.submit(Work(3), NEVER) == "answer 3"

        running(talk)

    def test_of_one_batch_leave_the_next_alone(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            model.faulty = {0}
            first = engine.submit(Work(0, rows=MAX_BATCH_ROWS), NEVER)
            second = engine.submit(Work(1), NEVER)
            with pytest.raises(ZeroDivisionError):
                await first
            assert await second == "answer 1"

        running(talk)


class TestDeadline:
    def test_has_passed_while_it_waited(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            late, just, early = (engine.submit(Work(name), deadline) for name, deadline in enumerate((4.9, 5.0, 6.0)))
            model.now = 5.0
            with pytest.raises(DeadlineError) as caught:
                await late
            assert caught.value.message == "the request waited too long: ask for less, or allow more time"
            assert (caught.value.status, caught.value.code) == (504, "deadline_exceeded")
            assert list(await asyncio.gather(just, early)) == ["answer 1", "answer 2"]
            assert model.batches == [[1, 2]]

        running(talk)

    def test_passes_while_the_batch_before_is_worked_on(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            first = engine.submit(Work(0, rows=MAX_BATCH_ROWS), NEVER)
            second = engine.submit(Work(1), MAX_BATCH_ROWS * ROW_SECONDS / 2)
            assert await first == "answer 0"
            with pytest.raises(DeadlineError):
                await second
            assert model.batches == [[0]]

        running(talk)


class TestThreads:
    """Large work, away from the loop."""

    def test_leaves_the_loop_to_others(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            here, free = threading.get_ident(), threading.Event()

            def task() -> tuple[bool, str]:
                assert free.wait(30)
                return threading.get_ident() == here, threading.current_thread().name

            large = asyncio.create_task(engine.in_thread(task, 10**6, NEVER))
            await asyncio.sleep(0)
            assert await engine.submit(Work(1), NEVER) == "answer 1"
            assert not large.done()
            free.set()
            same, name = await large
            assert not same
            assert name.startswith("forecast")

        running(talk)

    def test_is_done_by_so_many_at_a_time(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            busy, most, lock, full = [0], [0], threading.Lock(), threading.Barrier(THREADS)

            def task() -> None:
                with lock:
                    busy[0] += 1
                    most[0] = max(most[0], busy[0])
                full.wait(30)
                with lock:
                    busy[0] -= 1

            await asyncio.gather(*(engine.in_thread(task, 10, NEVER) for _ in range(THREADS * 5)))
            assert most[0] == THREADS

        running(talk)

    def test_that_finds_no_thread_in_time_is_not_begun(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            free, began = threading.Event(), []
            busy = [asyncio.create_task(engine.in_thread(lambda: free.wait(30), 10, NEVER)) for _ in range(THREADS)]
            await asyncio.sleep(0)
            late = asyncio.create_task(engine.in_thread(lambda: began.append(1), 10, 5.0))
            await asyncio.sleep(0)
            model.now = 5.1
            free.set()
            with pytest.raises(DeadlineError) as caught:
                await late
            assert caught.value.message == "no thread was free in time: ask for less, or allow more time"
            assert await asyncio.gather(*busy) == [True] * THREADS
            assert not began

        running(talk)

    def test_its_faults_reach_who_asked(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            def task() -> None:
                raise ZeroDivisionError("odd")

            for _ in range(100):
                with pytest.raises(ZeroDivisionError, match="odd"):
                    await engine.in_thread(task, 2**20, NEVER)

        running(talk)

    def test_of_one_who_has_left_costs_no_room(self) -> None:
        async def talk(engine: Engine[Work, str], model: Model) -> None:
            free = threading.Event()
            for _ in range(100):
                task = asyncio.create_task(engine.in_thread(lambda: free.wait(30), 2**20, NEVER))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            free.set()
            assert await engine.in_thread(lambda: 7, 2**20, NEVER) == 7

        running(talk)
