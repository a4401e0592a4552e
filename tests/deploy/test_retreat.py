"""The way back is taken by a rename: also when nothing more can be written to the disk."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from deploy.faults import RouterError
from deploy.router import admin
from deploy.router.router import Router, Settings
from deploy.router.routing import WHOLE, Mirror, Routing
from tests.deploy.fleet import fill, wait_for
from tests.deploy.upstreams import Routed, routed, upstream
from tests.ports import free_ports
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


def test_whoever_brings_users_back_as_well_ends_the_retreat(tmp_path: Path) -> None:
    """The routes are the same then; a mark that stayed would have the next deployment here start with those of this one."""
    with upstream("old") as old, upstream("new") as new:
        both = {"old": (old,), "new": (new,)}
        stable, half = Routing(both, {"old": WHOLE}), Routing(both, {"old": WHOLE // 2, "new": WHOLE // 2})
        with routed(tmp_path, stable) as to:
            to.router.apply(half, 2, back=stable)
            assert to.router.retreat()
            to.router.apply(stable, 3)
            assert not to.router.has_retreated()
            assert versions(to) == {"old"}
            to.router.apply(half, 4, back=stable)
            assert versions(to) == {"old", "new"}


def test_users_come_back_also_with_an_envoy_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "PATIENCE_SECONDS", 0.2)
    with upstream("old") as old, upstream("new") as new:
        both = {"old": (old,), "new": (new,)}
        stable = Routing(both, {"old": WHOLE})
        with routed(tmp_path, stable) as to:
            to.router.apply(Routing(both, {"new": WHOLE}), 2, back=stable)
            there = to.router.settings
            two = Router(tmp_path, replace(there, admin_ports=(free_ports(), *there.admin_ports)))
            with pytest.raises(RouterError, match="does not answer"):
                two.retreat()
            assert two.has_retreated()
            wait_for(lambda: versions(to) == {"old"}, "users do not come back")


def test_what_is_given_up_is_not_drained(tmp_path: Path) -> None:
    router = Router(tmp_path, Settings(port=free_ports(), admin_ports=(free_ports(),)))
    began = time.monotonic()
    router.drain([free_ports()], 30.0)
    assert time.monotonic() - began < 5
