"""`python -m monitoring up`: all servers, real ones, started and ended together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from data import ending, params
from deploy.running import processes
from monitoring import servers, up
from monitoring.prometheus import Prometheus
from tests.monitoring.servers import pages, program, wait_for
from tests.ports import free_ports

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
PAGE = 'model_info{model="m",version="3",bento="b:1",run_id="r",git_commit="c"} 1\n'


class Up:
    """The command, as somebody runs it."""

    def __init__(self, home: Path, *more: str, **environ: str) -> None:
        names = ("prometheus", "alertmanager", "pushgateway", "exporter")
        self.home, self.port = home, free_ports()
        ports = [f"{name}={free_ports()}" for name in names[1:]]
        arguments = ["up", "--home", str(home), "--ports", f"prometheus={self.port}", *ports, *more]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "monitoring", *arguments],
            cwd=ROOT,
            env={**os.environ, "DEPLOY_HOME": str(home / "none"), **environ},
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> str:
        """Until it says that all is up."""
        assert self.process.stderr is not None
        said = ""
        while "Ctrl-C" not in (line := self.process.stderr.readline()):
            assert line, said
            said += line
        return said

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def left(self) -> int:
        return len(ending.marked(processes.MARK, f"{self.home.resolve()}:monitoring"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    for name in ("prometheus", "prometheus-alertmanager", "prometheus-pushgateway"):
        program(name)
    yield tmp_path / "home"
    ending.end(ending.marked(processes.MARK, f"{(tmp_path / 'home').resolve()}:monitoring"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_is_asked_and_all_ends(home: Path, number: int) -> None:
    with pages({"/metrics": [PAGE]}) as service:
        up = Up(home, "--target", f"127.0.0.1:{service.port}")
        said = up.wait()
        assert f"http://127.0.0.1:{up.port}" in said
        assert f"watched      127.0.0.1:{service.port}" in said

        def found(expression: str) -> float:
            asked = Prometheus(f"http://127.0.0.1:{up.port}", time.time())
            return next((sample.value for sample in asked.query(expression)), 0.0)

        wait_for(lambda: found("sum(up)") == 5, "not all five are asked", 60)
        assert found("count(ml_test_run_timestamp_seconds)") == 7
        assert found("count(model_info)") == 1
        assert found("count(ALERTS)") >= 0
    assert up.end(number) == 0
    assert up.left() == 0


def test_a_deployment_is_found_and_its_labels_do_not_hide_the_pages(home: Path) -> None:
    """As the keeper writes whom to ask; `model_info` has a `version` of its own."""
    kept, dropped = "envoy_cluster_upstream_rq_xx", "envoy_cluster_assignment_stale"
    router = f'{kept}{{envoy_cluster_name="a"}} 1\n{dropped}{{envoy_cluster_name="a"}} 1\n'
    worker = PAGE + 'model_rows_total{pid="7"} 1\nmodel_rows_created 2\n'
    with pages({"/metrics": [worker], "/stats/prometheus": [router]}) as served:
        groups = [
            {"job": "bentocast", "version": "jz2", "instance_name": "jz2-1"},
            {"job": "router", "__metrics_path__": "/stats/prometheus"},
        ]
        targets = [{"targets": [f"127.0.0.1:{served.port}"], "labels": labels} for labels in groups]
        (home / "none").mkdir(parents=True)
        (home / "none" / "targets.json").write_text(json.dumps(targets))
        up = Up(home)
        assert "targets.json" in up.wait()

        def series(name: str) -> list[dict[str, str]]:
            found = Prometheus(f"http://127.0.0.1:{up.port}", time.time()).query(name)
            return [dict(sample.labels) for sample in found]

        wait_for(lambda: bool(series("model_info") and series(kept)), "the deployment is not asked", 60)
        own = {"service_version": "jz2", "instance": "jz2-1"}
        assert series("model_info") == [
            {"model": "m", "version": "3", "bento": "b:1", "run_id": "r", "git_commit": "c", **own}
        ]
        assert series("model_rows_total") == [own]
        assert series("up{job='bentocast'}") == [own]
        assert series("model_rows_created") == series(dropped) == []
    assert up.end() == 0


def test_a_deployment_that_comes_later_is_watched_in_place_of_the_service_of_make_run(home: Path) -> None:
    """Else that service, which nobody ever started, would be an instance that is down until monitoring is started again."""
    home.mkdir()
    config, targets = params.load(ROOT / "params.yaml"), home / "targets.json"

    def watched() -> list[str]:
        jobs = yaml.safe_load((home / servers.PROMETHEUS).read_text())["scrape_configs"]
        return [
            target for job in jobs if job["job_name"] == "bentocast" for target in job["static_configs"][0]["targets"]
        ]

    made = up.plan(home, ROOT / "params.yaml", {}, targets, ())
    servers.write(home, config, made.addresses)
    # A test that is run by nohup leaves what it starts deaf to SIGHUP.
    hears = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", hears], stdout=subprocess.PIPE) as prometheus:
        assert prometheus.stdout is not None
        prometheus.stdout.readline()
        assert up._deployed(made, config, prometheus) == made
        assert watched() == [up.SERVICE]
        targets.write_text("[]")
        after = up._deployed(made, config, prometheus)
        assert prometheus.wait(10) == -signal.SIGHUP, "Prometheus reads its file again at that"
        assert watched() == []
        assert up._deployed(after, config, prometheus) == after
    asked = up.plan(home, ROOT / "params.yaml", {}, home / "none.json", ("127.0.0.1:4000",))
    assert (asked.addresses.services, asked.instead) == (("127.0.0.1:4000",), False)


def test_what_a_killed_one_left_is_ended_by_the_next(home: Path) -> None:
    killed = Up(home)
    killed.wait()
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    assert killed.left() >= 4
    after = Up(home)
    after.wait()
    assert after.left() == killed.left()
    assert after.end() == 0
    assert after.left() == 0


def test_there_is_one_in_a_folder(home: Path) -> None:
    first = Up(home)
    first.wait()
    _, said = Up(home).process.communicate(timeout=60)
    assert "run already: end them where they were started, with Ctrl-C" in said
    assert first.left() >= 4
    assert first.end() == 0


def test_one_that_ends_by_itself_ends_all_with_its_reason(home: Path) -> None:
    up = Up(home, ALERT_WEBHOOK="https://[")
    _, said = up.process.communicate(timeout=60)
    assert up.process.returncode == 10
    assert "alertmanager has ended with code 1; the end of " in said
    assert up.left() == 0


def test_a_port_that_is_taken_is_said(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = Up(home, "--ports", f"alertmanager={port}")
        _, said = up.process.communicate(timeout=60)
    assert up.process.returncode == 2
    assert f"alertmanager: port {port} of 127.0.0.1 is taken: give another one with --ports alertmanager=N" in said


def test_what_is_not_installed_is_said(tmp_path: Path) -> None:
    up = Up(tmp_path, PATH="/nowhere")
    _, said = up.process.communicate(timeout=60)
    assert up.process.returncode == 2
    assert "Prometheus is not installed: apt-get install --no-install-recommends prometheus" in said
