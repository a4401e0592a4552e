"""params.yaml is refused whole before a stage starts, also for what only the features know to be impossible."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from data import configuration
from data.errors import ConfigError

ROOT = Path(__file__).parents[2]


def _with(folder: Path, key: str, value: object) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["features"][key] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_project_has_a_valid_configuration() -> None:
    assert configuration.load(ROOT / "params.yaml").features.horizon == 24


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("scale", "90min", "features.scale: got '90min', wanted a multiple of the series' frequency '1h'"),
        ("horizon", 30, "is not known at the origin"),
        ("moving_averages", ["1d", "24h"], "moving_averages: '1d' is named twice, wanted each feature once"),
        ("lags", [1, 1], "lags: 1 is named twice"),
    ],
)
def test_what_features_cannot_do_is_refused(tmp_path: Path, key: str, value: object, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configuration.load(_with(tmp_path, key, value))
    assert text in refused.value.message
