"""Plans and the router's settings are checked before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from data import params
from data.deployment import Deploy, Plan
from data.errors import ConfigError
from tests.loadtests.store import ROOT


@pytest.mark.parametrize(
    ("plan", "fault"),
    [
        ({"steps": []}, "wanted one step or more"),
        ({"steps": [{"weight": 0.5}, {"weight": 0.1}]}, "got weights 0.5, 0.1, wanted each above the one before"),
        ({"steps": [{"weight": 0.1}, {"mirror": 1.0}]}, "got a step without a weight after one with"),
        ({"steps": [{"weight": 1.0}]}, "less than 1"),
        ({"steps": [{"weight": 0.0}]}, "greater than 0"),
        ({"steps": [{}]}, "got none of mirror, weight and header, wanted one"),
        ({"steps": [{"mirror": 1, "weight": 0.1}]}, "got mirror and weight of mirror, weight and header, wanted one"),
        ({"steps": [{"weight": 0.1, "requests": 0}]}, "greater than or equal to 1"),
        ({"steps": [{"weight": 0.1, "at_most": "soon"}]}, "got 'soon', wanted a positive number and one of"),
        ({"steps": [{"weight": 0.1}], "undecided": "promote"}, "'pause' or 'rollback'"),
        ({"steps": [{"weight": 0.1}], "wieght": 0.1}, "deploy.canary.wieght: unknown key"),
        ({"steps": [{"wieght": 0.1}]}, "deploy.canary.steps.0.wieght: unknown key, did you mean 'weight'?"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(plan: dict[str, Any], fault: str) -> None:
    whole = params.load(ROOT / "params.yaml").model_dump(mode="json")
    whole["deploy"]["canary"] = plan
    with pytest.raises(ConfigError) as err:
        params.parse(whole)
    assert fault in err.value.message
    assert "deploy.canary" in err.value.message


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1])
def test_an_alpha_out_of_range(alpha: float) -> None:
    whole = params.load(ROOT / "params.yaml").model_dump(mode="json")
    whole["deploy"]["judgement"]["alpha"] = alpha
    with pytest.raises(ConfigError, match=r"deploy\.judgement\.alpha: got "):
        params.parse(whole)


def test_ports_that_are_the_same() -> None:
    with pytest.raises(ValueError, match=r"got \(8080, 8080\), wanted each once"):
        Deploy.model_validate({"router": {"port": 8080, "admin_ports": [8080]}})


def test_a_plan_survives_the_journal() -> None:
    for name in ("canary", "blue_green", "rolling", "shadow", "ab"):
        plan: Plan = getattr(Deploy(), name)
        assert Plan.model_validate(plan.model_dump(mode="json")) == plan
