"""The way back is taken by a rename: also when nothing more can be written to the disk."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from deploy.router.routing import WHOLE, Mirror, Routing
from tests.deploy.fleet import fill
from tests.deploy.upstreams import Routed, routed, upstream
from tests.service.record.test_faults import small_disk


def versions(to: Routed) -> set[str]:
    with httpx.Client(base_url=to.url, verify=False) as client:
        return {client.get("/").text for _ in range(60)}


def test_users_come_back_on_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, "2m"), upstream("old") as old, upstream("new") as new:
        both = {"old": (old,), "new": (new,)}
        stable = Routing(both, {"old": WHOLE})
        with routed(folder, stable, envoys=2) as to:
            assert not to.router.retreat()
            to.router.apply(Routing(both, {"old": WHOLE // 2, "new": WHOLE // 2}, Mirror("new", 1.0)), 2, back=stable)
            assert versions(to) == {"old", "new"}
            fill(folder)
            with pytest.raises(OSError, match="No space left"):
                to.router.apply(stable, 3)
            assert versions(to) == {"old", "new"}
            assert to.router.retreat()
            assert versions(to) == {"old"}
            assert to.router.has_retreated()
            (folder / "filling").unlink()
            to.router.apply(Routing(both, {"new": WHOLE}), 4)
            assert versions(to) == {"new"}
            assert not to.router.has_retreated()
            assert not to.router.retreat()
