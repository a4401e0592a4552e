from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import asks
from loadtests.asks import DECK, HORIZONS, PANELS, AnswerError, Wanted

TOLD = {
    "name": "bentocast",
    "frequency": "1h",
    "horizon": 24,
    "context_length": 100,
    "past_covariates": ["rain"],
    "future_covariates": ["rain", "wind"],
    "bento": "bentocast:1",
    "grpc_port": 3001,
}
EXAMPLE = {
    "inputs": [
        {
            "name": "s01",
            "series": [float(value) for value in range(1, 121)],
            "frequency": "1h",
            "start_timestamp": "2024-01-01T00:00:00",
            "past_covariates": {"rain": [0.0] * 120},
            "future_covariates": {"rain": [0.0] * 24, "wind": [1.0] * 24},
        }
    ]
}


def test_wanted_is_what_the_service_tells() -> None:
    wanted = Wanted.of(TOLD)
    assert (wanted.horizon, wanted.context, wanted.past, wanted.future) == (24, 100, ("rain",), ("rain", "wind"))
    assert Wanted.of({key: value for key, value in TOLD.items() if key != "grpc_port"}).grpc_port is None


@pytest.mark.parametrize("examples", [[], [EXAMPLE]])
def test_a_deck_has_the_mix_and_what_the_model_wants(examples: list[asks.Ask]) -> None:
    deck = asks.deck(Wanted.of(TOLD), examples, 0)
    assert len(deck) == DECK
    assert Counter(len(ask["inputs"]) for ask in deck) == PANELS
    assert {ask["options"]["horizon"] for ask in deck} == {max(1, round(share * 24)) for share in HORIZONS}
    for ask in deck:
        for one in ask["inputs"]:
            assert len(one["series"]) >= 100
            assert one["series"][0] is not None
            assert set(one["past_covariates"]) == {"rain"}
            assert all(len(values) == len(one["series"]) for values in one["past_covariates"].values())
            assert all(len(values) == ask["options"]["horizon"] for values in one["future_covariates"].values())


def test_models_that_want_other_requests() -> None:
    other = Wanted.of(TOLD | {"horizon": 12, "past_covariates": []})
    assert asks.differences(Wanted.of(TOLD), Wanted.of(TOLD | {"bento": "bentocast:2"})) == []
    assert asks.differences(Wanted.of(TOLD), other) == ["horizon 24 and 12", "past ('rain',) and ()"]


def test_a_deck_is_the_same_for_the_same_seed() -> None:
    wanted = Wanted.of(TOLD)
    assert asks.deck(wanted, [EXAMPLE], 5) == asks.deck(wanted, [EXAMPLE], 5)
    assert asks.deck(wanted, [EXAMPLE], 5) != asks.deck(wanted, [EXAMPLE], 6)
    assert EXAMPLE["inputs"][0]["name"] == "s01", "examples are left as they are"


def test_some_values_are_missing() -> None:
    deck = asks.deck(Wanted.of(TOLD), [EXAMPLE], 1)
    values = [value for ask in deck for one in ask["inputs"] for value in one["series"]]
    assert 0.001 < values.count(None) / len(values) < 0.05


def _ask(series: int, steps: int) -> asks.Ask:
    return {"inputs": [{}] * series, "options": {"horizon": steps, "quantiles": [0.1, 0.5, 0.9]}}


@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 10_000))
def test_a_right_answer_is_let_through_and_any_damage_is_not(series: int, steps: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    lines = draw.normal(size=(series, 4, steps))
    lines[:, 1:] = np.sort(lines[:, 1:], axis=1)
    asks.check(lines, _ask(series, steps))
    broken = lines.copy()
    broken[draw.integers(series), draw.integers(4), draw.integers(steps)] = draw.choice([np.nan, np.inf])
    with pytest.raises(AnswerError, match="got a forecast that is not finite, wanted numbers"):
        asks.check(broken, _ask(series, steps))
    crossed = lines.copy()
    place, step = draw.integers(series), draw.integers(steps)
    crossed[place, 1, step] = crossed[place, 2, step] + 1e-9 + abs(crossed[place, 2, step])
    with pytest.raises(AnswerError, match="got quantiles that cross, wanted each at or above the one before"):
        asks.check(crossed, _ask(series, steps))


@pytest.mark.parametrize("shape", [(1, 4, 24), (2, 3, 24), (2, 4, 23)])
def test_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(AnswerError, match=r"got forecasts of shape \(.*\), wanted \(2, 4, 24\) \(series, mean and"):
        asks.check(np.zeros(shape), _ask(2, 24))
