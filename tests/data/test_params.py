"""params.yaml: what it says is taken whole and frozen, and every fault is named with its place and its mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from data import params
from data.errors import ConfigError
from data.params import ColumnLimits, Params, Series
from tests.data import project
from tests.data.project import DELETED, ROOT


def fault(changes: dict[str, Any]) -> ConfigError:
    """What params.yaml with these changes is refused with."""
    with pytest.raises(ConfigError) as caught:
        project.changed(changes)
    assert caught.value.exit_code == 2
    assert caught.value.message.startswith("params.yaml: ")
    assert "\n" not in caught.value.message
    return caught.value


# What it says


def test_project_params_are_read() -> None:
    read = params.load(ROOT / "params.yaml")
    assert read == project.changed({"series.limits": read.series.limits})
    assert set(read.series.limits) == set(read.series.columns.values())


def test_params_have_one_section_a_stage() -> None:
    assert set(project.raw()) == set(Params.model_fields)


def test_params_are_frozen() -> None:
    config = project.changed()
    with pytest.raises(ValidationError, match="frozen"):
        config.series.target = "other"  # type: ignore[misc]


def test_params_normalise_durations() -> None:
    features = project.changed({"features.moving_averages": ["60min", "24h", "1w"], "series.frequency": "H"})
    assert features.features.moving_averages == ("1h", "1d", "7d")
    assert features.series.step_seconds == 3_600


@pytest.mark.parametrize(
    ("text", "wanted"), [("2023-02-01", "2023-02-01"), ("2023-02-01T05:00:00", "2023-02-01T05:00:00")]
)
def test_params_take_dates_with_and_without_quotes(text: str, wanted: str) -> None:
    for written in (text, f"'{text}'"):
        config = project.changed({"ingest.sample.start": yaml.safe_load(written)})
        assert config.ingest.sample.start == wanted


def test_params_keep_the_order_of_covariates() -> None:
    series = project.changed({"series.covariates": {"past": ["b"], "future": ["c", "a"]}}).series
    assert series.covariates.names == ("c", "a", "b")


# Unknown keys, missing keys, wrong values


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("seris", "seris: unknown key, did you mean 'series'?"),
        ("series.targett", "series.targett: unknown key, did you mean 'target'?"),
        ("series.covariates.futur", "series.covariates.futur: unknown key, did you mean 'future'?"),
        (
            "features.matched_means.look_back",
            "features.matched_means.look_back: unknown key, did you mean 'lookback'?",
        ),
        ("train.point.max_iters", "train.point.max_iters: unknown key, did you mean 'max_iter'?"),
        ("series.gaps.xyzzy", "series.gaps.xyzzy: unknown key, known are target, covariates"),
    ],
)
def test_unknown_key_is_refused_with_a_suggestion(key: str, message: str) -> None:
    refused = fault({key: 1})
    assert refused.message == f"params.yaml: {message}"
    assert refused.param == key


@pytest.mark.parametrize("key", ["series.target", "series.frequency", "ingest", "features.horizon"])
def test_missing_key_is_named(key: str) -> None:
    refused = fault({key: DELETED})
    assert refused.message == f"params.yaml: {key}: missing, wanted a value"
    assert refused.param == key


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "features.scale",
            "1month",
            "got '1month', wanted a positive number and one of s, min, h, d, w, such as '15min' or '7d'",
        ),
        ("series.frequency", "0h", "got '0h', wanted a positive number"),
        ("series.frequency", 60, "got 60, input should be a valid string"),
        ("features.horizon", 0, "got 0, input should be greater than or equal to 1"),
        ("features.horizon", "soon", "got 'soon', input should be a valid integer"),
        ("features.horizon", 1.5, "got 1.5, input should be a valid integer"),
        ("series.gaps.target", "linear", "got 'linear', input should be 'zero', 'forward' or 'interpolate'"),
        ("series.gaps.covariates", "interpolate", "got 'interpolate', input should be 'zero' or 'forward'"),
        ("ingest.source", "excel", "got 'excel', input should be 'sample', 'csv', 'parquet' or 'uci-bike-sharing'"),
        ("features.covariates", "maybe", "got 'maybe', input should be 'use' or 'ignore'"),
        (
            "backtest.folds",
            2,
            "got 2, wanted 3 or more: a fold's intervals need two folds before it, and no model passes the gate without them",
        ),
        ("backtest.folds", 53, "got 53, input should be less than or equal to 52"),
        ("promote.gate.confidence", 95, "got 95, input should be less than 1"),
        ("promote.experiment", "my model!", "got 'my model!', string should match pattern"),
        ("series", None, "got None, input should be a valid dictionary"),
    ],
)
def test_wrong_value_is_named_with_what_is_wanted(key: str, value: object, message: str) -> None:
    refused = fault({key: value})
    assert refused.message.startswith(f"params.yaml: {key}: {message}")
    assert refused.param == key


def test_wrong_value_in_a_list_is_named_with_its_place() -> None:
    assert fault({"features.moving_averages": ["1h", "soon"]}).message == (
        "params.yaml: features.moving_averages.1: got 'soon', wanted a positive number and one of s, min, h, d, w, "
        "such as '15min' or '7d'"
    )


@pytest.mark.parametrize("level", [0.991, 0.995, 1, 95])
def test_level_beyond_the_calibration_is_refused_with_the_highest(level: float) -> None:
    refused = fault({"backtest.levels": [0.8, level]})
    assert refused.message == (
        f"params.yaml: backtest.levels.1: got {level!r}, wanted 0.99 or less: quantiles are calibrated from 0.005 to 0.995"
    )
    assert refused.param == "backtest.levels.1"


def test_level_is_positive() -> None:
    assert fault({"backtest.levels": []}).message == (
        "params.yaml: backtest.levels: got [], wanted one level or more: the gate judges the intervals by them"
    )
    assert fault({"backtest.levels": [0]}).message == (
        "params.yaml: backtest.levels.0: got 0, input should be greater than 0"
    )


def test_unknown_calendar_feature_is_refused_with_the_known_ones() -> None:
    message = fault({"features.calendar": ["hour", "moon"]}).message
    assert "features.calendar.1: got 'moon', input should be 'hour', 'minute_of_day'" in message


def test_all_faults_are_told_at_once() -> None:
    message = fault({"features.horizon": 0, "series.target": DELETED, "traning": {}}).message
    assert message.count("; ") == 2
    for part in ("features.horizon: got 0", "series.target: missing", "traning: unknown key, did you mean 'train'?"):
        assert part in message


@pytest.mark.parametrize(
    "changes", [{"series.target": "hour"}, {"series.covariates": {"future": ["rain"], "past": ["rain"]}}]
)
def test_column_in_two_roles_is_refused(changes: dict[str, Any]) -> None:
    assert "is named twice, wanted each column in one role" in fault(changes).message


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"snow": {"low": 0}}, "got limits of 'snow', wanted limits of the target or a covariate (rides, temperature"),
        ({"wind": {"low": 5, "high": 5}}, "got low 5 and high 5, wanted low below high"),
        ({"wind": {"constant": "1h"}}, "got limits.wind.constant '1h', wanted longer than one step ('1h')"),
        ({"wind": {"missing": 1}}, "series.limits.wind.missing: got 1, input should be less than 1"),
        ({"low": {"lo": 1}}, "series.limits.low.lo: unknown key, did you mean 'low'?"),
    ],
)
def test_limit_that_cannot_be_kept_is_refused(limits: dict[str, Any], message: str) -> None:
    assert message in fault({"series.limits": limits}).message


def test_column_without_limits_may_hold_anything() -> None:
    series = project.changed({"series.limits": {"wind": {"high": 60}}}).series
    assert series.limits_of("wind").high == 60
    assert series.limits_of("rain") == ColumnLimits()


@pytest.mark.parametrize("name", ["target", "observed", "timestamp", "series_id", "hour_of_week"])
def test_covariate_with_a_name_of_the_frame_is_refused(name: str) -> None:
    message = fault({"series.covariates.past": [name]}).message
    assert (
        f"covariate {name!r} has a name that is kept for the series frame or the calendar, rename the column" in message
    )


def test_column_names_of_the_frame_are_free_for_the_key_columns() -> None:
    series = Series(id="series_id", timestamp="timestamp", target="target", frequency="1d")
    assert series.target == "target"


def test_built_in_source_with_a_table_of_ones_own_is_refused_with_the_fix() -> None:
    message = fault({"ingest.path": "mine.csv"}).message
    assert "source 'sample' is made by data/sources/sample.py, got path 'mine.csv'" in message
    assert "write 'path: data/sources/sample.py', or 'source: csv' to read 'mine.csv'" in message


def test_own_table_with_the_path_of_a_built_in_source_is_refused_with_the_fix() -> None:
    assert (
        "source 'csv' reads a table, got path 'data/sources/sample.py': write your file's path"
        in fault({"ingest.source": "csv"}).message
    )


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("loadtest.protocol", "soap", "loadtest.protocol: got 'soap'"),
        ("loadtest.gate.load", 1.5, "loadtest.gate.load: got 1.5"),
        ("loadtest.gate.limits", {"p42": 1.0}, "loadtest.gate.limits.p42: unknown key"),
    ],
)
def test_load_test_that_can_say_nothing_is_refused(key: str, value: object, text: str) -> None:
    assert text in fault({key: value}).message


# The file


def test_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params.yaml not found: run the command in the project's folder") as caught:
        params.load(tmp_path / "params.yaml")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"series: [1,\n  {", b"a: \x01", b"'", b"\xff\xfe\xfa", b"a: b: c", b"\t- x"])
def test_file_that_is_not_yaml_is_refused_on_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not YAML: ") as caught:
        params.load(path)
    assert caught.value.message.startswith(f"{path} is not YAML: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(("text", "got"), [("", "None"), ("- 1\n- 2\n", "[1, 2]"), ("just words", "'just words'")])
def test_file_without_sections_is_refused(tmp_path: Path, text: str, got: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        params.load(path)
    assert caught.value.message.startswith(f"{path}: the file: got {got}, input should be a valid dictionary")


# Whatever is written there


def sections(above: type[BaseModel] = Params, path: str = "") -> dict[str, type[BaseModel]]:
    """Every section and what it is made of, by its path."""
    found = {path: above}
    for key, field in above.model_fields.items():
        # sections in a list, or under names of the user's, have no path of their own
        of_many = get_origin(field.annotation) in (tuple, dict)
        for kind in () if of_many else (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= sections(kind, f"{path}.{key}".lstrip("."))
    return found


SECTIONS = sections()
KEYS = [f"{path}.{key}".lstrip(".") for path, kind in SECTIONS.items() for key in kind.model_fields]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=2),
    max_leaves=3,
)


def test_every_section_is_found() -> None:
    assert {"", "series.covariates", "features.matched_means", "promote.gate"} <= set(SECTIONS)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(KEYS), VALUES)
def test_any_value_is_taken_or_refused(key: str, value: object) -> None:
    try:
        project.changed({key: value})
    except ConfigError as err:
        assert err.message.startswith("params.yaml: ")  # noqa: PT017 - some values are right


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(SECTIONS)), st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12))
def test_any_unknown_key_is_refused_with_the_known_ones(section: str, key: str) -> None:
    assume(key not in SECTIONS[section].model_fields)
    place = f"{section}.{key}".lstrip(".")
    message = fault({place: 1}).message
    assert f"{place}: unknown key, " in message
    assert any(known in message.split("unknown key, ")[1] for known in SECTIONS[section].model_fields)
