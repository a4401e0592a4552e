"""The trees alone: the numbers of training for rows of features, whatever else is asked in the same pass."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import RequestError
from data.forecaster import SPREAD_FLOOR
from service import rows
from tests.service.world import World


def test_rows_of_features_give_the_forecast_of_training(city: World) -> None:
    origins = [city.origin(0), city.origin(1, 7)]
    (got,) = rows.answer(city.forecaster, [rows.ask(city.forecaster, city.features(*origins))])
    expected = city.expected(origins)
    design = city.forecaster.design
    scale = design.rows(city.panel, np.array(origins), design.origin_rows(city.panel, np.array(origins))).scale
    assert got.values["point"].shape == got.values["spread"].shape == (24,)
    assert np.array_equal(np.maximum(got.values["point"].reshape(2, 12) * scale[:, None], 0.0), expected.point)
    assert np.array_equal(got.values["spread"].reshape(2, 12) * scale[:, None], expected.spread)


def test_neighbours_change_nothing(city: World) -> None:
    matrices = [city.features(city.origin(turn % 3, turn))[: turn + 1] for turn in range(9)]
    questions = [rows.ask(city.forecaster, matrix) for matrix in matrices]
    together = rows.answer(city.forecaster, questions)
    for question, got in zip(questions, together, strict=True):
        (alone,) = rows.answer(city.forecaster, [question])
        assert got.values["point"].shape == (question.rows,)
        assert np.array_equal(got.values["point"], alone.values["point"])
        assert np.array_equal(got.values["spread"], alone.values["spread"])


def test_a_spread_is_never_nothing(plain: World) -> None:
    matrix = np.full((3, len(plain.forecaster.design.names)), np.nan, dtype=np.float32)
    matrix[1], matrix[2] = np.inf, -np.inf
    (got,) = rows.answer(plain.forecaster, [rows.ask(plain.forecaster, matrix)])
    assert np.isfinite(got.values["point"]).all()
    assert (got.values["spread"] >= SPREAD_FLOOR).all()


@pytest.mark.parametrize("shape", [(0,), (9,), (0, 6), (1, 5), (1, 7), (1, 6, 1), (200_001, 6)])
def test_a_shape_that_is_refused(plain: World, shape: tuple[int, ...]) -> None:
    columns = len(plain.forecaster.design.names)
    shape = tuple(columns + size - 6 if place == 1 else size for place, size in enumerate(shape))
    with pytest.raises(RequestError) as caught:
        rows.ask(plain.forecaster, np.zeros(shape, dtype=np.float32))
    text = (
        f"features: got shape {list(shape)}, wanted [rows, {columns}] with 1 to 200000 rows; "
        "the model's metadata names the columns"
    )
    assert (caught.value.message, caught.value.param) == (text, "features")
