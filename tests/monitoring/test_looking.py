"""`python -m monitoring check`: how it ends, and what programs read of it."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pytest

from data.errors import ConfigError
from data.verdict import Check, Outcome, Verdict
from monitoring import suite
from monitoring.commands import looking
from tests.data import project


def asked(*tests: str) -> argparse.Namespace:
    return argparse.Namespace(tests=list(tests), json=True, prometheus="http://127.0.0.1:9", record="sqlite:///none.db")


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("fail", 7), ("inconclusive", 8), ("error", 9)])
def test_its_end_is_that_of_every_verdict_and_its_json_is_json(
    outcome: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path))
    odd = Check(name="error", outcome=Outcome(outcome), text="few days", numbers={"low": -math.inf, "value": math.nan})
    monkeypatch.setattr(suite, "TESTS", {"quality": lambda _: Verdict.of([odd])})
    assert looking.check(project.changed(), asked()) == code

    def refuse(name: str) -> float:
        raise AssertionError(name)

    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert told["quality"]["checks"][0]["numbers"] == {"low": None, "value": None}


def test_a_test_that_there_is_none_of_is_named() -> None:
    with pytest.raises(ConfigError, match="test: got qualty, wanted some of dependencies, invariants, skew, "):
        looking.check(project.changed(), asked("quality", "qualty"))
