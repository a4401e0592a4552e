"""What a worker serves: names and versions, and answers to questions of both kinds in one pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.errors import NotFoundError
from service import rows
from service.forecasting import Answer, Pass
from service.rows import RowsAnswer
from service.served import AnyQuestion
from tests.service.world import World, equal


class TestNames:
    @pytest.mark.parametrize(
        ("model", "version", "found"),
        [
            (None, None, "bentocast"),
            ("bentocast", None, "bentocast"),
            ("bentocast", "7", "bentocast"),
            ("bentocast-rows", "7", "bentocast-rows"),
            (None, "7", "bentocast"),
        ],
    )
    def test_that_are_served(self, plain: World, model: str | None, version: str | None, found: str) -> None:
        assert plain.served.named(model, version) == found

    @pytest.mark.parametrize("model", ["", "prophet", "Bentocast", "bentocast ", "rows", "x" * 10_000])
    def test_that_are_not(self, plain: World, model: str) -> None:
        with pytest.raises(NotFoundError) as caught:
            plain.served.named(model)
        text = "wanted 'bentocast', the model served here, or 'bentocast-rows', its trees alone"
        assert caught.value.message.startswith(f"model: got {model[:50]!r}"[:50])
        assert caught.value.message.endswith(text)
        assert len(caught.value.message) < 240
        assert (caught.value.param, caught.value.status, caught.value.code) == ("model", 404, "not_found")

    def test_of_the_trees_where_they_cannot_be_asked(self, plain: World) -> None:
        with pytest.raises(NotFoundError) as caught:
            plain.served.named("bentocast-rows", trees=False)
        assert caught.value.message == "model: got 'bentocast-rows', wanted 'bentocast', the model served here"
        assert plain.served.named("bentocast", trees=False) == "bentocast"

    @pytest.mark.parametrize("version", ["", "8", "07", "latest"])
    def test_of_another_version(self, plain: World, version: str) -> None:
        with pytest.raises(NotFoundError) as caught:
            plain.served.named("bentocast", version)
        assert caught.value.message == f"version: got {version!r}, wanted '7', the one served here"
        assert caught.value.param == "version"

    def test_headers_trace_an_answer_to_its_model(self, plain: World) -> None:
        wanted = {"x-bento": "bentocast:abc123", "x-model-name": "bentocast", "x-model-version": "7"}
        assert plain.served.headers == wanted


class TestAnswers:
    def test_of_both_kinds_come_in_order(self, city: World) -> None:
        matrix = city.features(city.origin(0))
        questions: list[AnyQuestion] = [
            rows.ask(city.forecaster, matrix),
            city.ask(city.history(1)),
            rows.ask(city.forecaster, matrix[:3]),
            city.ask(city.history(0), city.history(2), levels=(0.5,)),
        ]
        seen: list[Pass] = []
        first, one, second, two = replace(city.served, watch=seen.append).answer(questions)
        assert isinstance(first, RowsAnswer)
        assert isinstance(second, RowsAnswer)
        assert np.array_equal(second.values["point"], first.values["point"][:3])
        assert isinstance(one, Answer)
        assert isinstance(two, Answer)
        assert equal(one, city.answer(city.history(1)))
        assert equal(two, city.answer(city.history(0), city.history(2), levels=(0.5,)))
        assert [watched.scale.size for watched in seen] == [3]  # one pass, of three series

    def test_the_same_question_twice_is_answered_twice(self, city: World) -> None:
        question = city.ask(city.history())
        one, other = city.served.answer([question, question])
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        assert equal(one, other)

    def test_nobody_watches_the_trees_alone(self, city: World) -> None:
        """What a client puts into rows says nothing of what histories bring to the model."""
        seen: list[Pass] = []
        replace(city.served, watch=seen.append).answer([rows.ask(city.forecaster, city.features(city.origin(0)))])
        assert not seen
