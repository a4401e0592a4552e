"""Plans and the router's settings are checked before anything starts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data import params
from data.deployment import Deploy, Plan, Step
from data.errors import ConfigError
from data.rollout import PairLimits
from deploy import __main__ as commands
from deploy.faults import RolloutError
from deploy.rollouts.progress import weight_of
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
        ({"steps": [{"header": {"name": "x", "value": "y"}}]}, "got end promote with steps that go by a header alone"),
        ({"steps": [{"weight": 0.1}], "undecided": "promote"}, "'pause' or 'rollback'"),
        ({"steps": [{"weight": 0.1}], "wieght": 0.1}, "deploy.canary.wieght: unknown key"),
        (
            {"steps": [{"mirror": 1}, {"weight": 0.1, "at_least": "1h"}]},
            "by then a step that is not over is undecided (steps.1) (of canary)",
        ),
        (
            {"steps": [{"weight": 0.1, "at_least": "5min", "at_most": "5min"}]},
            "deploy: got at_least 5min with at_most",
        ),
        ({"steps": [{"weight": 0.00004}]}, "deploy: got weight 4e-05, wanted 0.0001 to 0.9999"),
        ({"steps": [{"weight": 0.99999}]}, "deploy: got weight 0.99999, wanted 0.0001 to 0.9999: the router splits"),
        ({"steps": [{"wieght": 0.1}]}, "deploy.canary.steps.0.wieght: unknown key, did you mean 'weight'?"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(plan: dict[str, Any], fault: str) -> None:
    whole = params.load(ROOT / "params.yaml").model_dump(mode="json")
    whole["deploy"]["canary"] = plan
    with pytest.raises(ConfigError) as err:
        params.parse(whole)
    assert fault in err.value.message
    assert "deploy.canary" in err.value.message or "(of canary)" in err.value.message


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1])
def test_an_alpha_out_of_range(alpha: float) -> None:
    whole = params.load(ROOT / "params.yaml").model_dump(mode="json")
    whole["deploy"]["judgement"]["alpha"] = alpha
    with pytest.raises(ConfigError, match=r"deploy\.judgement\.alpha: got "):
        params.parse(whole)


def test_ports_that_are_the_same() -> None:
    with pytest.raises(ValueError, match=r"got \(8080, 8080\), wanted each once"):
        Deploy.model_validate({"router": {"port": 8080, "admin_ports": [8080]}})


@pytest.mark.parametrize(
    ("plan", "weights"),
    [({}, [0.1, 0.5]), ({"replace": True}, []), ({"baseline": False}, [])],
    ids=["by default", "instances are replaced", "none wanted"],
)
def test_which_steps_have_a_baseline(plan: dict[str, Any], weights: list[float]) -> None:
    steps = ({"mirror": 1.0}, {"header": {"name": "x", "value": "y"}}, *({"weight": one} for one in (0.1, 0.5, 0.75)))
    whole = Plan.model_validate({"steps": steps, **plan})
    assert [step.weight for step in whole.steps if whole.has_baseline(step)] == weights


def test_a_step_that_stays_is_not_judged_and_has_no_baseline() -> None:
    whole = Plan.model_validate({"steps": [{"weight": 0.1}, {"weight": 0.5}], "end": "stay"})
    assert [whole.has_baseline(step) for step in whole.steps] == [True, False]


def test_the_plan_of_retrained_models_is_checked_as_well() -> None:
    whole = params.load(ROOT / "params.yaml").model_dump(mode="json", exclude_unset=True)
    whole["monitoring"]["loop"] = {"rollout": {"steps": [{"weight": 0.1, "at_least": "1h"}]}}
    with pytest.raises(ConfigError) as err:
        params.parse(whole)
    assert err.value.message == (
        "params.yaml: the file: got at_least 1h with at_most 30min, wanted a longer at_most: by then a step that is not over "
        "is undecided (steps.0) (of monitoring.loop.rollout)"
    )


@pytest.mark.parametrize("weight", [0.0001, 0.9999, 0.3333333])
def test_what_the_router_can_split(weight: float) -> None:
    plan = Plan(steps=(Step(weight=weight, at_least="5min", at_most="6min"),))
    assert Deploy().judged(plan).steps == plan.steps
    assert weight_of(plan.steps[0]) == round(weight, 4), "what is judged is what the router does"


def test_a_step_that_could_not_be_done_is_still_read_from_the_journal() -> None:
    old = Plan(steps=(Step(weight=0.5, at_least="1h"),)).model_dump(mode="json")
    assert Plan.model_validate(old).steps[0].at_least == "1h"


def test_a_plan_survives_the_journal() -> None:
    for name in ("canary", "blue_green", "rolling", "shadow", "ab"):
        plan: Plan = getattr(Deploy(), name)
        assert Plan.model_validate(plan.model_dump(mode="json")) == plan


def test_a_plan_says_what_is_judged_otherwise() -> None:
    deploy = Deploy.model_validate(
        {
            "judgement": {"alpha": 0.05, "slowness": {"tolerated": 2.0, "excluded": 4.0}},
            "canary": {"steps": [{"weight": 0.5}], "judgement": {"answers": {"tolerated": 0.5, "excluded": 0.9}}},
        }
    )
    judged = deploy.judged(deploy.canary).judgement
    assert judged is not None
    assert judged.answers == PairLimits(tolerated=0.5, excluded=0.9)
    assert (judged.alpha, judged.slowness.excluded) == (0.05, 4.0)
    assert deploy.judged(deploy.shadow).judgement == deploy.judgement
    assert Plan.model_validate(deploy.judged(deploy.canary).model_dump(mode="json")) == deploy.judged(deploy.canary)


@pytest.mark.parametrize(
    ("judgement", "fault"),
    [
        ({"alpha": 1}, "deploy.canary.judgement.alpha: got 1, input should be less than or equal to 0.2"),
        ({"anwsers": {}}, "deploy.canary.judgement.anwsers: unknown key, did you mean 'answers'?"),
        (
            {"slowness": {"excluded": 2.0}},
            "deploy: got a judgement that does not go with deploy.judgement: slowness: got excluded 2 with tolerated 3",
        ),
    ],
)
def test_a_judgement_of_a_plan_that_cannot_be(judgement: dict[str, Any], fault: str) -> None:
    whole = params.load(ROOT / "params.yaml").model_dump(mode="json")
    whole["deploy"]["judgement"]["slowness"] = {"tolerated": 3.0, "excluded": 10.0}
    whole["deploy"]["canary"]["judgement"] = judgement
    with pytest.raises(ConfigError) as err:
        params.parse(whole)
    assert fault in err.value.message


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is printed also where nothing is up."""
    with pytest.raises(RolloutError, match="nothing is up"):
        commands.main(["canary", "b:two", "--dry-run", *arguments])
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def _keep_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_plan_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "place"))
    file = tmp_path / "plan.yaml"
    file.write_text(
        "steps: [{weight: 0.3, requests: 77}]\nend: stop\njudgement: {answers: {tolerated: 0.5, excluded: 0.9}}"
    )
    told = dry_run(capsys, "--plan", str(file))
    assert "1. weight 30%: 77 requests" in told
    assert "taken away again, with a verdict" in told
    assert "answers tolerated 0.5, excluded 0.9; " in told
    assert "alpha 0.01" in told
    assert "answers tolerated 0.5" not in dry_run(capsys)
    assert "at weights up to 50% as many new instances" in told
    file.write_text("steps: [{weight: 0.3}]\nbaseline: false")
    assert "as many new instances" not in dry_run(capsys, "--plan", str(file))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "plan.yaml not found: --plan wants a YAML file with steps"),
        ("steps: [", "plan.yaml is not YAML: "),
        ("", "plan.yaml: the file: got None, input should be a valid dictionary"),
        ("end: stop", "plan.yaml: steps: missing, wanted a value"),
        ("steps: [{weight: 0.1, requets: 5}]", "plan.yaml: steps.0.requets: unknown key, did you mean 'requests'?"),
        ("steps: [{weight: 0.5}, {weight: 0.1}]", "plan.yaml: steps: got weights 0.5, 0.1, wanted each above"),
        ("steps: [{weight: 0.5, at_least: 2h}]", "plan.yaml: got at_least 2h with at_most 30min"),
        ("steps: [{weight: 0.5}]\njudgement: {alpha: 7}", "plan.yaml: judgement.alpha: got 7"),
    ],
)
def test_a_file_that_is_no_plan(tmp_path: Path, text: str | None, fault: str) -> None:
    file = tmp_path / "plan.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as err:
        commands.main(["canary", "b:two", "--plan", str(file)])
    assert fault in err.value.message
    assert err.value.exit_code == 2
