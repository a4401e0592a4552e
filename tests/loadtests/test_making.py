from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loadtests.lock import BusyError
from loadtests.serving import making, settings
from loadtests.serving.making import MakingError


def test_one_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "CACHE", tmp_path / "cache")
    wanted = pytest.raises(BusyError, match=r"another run holds .*cache/lock, and there can be one")
    with making.alone(), wanted, making.alone():
        pass
    with making.alone():
        pass


def test_made_once_and_again_after_a_change(tmp_path: Path) -> None:
    source, folder, made = tmp_path / "source", tmp_path / "made", []
    source.write_text("1")

    def make(target: Path) -> None:
        target.mkdir()
        made.append(source.read_text())

    making._once(folder, [source], make)
    making._once(folder, [source], make)
    source.write_text("2")
    making._once(folder, [source], make)
    assert made == ["1", "2"]


def test_half_made_is_made_again(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "made"
    source.write_text("1")

    def fail(target: Path) -> None:
        target.mkdir()
        raise MakingError("no room")

    with pytest.raises(MakingError, match="no room"):
        making._once(folder, [source], fail)
    making._once(folder, [source], Path.mkdir)
    assert folder.with_name("made.stamp").exists()


def test_a_command_that_fails_shows_what_it_said() -> None:
    code = "import sys; print('half'); sys.exit('no model')"
    with pytest.raises(MakingError, match=r"ended with 1:\nhalf\nno model"):
        making.run([sys.executable, "-c", code], quiet=True)


def test_locks_pin_what_the_peers_were_written_for() -> None:
    wanted = {"stock_bentoml": "bentoml==1.4.39", "mlserver": "mlserver-sklearn==1.7.1", "mlflow": "mlflow==3.17.2"}
    for peer, pin in wanted.items():
        assert f"\n{pin} " in (settings.PEERS / peer / "requirements.txt").read_text()
