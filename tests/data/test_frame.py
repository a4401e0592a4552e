"""The Parquet files give back the bits that were written, and say what is missing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import frame
from data.errors import DataError
from data.panel import Panel
from tests.data import drawn
from tests.data.drawn import same_bits
from tests.data.project import ROOT

FEW = settings(max_examples=20, deadline=None)


def equal(got: Panel, wanted: Panel) -> bool:
    return (
        (got.ids, got.step_seconds, list(got.covariates)) == (wanted.ids, wanted.step_seconds, list(wanted.covariates))
        and got.offsets.tolist() == wanted.offsets.tolist()
        and got.starts.tolist() == wanted.starts.tolist()
        and got.starts.dtype == wanted.starts.dtype
        and got.observed.tolist() == wanted.observed.tolist()
        and same_bits(got.target, wanted.target)
        and all(same_bits(got.covariates[name], values) for name, values in wanted.covariates.items())
    )


@FEW
@given(st.data())
def test_panel_comes_back_bit_for_bit(data: st.DataObject) -> None:
    panel = data.draw(drawn.panels(data.draw(drawn.designs())))
    seed = data.draw(st.integers(0, 1_000))
    panel = replace(panel, observed=np.random.default_rng(seed).random(panel.target.size) < 0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out" / "series.parquet"
        frame.write(path, panel)
        assert equal(frame.read(path, panel.step_seconds), panel)


@FEW
@given(st.data())
def test_features_come_back_bit_for_bit(data: st.DataObject) -> None:
    design = data.draw(drawn.designs())
    panel = data.draw(drawn.panels(design))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.parquet"
        written = frame.write_features(path, panel, design)
        assert same_bits(written, design.origin_table(panel))
        assert same_bits(frame.read_features(path, design), written)
        assert pq.read_schema(path).names == ["series_id", "timestamp", *design.origin_columns]


def ones(ids: tuple[str, ...], lengths: list[int]) -> Panel:
    rows = sum(lengths)
    return Panel(
        ids=ids,
        offsets=np.cumsum([0, *lengths]),
        starts=np.full(len(ids), np.datetime64("2024-01-01T00:00:00", "s")),
        step_seconds=60,
        target=np.ones(rows),
        observed=np.ones(rows, dtype=np.bool_),
        covariates={"rain": np.zeros(rows)},
    )


def test_series_that_cross_a_row_group_stay_whole(tmp_path: Path) -> None:
    group = 1 << 20
    panel = ones(("Z", "a b", "é", "日本"), [5, group - 10, 7, 300])
    frame.write(tmp_path / "series.parquet", panel)
    assert pq.ParquetFile(tmp_path / "series.parquet").num_row_groups == 2
    assert equal(frame.read(tmp_path / "series.parquet", 60), panel)


def test_file_is_in_long_form(tmp_path: Path) -> None:
    frame.write(tmp_path / "series.parquet", ones(("a", "b"), [2, 1]))
    table = pq.read_table(tmp_path / "series.parquet").to_pydict()
    assert list(table) == ["series_id", "timestamp", "target", "observed", "rain"]
    assert table["series_id"] == ["a", "a", "b"]
    assert [str(moment) for moment in table["timestamp"]] == [
        "2024-01-01 00:00:00",
        "2024-01-01 00:01:00",
        "2024-01-01 00:00:00",
    ]


def test_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    path = tmp_path / "series.parquet"
    with pytest.raises(DataError) as caught:
        frame.read(path, 60)
    assert caught.value.message == f"{path} not found: run `dvc repro` to make it, or `dvc pull` to fetch it"
    assert caught.value.exit_code == 3


def test_disk_that_fills_up_leaves_the_last_file(tmp_path: Path) -> None:
    """A limit on file size stands in for a full disk: the write itself fails, in Arrow's C++."""
    path = tmp_path / "series.parquet"
    frame.write(path, ones(("a",), [50_000]))
    before = path.read_bytes()
    script = (
        "import resource, signal, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from data import command, frame\n"
        "from dataclasses import replace\n"
        "path = Path(sys.argv[1])\n"
        "panel = replace(frame.read(path, 60), target=np.random.default_rng(0).normal(size=50_000))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "command.run(lambda _: frame.write(path, panel), [])\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 74, done.stderr
    assert done.stderr == "error: cannot write a file: File too large; what was there before is unchanged\n"
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["series.parquet"]
