"""Copies of Bentos, found again by their whole tag."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import RegistryError
from deploy import versions
from deploy.place import Place
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in BENTOML]


def test_a_copy_of_another_bento_with_the_same_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    place = Place(tmp_path / "place")
    (place.versions / "1-0" / "bentos" / "b" / "1.0").mkdir(parents=True)
    found = versions.take(place, "b:1.0")
    assert (found.name, found.tag, found.is_kept) == ("1-0", "b:1.0", True)
    for other in ("b:1-0", "c:1.0"):
        assert versions.find(place, other) is None
        with pytest.raises(RegistryError, match=f"BentoML's store holds no whole Bento '{other}'"):
            versions.take(place, other)
