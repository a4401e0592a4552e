"""Durations by name: what they mean, how they are written back, and what is refused."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import durations

UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@pytest.mark.parametrize("unit", UNITS)
@given(number=st.integers(1, 100_000))
def test_seconds_agree_with_timedelta(unit: str, number: int) -> None:
    assert durations.seconds(f"{number}{unit}") == dt.timedelta(**{UNITS[unit]: number}).total_seconds()


@pytest.mark.parametrize(
    ("text", "wanted"), [("h", 3_600), ("1H", 3_600), (" 15min ", 900), ("D", 86_400), ("2w", 1_209_600)]
)
def test_seconds_are_lenient_about_case_space_and_a_single_unit(text: str, wanted: int) -> None:
    assert durations.seconds(text) == wanted


@pytest.mark.parametrize(
    ("word", "wanted"), [("second", "s"), ("minute", "min"), ("T", "min"), ("hour", "h"), ("Day", "d"), ("WEEK", "w")]
)
def test_seconds_know_the_words_of_other_clients(word: str, wanted: str) -> None:
    assert durations.seconds(word) == durations.seconds(wanted)


@pytest.mark.parametrize("text", ["", "0h", "-1h", "1.5h", "1 h", "3months", "1y", "M", "hours", "7", "h1", "1h30min"])
def test_seconds_refuse_what_is_no_fixed_length(text: str) -> None:
    with pytest.raises(ValueError, match=r"^got .*, wanted a positive number and one of s, min, h, d, w") as caught:
        durations.seconds(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=8))
def test_seconds_give_a_positive_number_or_refuse(text: str) -> None:
    try:
        assert durations.seconds(text) > 0
    except ValueError as err:
        assert "wanted a positive number" in str(err)  # noqa: PT017 - most texts are refused, some are not


@given(st.integers(1, 10**9))
def test_name_means_what_it_names(length: int) -> None:
    assert durations.seconds(durations.name(length)) == length


@pytest.mark.parametrize(
    ("length", "wanted"), [(1, "1s"), (90, "90s"), (60, "1min"), (5_400, "90min"), (86_400, "1d"), (604_800, "7d")]
)
def test_name_takes_the_largest_unit_up_to_a_day(length: int, wanted: str) -> None:
    assert durations.name(length) == wanted


@given(st.integers(1, 1_000), st.sampled_from(["1s", "15min", "1h", "1d", "2d"]))
def test_steps_count_the_series_own_steps(number: int, frequency: str) -> None:
    assert durations.steps(durations.name(number * durations.seconds(frequency)), frequency) == number


@pytest.mark.parametrize(
    ("duration", "frequency", "suggested"), [("90min", "1h", "2h"), ("10min", "1h", "1h"), ("1w", "2d", "8d")]
)
def test_steps_refuse_a_part_of_a_step(duration: str, frequency: str, suggested: str) -> None:
    with pytest.raises(ValueError, match="wanted a multiple of the series' frequency") as caught:
        durations.steps(duration, frequency)
    assert str(caught.value) == (
        f"got {duration!r}, wanted a multiple of the series' frequency {frequency!r}, such as '{suggested}'"
    )
