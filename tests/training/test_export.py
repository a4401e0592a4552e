"""The exported model answers as scikit-learn does, also beside every threshold, and the check of that can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingRegressor

from tests.training import tiny
from training import export

pytestmark = pytest.mark.filterwarnings(tiny.BOOLEANS)

Inputs = NDArray[np.float32]
#: What training allows, and what the export reaches.
LIMIT, REACHED = 1e-5, 2e-7


def fitted(inputs: Inputs, target: NDArray[np.float64], **trees: Any) -> HistGradientBoostingRegressor:
    given = {"max_iter": 10, "min_samples_leaf": 3, "max_leaf_nodes": 15, "early_stopping": False, "random_state": 0}
    return HistGradientBoostingRegressor(**(given | trees)).fit(inputs, target)


def table(seed: int, rows: int = 400, columns: int = 4) -> tuple[Inputs, NDArray[np.float64]]:
    draw = np.random.default_rng(seed)
    inputs = draw.standard_normal((rows, columns)).astype(np.float32)
    return inputs, 2 + np.sin(3 * inputs[:, 0]) + inputs[:, 1] ** 2 + 0.1 * draw.standard_normal(rows)


def answers(model: bytes, name: str, inputs: Inputs) -> NDArray[np.float64]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run([name], {"features": inputs})[0]
    return found[:, 0].astype(np.float64)


def check(inputs: Inputs, target: NDArray[np.float64], **trees: Any) -> export.Parity:
    point, spread = fitted(inputs, target, **trees), fitted(inputs, np.abs(target - target.mean()), **trees)
    return export.parity(export.export(point, spread), {"point": point, "spread": spread}, inputs)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 999),
    columns=st.integers(1, 6),
    loss=st.sampled_from(["absolute_error", "squared_error"]),
    max_iter=st.integers(1, 20),
    leaves=st.integers(2, 31),
    input_size=st.sampled_from([1e-8, 1.0, 1e8]),
    target_size=st.sampled_from([1e-8, 1.0, 1e8]),
)
def test_parity_holds_for_any_fit(
    seed: int, columns: int, loss: str, max_iter: int, leaves: int, input_size: float, target_size: float
) -> None:
    inputs = np.random.default_rng(seed).standard_normal((200, columns)).astype(np.float32)
    target = target_size * (inputs[:, 0] + np.random.default_rng(seed + 1).random(200))
    size = np.float32(input_size)
    found = check(inputs * size, target, loss=loss, max_iter=max_iter, max_leaf_nodes=leaves)
    assert found.relative <= REACHED


@pytest.mark.parametrize(
    ("inputs", "target"),
    [
        pytest.param(np.ones((50, 2), np.float32), np.full(50, 7.0), id="all constant"),
        pytest.param(np.ones((50, 2), np.float32), np.zeros(50), id="all zero"),
        pytest.param(np.ones((50, 2), np.float32), np.arange(50.0), id="constant inputs"),
        pytest.param(np.arange(100, dtype=np.float32).reshape(50, 2) % 2, np.arange(50.0) % 2, id="two values"),
        pytest.param(np.arange(100, dtype=np.float32).reshape(50, 2), np.arange(50.0), id="whole numbers"),
        pytest.param(16_777_216 + np.arange(100, dtype=np.float32).reshape(50, 2), np.arange(50.0), id="float32's end"),
    ],
)
def test_parity_holds_in_corner_cases(inputs: Inputs, target: NDArray[np.float64]) -> None:
    assert check(inputs, target).relative <= REACHED


def test_parity_holds_for_hundreds_of_deep_trees() -> None:
    assert check(*table(1, 900), max_iter=200, max_leaf_nodes=31, learning_rate=0.05).relative <= REACHED


def test_parity_holds_where_values_are_missing() -> None:
    inputs, target = table(2)
    inputs[np.random.default_rng(0).random(inputs.shape) < 0.2] = np.nan
    target = np.where(np.isnan(inputs[:, 0]), 9.0, target)
    point = fitted(inputs, target)
    assert any(np.isinf(tree.nodes["num_threshold"]).any() for trees in point._predictors for tree in trees)
    assert export.parity(export.export(point, point), {"point": point, "spread": point}, inputs).relative <= REACHED
    all_missing = np.full((1, inputs.shape[1]), np.nan, np.float32)
    assert answers(export.export(point, point), "point", all_missing) == pytest.approx(
        point.predict(all_missing), rel=REACHED
    )


def test_parity_of_plain_skl2onnx_fails() -> None:
    """The check can fail: on the float32 thresholds that skl2onnx writes, some rows take the other branch."""
    inputs, target = table(3, 150)
    model = fitted(inputs, target)
    plain = to_onnx(model, initial_types=[("features", FloatTensorType([None, inputs.shape[1]]))], target_opset=18)
    plain.graph.node[0].output[0] = plain.graph.output[0].name = "point"
    found = export.parity(plain.SerializeToString(), {"point": model}, inputs)
    assert found.relative > 100 * LIMIT
    assert check(inputs, target).relative <= REACHED


def test_parity_of_another_model_fails() -> None:
    inputs, target = table(4)
    point, other = fitted(inputs, target), fitted(inputs, target, max_iter=11)
    found = export.parity(export.export(point, point), {"point": other, "spread": point}, inputs)
    assert found.relative > LIMIT
    swapped = export.parity(export.export(other, point), {"spread": other}, inputs)
    assert swapped.relative > LIMIT


def test_parity_counts_real_rows_and_threshold_rows_of_both_models() -> None:
    inputs, target = table(5)
    point, spread = fitted(inputs, target), fitted(inputs, target, max_iter=3)
    splits = sum(int((tree.nodes["is_leaf"] == 0).sum()) for m in (point, spread) for t in m._predictors for tree in t)
    found = export.parity(export.export(point, spread), {"point": point, "spread": spread}, inputs)
    assert found.rows == 2 * inputs.shape[0] + 3 * splits


def test_threshold_rows_stand_at_under_and_over_every_threshold() -> None:
    inputs, target = table(6)
    model = fitted(inputs, target)
    made = export.threshold_rows(model, inputs)
    place = 0
    for trees in model._predictors:
        for node in trees[0].nodes:
            if node["is_leaf"]:
                continue
            under, over = made[place + 1], made[place + 2]
            column = node["feature_idx"]
            at = np.float32(node["num_threshold"])
            assert made[place][column] == at
            assert under[column] == np.nextafter(at, np.float32(-np.inf))
            assert over[column] == np.nextafter(at, np.float32(np.inf))
            assert under[column] < node["num_threshold"] < over[column]
            for step in range(3):
                moved = np.flatnonzero(made[place + step] != inputs[(place + step) % inputs.shape[0]])
                assert set(moved) <= {column}
            place += 3
    assert place == made.shape[0]


def test_threshold_rows_leave_the_real_rows_as_they_were() -> None:
    inputs, target = table(7)
    before = inputs.copy()
    export.threshold_rows(fitted(inputs, target), inputs)
    assert np.array_equal(inputs, before)


def test_the_model_has_the_declared_names_and_shapes() -> None:
    inputs, target = table(8, columns=5)
    model = onnx.load_from_string(export.export(fitted(inputs, target), fitted(inputs, target, max_iter=2)))
    onnx.checker.check_model(model, full_check=True)
    found = {
        value.name: (
            value.type.tensor_type.elem_type,
            [part.dim_param or part.dim_value for part in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    }
    assert found == {
        "features": (onnx.TensorProto.FLOAT, ["rows", 5]),
        "point": (onnx.TensorProto.FLOAT, ["rows", 1]),
        "spread": (onnx.TensorProto.FLOAT, ["rows", 1]),
    }
    assert model.ir_version == export.IR_VERSION
    assert {opset.domain: opset.version for opset in model.opset_import} == export.OPSET


@pytest.mark.parametrize("rows", [0, 1, 2, 257])
def test_the_model_takes_any_number_of_rows(rows: int) -> None:
    inputs, target = table(9)
    point, spread = fitted(inputs, target), fitted(inputs, -target)
    model = export.export(point, spread)
    batch = np.resize(inputs, (rows, inputs.shape[1]))
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    got = session.run(None, {"features": batch})
    assert [part.shape for part in got] == [(rows, 1)] * 2
    if rows:
        assert answers(model, "point", batch) == pytest.approx(point.predict(batch), rel=REACHED)
        assert answers(model, "spread", batch) == pytest.approx(spread.predict(batch), rel=REACHED)


def test_a_batch_answers_as_its_rows_do_one_by_one() -> None:
    inputs, target = table(10)
    point = fitted(inputs, target)
    model = export.export(point, point)
    alone = np.concatenate([answers(model, "point", inputs[row : row + 1]) for row in range(40)])
    assert np.array_equal(alone, answers(model, "point", inputs[:40]))


def test_a_link_function_after_the_trees_is_refused() -> None:
    inputs, target = table(11)
    poisson = fitted(inputs, np.abs(target), loss="poisson")
    with pytest.raises(NotImplementedError, match="loss 'poisson' puts a link function after the trees"):
        export.export(poisson, poisson)
