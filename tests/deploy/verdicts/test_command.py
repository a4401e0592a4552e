"""`python -m deploy verdict`: what it prints, and with which code it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from data.verdict import Check, Outcome, Verdict
from deploy.journal import Journal
from tests.loadtests.store import ROOT


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DEPLOY_")}
    return subprocess.run(
        [sys.executable, "-m", "deploy", "verdict", *arguments],
        cwd=ROOT,
        env=environment | {"DEPLOY_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("fail", 7), ("inconclusive", 8), ("error", 9)])
def test_the_code_is_the_verdicts(tmp_path: Path, outcome: str, code: int) -> None:
    journal = Journal(f"sqlite:///{tmp_path}/journal.db")
    number = journal.begin("canary", "b:one", "b:two", {}, {}, 1.0)
    verdict = Verdict.of([Check(name="errors", outcome=Outcome(outcome), text="errors: 3 of 100")])
    journal.look(number, {}, {"verdict": verdict.model_dump(mode="json")}, 2.0)
    journal.close()
    done = run(tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines() == [
        f"canary {number} of b:two: running", outcome.upper(), f"  {outcome:12}  errors: 3 of 100",
    ]  # fmt: skip
    done = run(tmp_path, "--rollout", str(number), "--json")
    assert done.returncode == code
    assert json.loads(done.stdout)["outcome"] == outcome


def test_a_port_that_is_taken_is_named_before_verdicts_are_promised(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "--serve", "--port", str(port))
    assert done.returncode == 10
    assert done.stderr == (
        f"error: verdicts cannot be served on 127.0.0.1:{port} (Address already in use): end what listens there, or give "
        "another --port or --host\n"
    )


def test_no_rollout(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 10
    assert "no rollouts here" in done.stderr
