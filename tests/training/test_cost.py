"""What a block of code cost."""

from __future__ import annotations

import numpy as np
import pytest

from training import cost


def test_measured_counts_wall_and_processor_time() -> None:
    with cost.measured() as spent:
        assert spent == {}
        total = sum(value * value for value in range(300_000))
    assert total
    assert set(spent) == {"seconds", "cpu_seconds", "peak_memory_bytes"}
    assert 0 < spent["cpu_seconds"] <= spent["seconds"] + 0.05
    assert spent["seconds"] < 60


def test_measured_knows_the_peak_of_memory() -> None:
    with cost.measured() as before:
        pass
    assert before["peak_memory_bytes"] > 10_000_000
    size = int(before["peak_memory_bytes"]) + 50_000_000
    with cost.measured() as after:
        # Touch every page: memory that is only reserved does not count.
        assert np.ones(size, np.uint8)[::4_096].all()
    assert after["peak_memory_bytes"] >= size
    with cost.measured() as later:
        pass
    assert later["peak_memory_bytes"] >= after["peak_memory_bytes"]


def test_measured_lets_an_error_through() -> None:
    with pytest.raises(ValueError, match="no"), cost.measured() as spent:
        raise ValueError("no")
    assert spent == {}
