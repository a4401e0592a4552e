"""Tables for batches, cut from a world's panel, and what the core says of the same histories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data import forecaster
from data.forecaster import Card
from service.batch.run import Asked
from service.forecasting import Answer
from service.histories import History
from tests.service.world import World

LEVELS = (0.1, 0.5, 0.9)
HOUR = np.timedelta64(1, "h")


def lengths(world: World, count: int) -> list[int]:
    """How many values each series tells: no two neighbours the same."""
    return [world.forecaster.design.context + turn % 3 * 7 for turn in range(count)]


def histories(world: World, count: int) -> list[History]:
    """Histories of `count` series with names of their own, each from another origin."""
    made = []
    for turn, length in enumerate(lengths(world, count)):
        history = world.history(turn % len(world.panel), back=turn, length=length)
        made.append(_named(history, f"series {turn:04}"))
    return made


def _named(history: History, name: str) -> History:
    return History(name, history.values, history.start, None, history.past_covariates, history.future_covariates)


def table(given: list[History], world: World) -> pa.Table:
    """The rows of some histories: a row for each value, then one for each step that covariates are known of."""
    design = world.forecaster.design
    columns: dict[str, list[Any]] = {"series_id": [], "timestamp": [], "target": []}
    columns |= {name: [] for name in dict.fromkeys((*design.future, *design.past))}
    for history in given:
        steps = max((values.size for values in history.future_covariates.values()), default=0)
        size = history.values.size
        columns["series_id"] += [history.name] * (size + steps)
        columns["timestamp"].append(history.start.astype("datetime64[s]") + HOUR * np.arange(size + steps))
        columns["target"].append(np.append(history.values, np.full(steps, np.nan)))
        for name in [*columns][3:]:
            past = history.past_covariates.get(name, np.full(size, np.nan))
            columns[name].append(np.append(past, history.future_covariates.get(name, np.full(steps, np.nan))))
    whole = {name: values if name == "series_id" else np.concatenate(values) for name, values in columns.items()}
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in whole.items()})


def write(path: Path, made: pa.Table, row_group: int = 1_000) -> Path:
    """Write a table with many row groups."""
    pq.write_table(made, path, row_group_size=row_group)
    return path


def expected(world: World, given: list[History]) -> Answer:
    """What the core answers to a request of these histories."""
    return world.answer(*given, levels=LEVELS)


def numbers(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a batch's output."""
    found = pq.read_table(path)
    return {name: found[name].to_numpy() for name in found.column_names}


def same(found: dict[str, NDArray[Any]], answer: Answer) -> bool:
    """Whether an output holds an answer, bit for bit and in its order."""
    steps = answer.mean.shape[1]
    times = answer.starts[:, None] + HOUR * np.arange(steps)
    return (
        list(found) == ["series_id", "timestamp", "step", "mean", *map(str, answer.levels)]
        and found["series_id"].tolist() == [name for name in answer.names for _ in range(steps)]
        and np.array_equal(found["timestamp"].astype("datetime64[s]"), times.ravel().astype("datetime64[s]"))
        and found["step"].tolist() == list(range(1, steps + 1)) * len(answer.names)
        and np.array_equal(found["mean"], answer.mean.ravel())
        and all(
            np.array_equal(found[str(level)], values.ravel())
            for level, values in zip(answer.levels, answer.quantiles, strict=True)
        )
    )


def asked(world: World, made: pa.Table, folder: Path, row_group: int = 1_000, **options: Any) -> Asked:
    """A command on a table that is written to a folder."""
    path = write(folder / "in.parquet", made, row_group)
    return Asked(path, folder / "out.parquet", **{"model": str(world.folder), "levels": LEVELS} | options)


def saved(world: World, card: Card, folder: Path) -> str:
    """A world's model with another card."""
    forecaster.save(folder, card, (world.folder / "model.onnx").read_bytes())
    return str(folder)
