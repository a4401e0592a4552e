"""Servers and runs that do as little as the tests of processes need."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from loadtests.processes import Command

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0

#: Answers every request with 200, and has a child in a session of its own; `/helper` starts one more, `/swap` another one.
SERVE = """
import http.server, subprocess, sys
def start():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
children = [start()]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/swap":
            child = children.pop()
            child.kill()
            child.wait()
        if self.path in ("/swap", "/helper"):
            children.append(start())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(children[-1].pid).encode())
print("child", children[0].pid, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

#: Never answers, and has a child in a session of its own.
HANG = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("child", child.pid, flush=True)
time.sleep(600)
"""


def command(code: str, port: int | None = None) -> Command:
    return Command("fake", (sys.executable, "-c", code, "{port}"), Path.cwd(), dict(os.environ), "/ready", port)


def run(code: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A run in a process of its own: some Python, in the project's folder."""
    command_line = [sys.executable, "-W", "error", "-c", code, *arguments]
    env = {**os.environ, **(environment or {})}
    return subprocess.Popen(command_line, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sleeper(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    code = "import time; time.sleep(600)"
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **environment})


def child(log: Path) -> int:
    """Pid of a server's child, once the server has told it."""
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"), f"{log} tells no child")
    return int(log.read_text().split()[1])


def get(port: int, path: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_SECONDS) as answer:
        return int(answer.read())


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_for(happened: Callable[[], bool], otherwise: str) -> None:
    late = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert time.monotonic() < late, otherwise
        time.sleep(0.01)
