"""The section of params.yaml on how a rollout is judged."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from data.rollout import ErrorLimits, Judgement, PairLimits, Parts, SlownessLimits


def test_as_it_comes() -> None:
    usual = Judgement()
    assert (usual.alpha, usual.beta, usual.requests, usual.pairs) == (0.01, 0.05, 500, 100)
    assert usual.parts == Parts(split=0.05, errors=0.6, slowness=0.2, answers=0.1, accuracy=0.05)
    assert usual.errors == ErrorLimits(tolerated=1.0, excluded=2.0, share=0.01)
    assert usual.answers == PairLimits(tolerated=0.01, excluded=0.05)
    assert usual.accuracy == PairLimits(tolerated=0.55, excluded=0.6)
    assert (usual.slowness.tolerated_steps, usual.slowness.excluded_steps) == (1, 3)


@pytest.mark.parametrize(
    ("tolerated", "excluded", "steps"),
    [(1.0, 1.1, (0, 1)), (1.05, 1.25, (1, 2)), (1.1, 1.21, (1, 2)), (1.21, 1.331, (2, 3)), (2.0, 4.0, (8, 14))],
)
def test_latencies_are_compared_in_steps_that_never_promise_too_much(
    tolerated: float, excluded: float, steps: tuple[int, int]
) -> None:
    limits = SlownessLimits(tolerated=tolerated, excluded=excluded)
    assert (limits.tolerated_steps, limits.excluded_steps) == steps
    assert 1.1 ** steps[0] >= tolerated - 1e-9
    assert 1.1 ** steps[1] <= excluded + 1e-9


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"alpha": 0}, "greater than 0"),
        ({"alpha": 0.3}, "less than or equal to 0.2"),
        ({"alpha": float("nan")}, "less than or equal to 0.2"),
        ({"beta": 0}, "greater than 0"),
        ({"requests": 0}, "greater than or equal to 1"),
        ({"pairs": 0}, "greater than or equal to 1"),
        ({"gamma": 1}, "Extra inputs are not permitted"),
        ({"parts": {"errors": 0.7}}, "got parts that add up to 1.1, wanted 1 or less"),
        ({"parts": {"errors": 0}}, "greater than 0"),
        ({"errors": {"tolerated": 2.0}}, "got excluded 2 with tolerated 2, wanted a larger one"),
        ({"errors": {"share": 1.0}}, "less than 1"),
        (
            {"answers": {"tolerated": 0.1, "excluded": 0.05}},
            "got excluded 0.05 with tolerated 0.1, wanted a larger one",
        ),
        (
            {"slowness": {"tolerated": 1.15, "excluded": 1.3}},
            "got excluded 1.3 with tolerated 1.15, wanted 1.331 or more: latencies are counted in steps of 1.1",
        ),
    ],
)
def test_what_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Judgement.model_validate(given)


def test_parts_may_leave_some_of_alpha_unused() -> None:
    assert Parts(split=0.01, errors=0.5, slowness=0.2, answers=0.1, accuracy=0.05).errors == 0.5


def test_errors_of_both_kinds_share_one_part() -> None:
    """So that plans which an earlier program kept in the journal, all parts of them, can still be read."""
    told = Parts(split=0.05, errors=0.6, slowness=0.2, answers=0.1, accuracy=0.05)
    shares = {check: told.of(check) for check in ("split", "errors", "refused", "slowness", "answers", "accuracy")}
    assert [shares[check] for check in ("errors", "refused")] == pytest.approx([0.5, 0.1])
    assert sum(shares.values()) == pytest.approx(1)


def test_what_is_not_given_stays_as_it_was() -> None:
    here = Judgement(alpha=0.05, slowness=SlownessLimits(tolerated=3.0, excluded=10.0))
    by = Judgement.model_validate(
        {"pairs": 7, "slowness": {"excluded": 12.0}, "answers": {"tolerated": 0.2, "excluded": 0.4}}
    )
    both = here.changed(by)
    assert both.slowness == SlownessLimits(tolerated=3.0, excluded=12.0)
    assert both.answers == PairLimits(tolerated=0.2, excluded=0.4)
    assert (both.alpha, both.beta, both.pairs) == (0.05, 0.05, 7)
    assert here.changed(Judgement()) == here


def test_what_does_not_go_together_is_refused() -> None:
    here = Judgement(slowness=SlownessLimits(tolerated=3.0, excluded=10.0))
    with pytest.raises(ValueError, match="got a judgement") as err:
        here.changed(Judgement.model_validate({"slowness": {"excluded": 2.0}}))
    assert str(err.value).startswith(
        "got a judgement that does not go with deploy.judgement: slowness: got excluded 2 with tolerated 3, wanted 3.452 or more"
    )
