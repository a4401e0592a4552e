from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from loadtests.serving import processes
from loadtests.serving.processes import Command, StartError, running

#: Answers every request with 200, and has a child in a session of its own.
SERVE = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
print("child", child.pid, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def command(code: str) -> Command:
    return Command("fake", (sys.executable, "-c", code, "{port}"), Path.cwd(), dict(os.environ), "/ready")


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_all_that_a_server_started_is_ended(tmp_path: Path) -> None:
    with running({"fake": command(SERVE)}, tmp_path) as started:
        server = started["fake"]
        child = int((tmp_path / "fake.log").read_text().split()[1])
        assert psutil.pid_exists(child)
        assert server.ready_seconds > 0
        assert server.processor_seconds() > 0
        assert server.memory().whole > server.memory().worker > 1_000_000
    assert gone(child)


def test_servers_are_ended_after_a_fault(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), running({"fake": command(SERVE)}, tmp_path):
        raise KeyboardInterrupt
    child = int((tmp_path / "fake.log").read_text().split()[1])
    assert gone(child)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    broken = command("raise SystemExit('no model here')")
    wanted = pytest.raises(StartError, match=r"fake ended with 1; the end of .*fake.log:\nno model here")
    with wanted, running({"fake": broken}, tmp_path):
        pass


def test_a_server_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "READY_SECONDS", 0.2)
    sleeping = command("import time; time.sleep(600)")
    with pytest.raises(StartError, match="fake was not ready after 0 s"), running({"fake": sleeping}, tmp_path):
        pass


def test_free_ports_are_in_a_row() -> None:
    port = processes.free_ports()
    assert 1_024 < port < 65_534
