"""The newest actual values, in both kinds of database."""

from __future__ import annotations

import asyncio

import numpy as np

from service.record.newest import Newest, newest
from tests.service.record.kept import ORIGIN, entry, hours, opened

NOW = int(ORIGIN.astype(np.int64)) + 3 * 3_600


def test_each_series_that_was_forecast_has_its_own(url: str) -> None:
    recorder = opened(url)
    for name, created in (("a", 60.0), ("a", 70.0), ("b", 60.0), ("never measured", 60.0), ("long ago", 40.0)):
        recorder.put(entry(series=name, created_at=created))
    came = {"a": [1.0] * 4, "b": [1.0, np.nan, np.nan], "long ago": [1.0], "stranger": [1.0] * 3}
    for name, values in came.items():
        asyncio.run(recorder.put_actuals([name] * len(values), hours(len(values)), np.array(values)))
    recorder.close()
    assert newest(url, 50.0, NOW) == Newest(
        at=NOW, by_series={"a": NOW, "b": NOW - 2 * 3_600}, asked=3, later=1, later_series=("a",)
    )
    assert newest(url, 80.0, NOW + 3_600) == Newest(NOW + 3_600, {}, 0, 0, ())
