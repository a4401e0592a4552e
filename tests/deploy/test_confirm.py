"""What the router does when an Envoy does not take over what it was given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.faults import RouterError
from deploy.router import router
from deploy.router.router import Router, Settings


@dataclass
class Silent:
    """An Envoy that goes by a revision, and has refused so many."""

    goes_by: str = "1"
    refused: int = 0

    def revision(self, kind: str) -> str:
        return self.goes_by if kind == "routes" else ""

    def stat(self, name: str) -> int:
        return self.refused if name == "http.public.rds.public.update_rejected" else 0


def routed(folder: Path, *envoys: Silent) -> Router:
    made = Router(folder, Settings(admin_ports=(9_901, 9_902)))
    made.admins = dict(zip((9_901, 9_902), envoys, strict=True))  # type: ignore[arg-type]
    return made


def test_all_that_go_by_it_are_enough(tmp_path: Path) -> None:
    routed(tmp_path, Silent("2", refused=3), Silent("2"))._confirm("routes", "2", {9_901: 0, 9_902: 0})


def test_one_that_refuses_it_is_told_at_once(tmp_path: Path) -> None:
    made = routed(tmp_path, Silent("2"), Silent("1", refused=4))
    with pytest.raises(RouterError, match=r"the router refuses its routes \(in .*\); those before stay: see its log"):
        made._confirm("routes", "2", {9_901: 0, 9_902: 3})


def test_one_that_refused_others_before_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "TAKE_SECONDS", 0.05)
    made = routed(tmp_path, Silent("2"), Silent("1", refused=3))
    with pytest.raises(
        RouterError,
        match=r"\(admin port 9902\) does not take over its routes .*: it goes by revision '1', wanted '2', after 0 s",
    ):
        made._confirm("routes", "2", {9_901: 0, 9_902: 3})
