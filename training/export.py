"""Export to ONNX with the same answers as scikit-learn, also next to every threshold.

skl2onnx writes thresholds, leaves and the baseline as float32 (rounded to nearest), so a value beside
a threshold can take the other branch, and hundreds of leaves are added up in float32. Here its trees
get their exact float64 numbers back and the float32 input is widened first, as scikit-learn does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingRegressor

OPSET = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 9
#: Losses whose trees add up to the answer itself; skl2onnx leaves out the link function of the others.
LOSSES = ("absolute_error", "squared_error", "quantile")


class Parity(NamedTuple):
    """How far ONNX and scikit-learn are apart.

    Attributes:
        rows: rows compared.
        relative: largest |onnx - scikit-learn| / |scikit-learn|.
    """

    rows: int
    relative: float


def export(point: HistGradientBoostingRegressor, spread: HistGradientBoostingRegressor) -> bytes:
    """One ONNX model with input `features` (rows, columns) and outputs `point` and `spread` (rows, 1)."""
    columns = point.n_features_in_
    nodes = [
        helper.make_node("Cast", ["features"], ["widened"], to=TensorProto.DOUBLE),
        _trees(point, "widened", "point"),
        _trees(spread, "widened", "spread"),
    ]
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", columns])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1]) for name in ("point", "spread")]
    model = helper.make_model(
        helper.make_graph(nodes, "forecaster", inputs, outputs),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSET.items()],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def parity(onnx_bytes: bytes, models: dict[str, HistGradientBoostingRegressor], rows: NDArray[np.float32]) -> Parity:
    """Compare on given rows, and on rows put at, just under and just over every threshold of every tree.

    Args:
        onnx_bytes: as `export` gives it.
        models: by output name.
        rows: shape (rows, columns), real inputs; the threshold rows are made from them.
    """
    session = ort.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    count, worst = 0, 0.0
    for name, model in models.items():
        for part in (rows, threshold_rows(model, rows)):
            if not part.size:
                continue
            got = session.run([name], {"features": part})[0][:, 0].astype(np.float64)
            want = model.predict(part)
            count += part.shape[0]
            worst = max(worst, float(np.max(np.abs(got - want) / np.maximum(np.abs(want), 1e-12))))
    return Parity(count, worst)


def threshold_rows(model: HistGradientBoostingRegressor, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape (3 * splits, columns): real rows with one value moved to, just under and just over a threshold."""
    splits = _nodes(model)
    splits = splits[splits["is_leaf"] == 0]
    at = splits["num_threshold"].astype(np.float32)
    values = np.stack([at, np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))], axis=1).ravel()
    made = rows[np.arange(values.size) % rows.shape[0]].copy()
    made[np.arange(values.size), np.repeat(splits["feature_idx"], 3)] = values
    return np.asarray(made)


def _nodes(model: HistGradientBoostingRegressor) -> np.ndarray:
    """All nodes of all trees, in the order in which skl2onnx writes them."""
    return np.concatenate([tree.nodes for trees in model._predictors for tree in trees])  # noqa: SLF001


def _trees(model: HistGradientBoostingRegressor, source: str, name: str) -> NodeProto:
    """skl2onnx's node for a model, with scikit-learn's own float64 numbers in it."""
    types = [("features", FloatTensorType([None, model.n_features_in_]))]
    if model.loss not in LOSSES:
        raise NotImplementedError(f"loss {model.loss!r} puts a link function after the trees, which is not exported")
    (node,) = to_onnx(model, initial_types=types, target_opset=OPSET).graph.node
    splits = _nodes(model)
    leaf = splits["is_leaf"] == 1
    exact = {
        "nodes_values": np.where(leaf, 0.0, splits["num_threshold"]),
        "target_weights": splits["value"][leaf],
        "base_values": np.ravel(model._baseline_prediction),  # noqa: SLF001
    }
    rounded = {attribute.name: attribute for attribute in node.attribute}
    for key, values in exact.items():
        assert np.array_equal(np.array(rounded[key].floats, np.float32), values.astype(np.float32)), key
        node.attribute.append(helper.make_attribute(f"{key}_as_tensor", numpy_helper.from_array(values)))
    for key in (*exact, "nodes_hitrates"):
        if key in rounded:
            node.attribute.remove(rounded[key])
    node.name, node.input[:], node.output[:] = name, [source], [name]
    return node
