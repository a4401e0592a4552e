"""The Open Inference Protocol (KServe V2) between tensors and questions, for HTTP and gRPC alike.

The forecaster takes `series` [series, values] and `start_timestamp` (BYTES of ISO 8601, or seconds since 1970
as INT64 or in any datatype that holds them whole); covariates are tensors named `past_covariates.<name>` and
`future_covariates.<name>`; `name` may name the series, `quantiles` lists the levels wanted. It gives `mean`
[series, steps], `quantiles` [series, levels, steps] and `start_timestamp`. The trees take `features`
[rows, columns] and give `point` and `spread` [rows].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import RequestError
from service import histories, rows
from service.call import Asked
from service.decoding import moment
from service.faults import short
from service.forecasting import Answer
from service.histories import EARLIEST, MAX_NAME, History
from service.protocols.tensors import BYTES, MAX_TENSORS, Tensor
from service.served import AnyAnswer, Served

PAST, FUTURE = "past_covariates.", "future_covariates."
FORECAST_OUTPUTS = ("mean", "quantiles", "start_timestamp")
#: Datatypes that round a time of today, to 64 s and more, or hold none.
TOO_NARROW = ("FP32", "FP16", "BOOL")
PLATFORM = "bentocast_onnx"


def read(
    served: Served, model: str, tensors: Sequence[Tensor], parameters: Mapping[str, Any], outputs: Sequence[str]
) -> Asked:
    """What an inference request asks.

    Args:
        served: what is served here.
        model: one of its two models.
        tensors: the inputs.
        parameters: of the request; `horizon` is looked at.
        outputs: names wanted, all if there are none.

    Raises:
        RequestError: names the tensor at fault.
    """
    inputs = {tensor.name: tensor for tensor in tensors}
    if len(inputs) != len(tensors) or len(tensors) > MAX_TENSORS:
        raise RequestError(f"inputs: got {len(tensors)} tensors, wanted each name once, at most {MAX_TENSORS}")
    known = rows.OUTPUTS if model == served.rows_model else FORECAST_OUTPUTS
    for name in outputs:
        if name not in known:
            raise RequestError(f"outputs: got {short(name)}, wanted {', '.join(known)}", param="outputs")
    if model == served.rows_model:
        with np.errstate(over="ignore"):
            matrix = _tensor(inputs, "features").numbers().astype(np.float32)
        return Asked(rows.ask(served.forecaster, matrix, outputs or rows.OUTPUTS), tuple(outputs))
    series = given(served, inputs)
    horizon = parameters.get("horizon")
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int)):
        raise RequestError(f"parameters.horizon: got {short(horizon)}, wanted a whole number", param="horizon")
    levels = inputs["quantiles"].numbers().ravel().tolist() if "quantiles" in inputs else []
    return Asked(histories.ask(served.forecaster, series, horizon, levels, served.limits), tuple(outputs))


def write(asked: Asked, answer: AnyAnswer) -> list[Tensor]:
    """The outputs that were wanted, in the order in which they were named."""
    if isinstance(answer, Answer):
        starts = answer.starts.astype(str).tolist()
        made = {"mean": _numeric("mean", answer.mean)}
        if answer.levels:
            made["quantiles"] = _numeric("quantiles", answer.quantiles.swapaxes(0, 1))
        made["start_timestamp"] = Tensor("start_timestamp", BYTES, (len(starts),), starts)
    else:
        made = {name: _numeric(name, values.astype(np.float32), "FP32") for name, values in answer.values.items()}
    return [made[name] for name in asked.note or made if name in made]


def given(served: Served, inputs: Mapping[str, Tensor]) -> list[History]:
    """Histories out of tensors.

    Raises:
        RequestError: a tensor is missing, unknown, or does not fit the others.
    """
    series = _tensor(inputs, "series").numbers()
    if series.ndim == 1:
        series = series[None, :]
    if series.ndim != 2 or not series.shape[0]:
        raise RequestError(f"series: got shape {list(series.shape)}, wanted [series, values]", param="series")
    count = series.shape[0]
    if count > served.limits.series:
        raise RequestError(f"series: got {count}, wanted at most {served.limits.series}: send several requests")
    past: dict[str, NDArray[np.float64]] = {}
    future: dict[str, NDArray[np.float64]] = {}
    for name, tensor in inputs.items():
        if name.startswith((PAST, FUTURE)):
            values = tensor.numbers()
            values = values[None, :] if values.ndim == 1 else values
            if values.ndim != 2 or values.shape[0] != count:
                raise RequestError(
                    f"{short(name)}: got shape {list(values.shape)}, wanted [{count}, values]", param=name
                )
            (past if name.startswith(PAST) else future)[name.partition(".")[2]] = values
        elif name not in ("series", "start_timestamp", "name", "quantiles"):
            raise RequestError(
                f"inputs: unknown tensor {short(name)}, wanted series, start_timestamp, name, quantiles, {PAST}<name> "
                f"or {FUTURE}<name>",
                param="inputs",
            )
    names = _names(inputs, count)
    return [
        History(
            name=names[place],
            values=series[place],
            start=start,
            past_covariates={name: values[place] for name, values in past.items()},
            future_covariates={name: values[place] for name, values in future.items()},
            where=f"inputs[{place}]",
        )
        for place, start in enumerate(_starts(inputs, count))
    ]


def metadata(served: Served, model: str) -> dict[str, Any]:
    """What a model takes and gives: names, datatypes and shapes, -1 where they are the client's to choose."""
    design = served.forecaster.design
    if model == served.rows_model:
        inputs = [("features", "FP32", [-1, len(design.names)])]
        outputs = [(name, "FP32", [-1]) for name in rows.OUTPUTS]
    else:
        inputs = [("series", "FP64", [-1, -1]), ("start_timestamp", BYTES, [-1])]
        inputs += [("name", BYTES, [-1]), ("quantiles", "FP64", [-1])]
        inputs += [(PAST + name, "FP64", [-1, -1]) for name in design.past]
        inputs += [(FUTURE + name, "FP64", [-1, -1]) for name in design.future]
        outputs = [("mean", "FP64", [-1, -1]), ("quantiles", "FP64", [-1, -1, -1]), ("start_timestamp", BYTES, [-1])]
    return {
        "name": model,
        "versions": [served.model_version],
        "platform": PLATFORM,
        "inputs": [_described(*tensor) for tensor in inputs],
        "outputs": [_described(*tensor) for tensor in outputs],
    }


