"""Times as text: with and without a time of day, and an offset."""

from __future__ import annotations

import pyarrow as pa
import pytest

from service.batch import values

MAY = 1_714_521_600


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["2024-05-01", "2024-05-02"], [MAY, MAY + 86_400]),
        (["2024-05-01T13:00", "2024-05-01T14:00"], [MAY + 13 * 3_600, MAY + 14 * 3_600]),
        (["2024-05-01 13:00:05"], [MAY + 13 * 3_600 + 5]),
        (["2024-05-01T13:00-05:00", "2024-05-01T14:00-05:00"], [MAY + 13 * 3_600, MAY + 14 * 3_600]),
        (["2024-05-01T13:00Z"], [MAY + 13 * 3_600]),
        ([], []),
    ],
    ids=["days", "minutes", "a space", "an offset", "Z", "none"],
)
def test_times_as_text(texts: list[str], wanted: list[int]) -> None:
    assert values.seconds(pa.array(texts, pa.string()), "timestamp", "in").tolist() == wanted
