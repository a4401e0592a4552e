"""Settings that every test shares: threads that do not fight over two cores, and no calls home."""

import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that workers end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)
