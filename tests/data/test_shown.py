"""Many names, as people are shown them."""

from __future__ import annotations

from data.shown import SOME, some


def test_all_of_a_few_and_a_few_of_many() -> None:
    assert some([]) == ""
    assert some(range(1, 1 + SOME)) == "1, 2, 3, 4, 5"
    assert some([f"s{number}" for number in range(1, 100)]) == "s1, s2, s3, s4, s5, ..."
