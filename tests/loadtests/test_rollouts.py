"""The command that measures rollouts knows the figures that there are, and no others."""

from __future__ import annotations

import pytest

from loadtests.__main__ import ROLLOUTS, main
from loadtests.rollouts.figures import FIGURES, astray


def test_the_figures_that_are_offered_are_those_that_there_are() -> None:
    assert set(ROLLOUTS) == set(FIGURES)


def test_a_figure_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rollouts", "fast"])
    assert ended.value.code == 2
    assert "got fast, wanted one of moves, alike, failing, slow, nonsense, kills, router" in capsys.readouterr().err


UP = "http://127.0.0.1:8080  (revision 9)\n"
NEW = "  new: 100.0% of requests (stable)\n    new-3 on 21002 and 21003: ready\n"
OLD = "  old: 0.0% of requests\n    old-1 on 21000 and 21001: ready\n"


@pytest.mark.parametrize(
    ("status", "running", "stray"),
    [
        (UP + NEW, {"new-3", "router-9901"}, ""),
        (UP + NEW, {"new-3", "old-1", "router-9901"}, "left over: old-1"),
        (
            UP + NEW + OLD,
            {"new-3", "old-1"},
            "versions have {'new': '100.0%', 'old': '0.0%'}, wanted one with 100.0% alone",
        ),
        (UP + NEW.replace("100.0", "50.0"), {"new-3"}, "versions have {'new': '50.0%'}, wanted one with 100.0% alone"),
        (UP + NEW.replace("ready", "not ready"), {"new-3"}, "none of its instances is ready"),
        ("nothing is up\n", set(), "versions have nothing, wanted one with 100.0% alone"),
    ],
)
def test_what_a_rollout_with_a_kill_left_behind(status: str, running: set[str], stray: str) -> None:
    assert astray(status, running) == stray
