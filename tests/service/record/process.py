"""A process of its own that keeps a record, for tests that kill it, crowd it, or take its disk away."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
from collections.abc import Callable

import numpy as np

from service.record import Recorder, RecordUnavailableError
from tests.service.record.kept import entry, hours, opened, wait_until


def say(what: object) -> None:
    """Tell the test, at once."""
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def acknowledge(recorder: Recorder) -> None:
    """Bring values for ever, and name each one as soon as it is acknowledged."""

    async def bring() -> None:
        for number in range(1_000_000):
            recorder.put(entry(series=f"{start}-{number}"))
            await recorder.put_actuals([start], hours(1, number), np.array([float(number)]))
            say(number)

    start = sys.argv[3]
    asyncio.run(bring())


def crowd(recorder: Recorder) -> None:
    """Write many forecasts and actual values as soon as the word is given."""

    async def bring() -> None:
        for number in range(40):
            recorder.put_many([entry(series=start)] * 25)
            await recorder.put_actuals([start, "shared"], hours(2, number), np.array([float(number), 1.0]))

    start = sys.argv[3]
    say("ready")
    sys.stdin.readline()
    asyncio.run(bring())


def fill(recorder: Recorder) -> None:
    """Write until the files may not grow any more, then let them grow again."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    acknowledged, refused = 0, ""
    while not refused:
        recorder.put_many([entry(mean=np.ones(200), quantiles={})] * 20)
        try:
            asyncio.run(recorder.put_actuals(["a"], hours(1, acknowledged), np.array([1.0])))
        except RecordUnavailableError as err:
            refused = err.message
        else:
            acknowledged += 1
    recorder.put_many([entry()] * 20)
    full = recorder.stats()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: recorder.stats().healthy)
    asyncio.run(recorder.put_actuals(["b"], hours(1), np.array([1.0])))
    seen = {"acknowledged": acknowledged, "refused": refused, "healthy": full.healthy, "queued": full.queued}
    say(seen)


TASKS: dict[str, Callable[[Recorder], None]] = {
    "acknowledge": acknowledge,
    "crowd": crowd,
    "fill": fill,
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    keeper = opened(sys.argv[2], acknowledge_seconds=3 if sys.argv[1] == "fill" else 60)
    TASKS[sys.argv[1]](keeper)
    keeper.close(60)
    say({"written": keeper.stats().written, "dropped": keeper.stats().dropped})
