"""`python -m loadtests gate` on real Bentos: verdicts, and everything that can go wrong while they are up."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from loadtests.ports import PORTS
from loadtests.processes import RUN
from tests.loadtests.fakes import gone
from tests.loadtests.store import QUICK, Store
from tests.ports import free_ports
from tests.training import tiny

SLOW = """
import time as _time
_quick = Worker.forecast
async def _slow(*given, **named):
    made = await _quick(*given, **named)
    end = _time.perf_counter() + 0.01
    while _time.perf_counter() < end:
        pass
    return made
Worker.forecast = _slow
"""
#: Of three requests one is refused and one gets half an answer, with status 200.
FAILING = """
import random as _random
_good = Worker.forecast
async def _bad(*given, **named):
    made = await _good(*given, **named)
    chance = _random.random()
    if chance < 1 / 3:
        raise RuntimeError("on purpose")
    return made if chance < 2 / 3 else made._replace(body=made.body[: len(made.body) // 2])
Worker.forecast = _bad
"""


pytestmark = [pytest.mark.filterwarnings(text) for text in tiny.MLFLOW]


@pytest.fixture(scope="module")
def registry(store: Store) -> MlflowClient:
    """Holds the version of the model that the Bento says it carries."""
    client = MlflowClient(store.environment["MLFLOW_TRACKING_URI"])
    client.create_registered_model("bentocast")
    client.create_model_version("bentocast", f"{store.folder}/model")
    return client


@pytest.fixture(scope="module")
def passed(store: Store, registry: MlflowClient) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A gate of a Bento against itself, logged."""
    out = store.folder / "passed"
    return out, store.run(store.params("pass"), "gate", *_sides(store), "--out", str(out), "--seed", "1")


def _sides(store: Store, candidate: str | None = None) -> tuple[str, ...]:
    return "--baseline", store.tag, "--candidate", candidate or store.tag


def _kept_up(out: Path) -> bool:
    """Whether the generator had the processor it needs: other tests may have had it."""
    checks = json.loads((out / "gate.json").read_text())["checks"]
    return any(check["name"] == "generator" and check["outcome"] == "pass" for check in checks)


def _marked(store: Store) -> list[int]:
    """Processes of gates of this store."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(store.folder) in process.environ().get(RUN, ""):
                found.append(process.pid)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def _until(run: subprocess.Popen[str], text: str) -> None:
    assert run.stderr is not None
    for line in run.stderr:
        if text in line:
            return
    raise AssertionError(f"ended with {run.wait()} before it told {text!r}")


class TestVerdicts:
    def test_a_bento_passes_against_itself(
        self, store: Store, passed: tuple[Path, subprocess.CompletedProcess[str]]
    ) -> None:
        out, done = passed
        checks = json.loads((out / "gate.json").read_text())["checks"]
        assert {check["outcome"] for check in checks if check["name"] != "generator"} == {"pass"}, done.stdout
        assert done.returncode == (0 if _kept_up(out) else 8)
        assert f"{store.tag} against {store.tag}, " in done.stdout.splitlines()[0]
        assert "round 1 of at most 10 (baseline / candidate): p50" in done.stderr

    def test_numbers(self, store: Store, passed: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
        told = json.loads((passed[0] / "gate.json").read_text())
        assert told["outcome"] == ("pass" if _kept_up(passed[0]) else "inconclusive")
        assert told["seed"] == 1
        assert len(told["rounds"]) in (9, 10)
        assert told["sides"]["candidate"] == {
            "tag": store.tag,
            "labels": {"mlflow_name": "bentocast", "mlflow_version": "1"},
        }
        assert {check["name"] for check in told["checks"]} == {
            *("p50", "p95", "p99", "throughput", "processor", "memory", "errors", "generator")
        }
        for number, one in enumerate(told["rounds"]):
            for side in ("baseline", "candidate"):
                assert 0 < one[side]["p50"] <= one[side]["p95"] <= one[side]["p99"], number
                assert one[side]["faults"] == 0
        assert 0 < told["percentiles"]["baseline"]["0.5"] < told["percentiles"]["baseline"]["0.99"]
        assert told["rate"] == pytest.approx(0.2 * told["capacity"])

    def test_page_is_whole(self, store: Store, passed: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
        page = (passed[0] / "gate.html").read_text()
        assert page.count("<svg") == 3
        assert store.tag in page
        assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
            "http://creativecommons.org", ""
        ), "a page that needs nothing else"
        assert "<script" not in page

    def test_the_version_of_the_model_carries_the_verdict(
        self, registry: MlflowClient, passed: tuple[Path, subprocess.CompletedProcess[str]]
    ) -> None:
        tags = registry.get_model_version("bentocast", "1").tags
        assert tags["load_gate"] == ("pass" if _kept_up(passed[0]) else "inconclusive")
        assert f"logged to MLflow: run {tags['load_gate_run']}\n" in passed[1].stderr

    def test_it_is_in_mlflow_and_in_the_history(
        self, store: Store, passed: tuple[Path, subprocess.CompletedProcess[str]]
    ) -> None:
        assert "logged to MLflow: run " in passed[1].stderr
        told = store.run(store.params("history"), "history", "--out", str(store.folder / "history"))
        assert told.returncode == 0, told.stderr
        assert told.stdout.splitlines()[1].split()[2:4] == [store.tag, store.tag]
        assert "INCONCLUSIVE: no gate between two versions yet" in told.stdout
        strict = store.run(store.params("history"), "history", "--strict", "--out", str(store.folder / "history"))
        assert strict.returncode == 8

    def test_another_protocol(self, store: Store) -> None:
        limits = dict.fromkeys(QUICK["limits"]) | {"errors": 0.05}
        params, out = store.params("grpc", "grpc", rounds=7, limits=limits), store.folder / "grpc"
        done = store.run(params, "gate", *_sides(store), "--out", str(out), "--no-log")
        assert done.returncode == (0 if _kept_up(out) else 8), done.stdout + done.stderr
        told = json.loads((out / "gate.json").read_text())
        assert told["settings"]["protocol"] == "grpc"
        assert [one[side]["faults"] for one in told["rounds"] for side in ("baseline", "candidate")] == [0] * 14
        assert all(one["candidate"]["throughput"] > 0 for one in told["rounds"])

    def test_a_slow_candidate_fails(self, store: Store) -> None:
        tag = store.copy("slow", SLOW)
        out = store.folder / "slow"
        done = store.run(store.params("slow"), "gate", *_sides(store, tag), "--out", str(out), "--no-log", "--json")
        assert done.returncode == 7, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert told["outcome"] == "fail"
        failed = {check["name"] for check in told["checks"] if check["outcome"] == "fail"}
        assert "processor" in failed, "whatever else this machine does"
        assert failed & {"p50", "p95", "throughput"}
        assert "Worse than the limit allows" in (out / "gate.html").read_text()

    def test_a_candidate_that_fails_requests_fails(self, store: Store) -> None:
        tag = store.copy("failing", FAILING)
        out = store.folder / "failing"
        done = store.run(store.params("failing"), "gate", *_sides(store, tag), "--out", str(out), "--no-log")
        assert done.returncode == 7, done.stdout + done.stderr
        assert "candidate: " in done.stdout
        assert "StatusError: 500" in done.stdout
        assert "AnswerError: got an answer that cannot be read" in done.stdout
        assert any("fail" in line and "errors" in line for line in done.stdout.splitlines())


class TestFaults:
    def test_wrong_settings_start_nothing(self, store: Store) -> None:
        done = store.run(store.params("wrong", rounds=3), "gate", *_sides(store))
        assert (done.returncode, "loadtest.gate: at most 3 rounds < " in done.stderr) == (2, True), done.stderr
        assert "starting" not in done.stderr

    def test_unknown_bento(self, store: Store) -> None:
        done = store.run(store.params("unknown"), "gate", *_sides(store, "bentocast:nope"))
        assert done.returncode == 6
        assert "BentoML's store holds no Bento 'bentocast:nope': see them with `bentoml list`" in done.stderr

    def test_mlflow_out_of_reach(self, store: Store) -> None:
        uri = f"http://127.0.0.1:{free_ports()}"
        away = replace(store, environment=store.environment | {"MLFLOW_TRACKING_URI": uri})
        done = away.run(store.params("away"), "gate", *_sides(store))
        assert done.returncode == 6
        assert f"MLflow does not answer at {uri} (" in done.stderr
        assert "; nothing was started; --no-log goes without" in done.stderr
        assert "starting" not in done.stderr
        assert not _marked(store)

    def test_port_in_use(self, store: Store) -> None:
        first = free_ports(2 * PORTS)
        port = first + PORTS + 1
        with socket.create_server(("127.0.0.1", port)):
            done = store.run(store.params("port"), "gate", *_sides(store), "--port", str(first), "--no-log")
        assert done.returncode == 2, done.stderr
        assert f"cannot have port {port} (Address already in use)" in done.stderr
        assert not _marked(store)

    def test_a_bento_that_does_not_start(self, store: Store) -> None:
        tag = store.copy("broken", "\nraise RuntimeError('broken on purpose')\n")
        done = store.run(store.params("broken"), "gate", *_sides(store, tag), "--no-log")
        assert done.returncode == 9, done.stderr
        assert f"candidate ({tag})" in done.stderr
        assert "broken on purpose" in done.stderr
        assert not _marked(store)

    def test_no_request_in_a_round(self, store: Store) -> None:
        params = store.params("idle", load=1e-9)
        done = store.run(params, "gate", *_sides(store), "--no-log")
        assert done.returncode == 9, done.stderr
        assert "round 1: no request is due in 0.2 s at 1e-09 of the baseline's throughput" in done.stderr
        assert not _marked(store)

    def test_a_service_that_dies_in_a_round(self, store: Store) -> None:
        with store.start(store.params("dies", seconds=1.0), "gate", *_sides(store), "--no-log") as run:
            _until(run, "round 1 of")
            workers = [psutil.Process(pid) for pid in _marked(store)]
            (worker, *_) = [one for one in workers if "_bentoml_impl.worker.service" in one.cmdline()]
            worker.kill()
            _, told = run.communicate(timeout=60)
        assert run.returncode == 9, told
        assert f"of its 2 processes (pid {worker.pid}) died during the round" in told
        assert not _marked(store)

    @pytest.mark.parametrize(
        ("number", "code", "when"), [(signal.SIGINT, 130, "round 1 of"), (signal.SIGTERM, 143, "starting")]
    )
    def test_interrupted(self, store: Store, number: signal.Signals, code: int, when: str) -> None:
        with store.start(store.params("stop", seconds=1.0), "gate", *_sides(store), "--no-log") as run:
            _until(run, when)
            run.send_signal(number)
            _, told = run.communicate(timeout=60)
        assert run.returncode == code, told
        assert "Traceback" not in told
        assert not _marked(store)

    def test_what_a_killed_gate_leaves_behind_is_ended_by_the_next_one_and_nothing_else(self, store: Store) -> None:
        with store.start(store.params("killed"), "gate", *_sides(store), "--no-log") as run:
            _until(run, "warming up")
            run.kill()
        left = _marked(store)
        assert len(left) >= 4
        other = store.environment | {RUN: "/another/lock"}
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=other) as stranger:
            try:
                done = store.run(store.params("wrong-port"), "gate", *_sides(store), "--port", "70000", "--no-log")
                assert done.returncode == 2, done.stderr
                assert f"ended {len(left)} processes that an earlier run left behind" in done.stderr
                assert all(map(gone, left))
                assert stranger.poll() is None
            finally:
                stranger.kill()

    def test_two_gates_at_once(self, store: Store) -> None:
        with store.start(store.params("first"), "gate", *_sides(store), "--no-log") as run:
            _until(run, "warming up")
            second = store.run(store.params("second"), "gate", *_sides(store), "--no-log")
            run.terminate()
            run.communicate(timeout=60)
        assert second.returncode == 2
        assert "another run holds" in second.stderr