def _described(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def _numeric(name: str, values: np.ndarray, datatype: str = "FP64") -> Tensor:
    return Tensor(name, datatype, values.shape, values)


def _tensor(inputs: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in inputs:
        raise RequestError(f"inputs: tensor {name!r} is missing, got {short(sorted(inputs))}", param="inputs")
    return inputs[name]


def _starts(inputs: Mapping[str, Tensor], count: int) -> list[np.datetime64]:
    tensor = _tensor(inputs, "start_timestamp")
    if tensor.datatype == BYTES:
        starts = [moment(text[:64], f"start_timestamp[{place}]") for place, text in enumerate(tensor.texts())]
    else:
        numbers = _whole_seconds(tensor)
        seconds = np.where(np.abs(numbers) < 1e11, numbers, np.float64(EARLIEST.astype(np.int64) - 1))
        starts = list(seconds.astype(np.int64).astype("datetime64[s]"))
    if len(starts) != count:
        raise RequestError(f"start_timestamp: got {len(starts)}, wanted {count}, one for each series")
    return starts


def _whole_seconds(tensor: Tensor) -> NDArray[np.float64]:
    """Shape (series,): seconds since 1970, NaN where one is missing."""
    if tensor.datatype in TOO_NARROW:
        raise RequestError(
            f"start_timestamp: got datatype {tensor.datatype}, which holds no seconds since 1970, wanted BYTES (ISO 8601), "
            "INT64 or FP64",
            param="start_timestamp",
        )
    numbers = tensor.numbers().ravel()
    fractions = np.flatnonzero((numbers != np.floor(numbers)) & ~np.isnan(numbers))
    if fractions.size:
        place = int(fractions[0])
        raise RequestError(
            f"start_timestamp[{place}]: got {numbers[place]:.17g}, wanted whole seconds since 1970",
            param="start_timestamp",
        )
    return numbers


def _names(inputs: Mapping[str, Tensor], count: int) -> list[str]:
    if "name" not in inputs:
        return [f"series-{place}" for place in range(count)]
    names = inputs["name"].texts()
    if len(names) != count or any(len(name) > MAX_NAME for name in names):
        raise RequestError(
            f"name: got {len(names)}, wanted {count}, each of at most {MAX_NAME} characters", param="name"
        )
    return names
