"""The command that measures rollouts knows the figures that there are, and no others."""

from __future__ import annotations

import pytest

from loadtests.__main__ import ROLLOUTS, main
from loadtests.rollouts.figures import FIGURES


def test_the_figures_that_are_offered_are_those_that_there_are() -> None:
    assert set(ROLLOUTS) == set(FIGURES)


def test_a_figure_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rollouts", "fast"])
    assert ended.value.code == 2
    assert "got fast, wanted one of moves, alike, failing, slow, nonsense, kills, router" in capsys.readouterr().err
