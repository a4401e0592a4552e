"""Commands of the loop, and what is left of one that was killed."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from data import ending
from deploy import journals
from deploy.journal import Journal
from deploy.place import Place
from monitoring.child import MARK
from monitoring.faults import LoopError, RefusedError, StopError, WaitError
from monitoring.ledger import Retraining
from monitoring.steps import Commands
from tests.data import project


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    return made(tmp_path)


def made(folder: Path, **loop: object) -> Commands:
    changes = {"promote.champion": "rollout"} | {f"monitoring.loop.{name}": value for name, value in loop.items()}
    params = project.changed(changes)
    return Commands(params, folder / "params.yaml", Place(folder / "deployment"), folder / "loop.log", lambda _: None)


@pytest.fixture
def left(commands: Commands) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """What a killed loop leaves, and what another one has under way."""
    own = os.environ | {MARK: str(commands.place.folder)}
    started = {
        name: subprocess.Popen(["sleep", "60"], env=environment)
        for name, environment in {
            "command": own,
            "another's": os.environ | {MARK: "/elsewhere"},
        }.items()
    }
    wanted = {process.pid for process in started.values()}
    late = time.monotonic() + 10
    while wanted - {
        one.pid for where in (str(commands.place.folder), "/elsewhere") for one in ending.marked(MARK, where)
    }:
        assert time.monotonic() < late, "a process that has just begun has no environment for a moment"
    yield started
    for process in started.values():
        process.kill()
        process.wait()


def test_what_a_killed_loop_left_is_ended(commands: Commands, left: dict[str, subprocess.Popen[bytes]]) -> None:
    assert commands._run("true") == (0, "")
    assert left["command"].wait(5) != 0
    assert left["another's"].poll() is None


def test_a_command_that_brings_data_and_fails_keeps_its_secrets_in_the_log(commands: Commands) -> None:
    """What it asks may be away, so it is tried again; its reason goes to the ledger and to a webhook."""
    failing = made(commands.log.parent, fetch=["sh", "-c", "echo no such bucket of $0 >&2; exit 3", "t0ken"])
    with pytest.raises(LoopError) as failed:
        failing.fetch()
    assert failed.value.message == f"monitoring.loop.fetch: `sh` ended with 3: the reason is in {failing.log}"
    assert "no such bucket of t0ken" in failing.log.read_text()


@pytest.mark.parametrize("content", [None, "echo no first line", "#!/bin/sh"])
def test_a_command_that_cannot_be_started_stops_it_with_the_fix(commands: Commands, content: str | None) -> None:
    program = commands.log.parent / "bring"
    if content is not None:
        program.write_text(content)
        program.chmod(0o700 if content.startswith("echo") else 0o600)
    with pytest.raises(StopError, match=r"^`bring` cannot be run \(.+\): mend monitoring.loop.fetch in params.yaml$"):
        made(commands.log.parent, fetch=[str(program), "t0ken"]).fetch()


def test_a_missing_dvc_stops_it_with_the_fix(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(commands.log.parent / "python"))
    with pytest.raises(StopError) as failed:
        commands.train()
    assert str(failed.value) == f"`dvc` cannot be run (No such file or directory): install it in {commands.log.parent}"


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        ("failed to run: python -m data ingest, exited with 3", StopError),
        ("failed to run: python -m data ingest, exited with 4", LoopError),
        ("failed to run: python -m training promote, exited with 6", LoopError),
        ("the cache is locked at s3://key:secret@bucket", StopError),
    ],
)
def test_a_pipeline_that_misses_what_is_away_is_told_from_one_that_fails(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, said: str, raised: type[Exception]
) -> None:
    commands.log.write_text("an earlier one exited with 6\n")
    dvc = commands.log.parent / "dvc"
    dvc.write_text(f"#!/bin/sh\necho 'a stage prints a lot'\necho '{said}' >&2\nexit 255\n")
    dvc.chmod(0o700)
    monkeypatch.setattr("monitoring.steps._beside", lambda _: str(dvc))
    with pytest.raises(raised) as failed:
        commands.train()
    last = said.replace("key:secret@", "***@")
    assert str(failed.value) == f"`dvc` ended with 255: a stage prints a lot | {last}; all of it is in {commands.log}"


def test_dvc_itself_says_with_which_code_a_stage_ended(commands: Commands) -> None:
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = True\n    check_update = false\n")
    Path("dvc.yaml").write_text("stages:\n  promote:\n    cmd: exit 6\n")
    with pytest.raises(LoopError, match=r"^`dvc` ended with 255: .*'promote'.*exited with 6; all of it is in /"):
        commands.train()


def test_a_command_that_takes_too_long_is_ended(commands: Commands) -> None:
    slow = made(commands.log.parent, fetch=["sleep", "60"], at_most="1s")
    with pytest.raises(StopError, match=r"^`sleep` took longer than 1s \(monitoring.loop.at_most\): see /"):
        slow.fetch()


def test_a_rollout_has_limits_of_its_own(commands: Commands) -> None:
    """Users would stay split where its command was ended."""
    Path("deploy").mkdir()
    Path("deploy/__init__.py").touch()
    Path("deploy/__main__.py").write_text("import time; time.sleep(1.5); print('it took its time')")
    begun = Journal(journals.url(commands.place))
    begun.begin("canary", "bentocast:one", "bentocast:two", {}, {}, now=2.0)
    begun.close()
    assert made(commands.log.parent, at_most="1s").rollout("bentocast:two", since=1.0)[0] == "running"
    assert "it took its time" in commands.log.read_text()


def test_without_a_command_nothing_is_fetched(commands: Commands) -> None:
    commands.fetch()
    assert not commands.log.exists()


def test_a_gate_that_did_not_pass_stops_it(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    told = '{"version": "3", "verdict": {"outcome": "fail", "checks": [{"name": "a", "outcome": "fail", "text": "worse"}]}}'
    Path("out").mkdir()
    Path("out/promote.json").write_text(told)
    monkeypatch.setattr("monitoring.steps._beside", lambda _: "true")
    with pytest.raises(RefusedError, match="version 3 did not pass the gate: FAIL: worse"):
        commands.train()


PROPOSAL = Retraining(4, 1.0, None, "quality: worse", "approve", {"bento": "b:1"}, "running", "", "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"approved": true}', True),
        ('{"approved": false}', False),
        ('{"approved": null}', None),
        ('{"approved": "yes"}', None),
        ("[]", None),
        ("no JSON", None),
    ],
)
def test_a_webhook_is_asked_with_the_proposal(
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    said: bool | None,  # noqa: FBT001
) -> None:
    asked: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("MONITORING_APPROVAL_URL", f"http://127.0.0.1:{server.server_address[1]}/")
        assert commands.approved(PROPOSAL) is said
    assert asked == [
        {"retraining": 4, "reason": "quality: worse", "state": "running", "why": "", "bento": "b:1"},
    ]


def test_a_webhook_that_is_away_decides_nothing(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITORING_APPROVAL_URL", "http://127.0.0.1:9/secret")
    assert commands.approved(PROPOSAL) is None


def test_a_webhook_that_nobody_set_cannot_approve(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONITORING_APPROVAL_URL", raising=False)
    with pytest.raises(StopError, match="MONITORING_APPROVAL_URL is not set"):
        commands.approved(PROPOSAL)


def test_a_version_that_somebody_went_back_from_is_not_crowned(commands: Commands) -> None:
    journals.of(commands.place).put_state({"stable": "one"})
    with pytest.raises(RefusedError, match="bentocast:two was promoted and does not serve any more, one does"):
        commands.crown("2", "bentocast:two", "quality: worse")


def test_a_version_is_crowned_when_what_was_brought_down_is_up_again(commands: Commands) -> None:
    with pytest.raises(
        WaitError, match="bentocast:two was promoted, and nothing is up: `python -m deploy up bentocast:two`"
    ):
        commands.crown("2", "bentocast:two", "quality: worse")


@pytest.mark.parametrize("step", ["build", "approve", "rollout", "crown"])
@pytest.mark.parametrize("marked", [False, True])
def test_only_what_was_rejected_or_taken_back_is_not_tried_again(
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    marked: bool,  # noqa: FBT001
) -> None:
    about = {"version": "3"} | ({"refused": True} if marked else {})
    marks: list[dict[str, str]] = []
    monkeypatch.setattr("monitoring.steps.tracking.connect", lambda: "")
    monkeypatch.setattr("monitoring.steps.registry.version", lambda _, number: number)
    monkeypatch.setattr("monitoring.steps.registry.tag", lambda _, tags: marks.append(tags))
    commands.told(Retraining(4, 1.0, 2.0, "quality", step, about, "stopped", "no space", ""))
    assert marks == ([{"rollout": "no space"}] if marked else [])
