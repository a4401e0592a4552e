"""Why an instance that is not ready will not get so."""

from __future__ import annotations

import pytest

from deploy.journal import Process
from deploy.router.routing import Endpoint
from deploy.running import processes
from deploy.running.instances import READY_SECONDS, Instance, _Waiting


@pytest.fixture
def waiting() -> _Waiting:
    return _Waiting(Instance("v-1", "v", "b:v", Endpoint(1, 2)))


def process(*, wanted: bool = True, fault: str = "") -> Process:
    return Process("v-1", {}, wanted, 77, 1.0, (1.0,), fault)


def test_one_that_takes_too_long(waiting: _Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "below", lambda _: {1, 2})
    assert waiting.fault(process(), READY_SECONDS) == ""
    assert waiting.fault(process(), READY_SECONDS + 1) == "was not ready after 120 s"


def test_one_whose_worker_could_not_start_twice(waiting: _Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process that ends may be a helper."""
    there = iter([{1, 2}, {1, 3}, {1, 3}, {1}])
    monkeypatch.setattr(processes, "below", lambda _: next(there))
    assert [waiting.fault(process(), 1.0) for _ in range(4)] == [
        "", "", "", "starts processes that end again (2 by now)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "was taken away while it started"),
        (process(wanted=False), "was taken away while it started"),
        (process(fault="ended 5 times within 60 s"), "does not stay up: it ended 5 times within 60 s"),
    ],
)
def test_one_that_nobody_starts(waiting: _Waiting, found: Process | None, why: str) -> None:
    assert waiting.fault(found, 1.0) == why
