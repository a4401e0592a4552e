"""Real servers for tests: a Prometheus, and pages for it to read that play a script."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from monitoring.prometheus import Prometheus
from tests.ports import free_ports

READY_SECONDS = 30.0


def program(name: str) -> str:
    """A program of Debian's packages; without it the test is skipped."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed: make test-services as root, or apt-get install prometheus")
    return found


def wait_for(done: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Wait until something is so."""
    late = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < late, what
        time.sleep(0.02)


def answers(url: str) -> bool:
    """Whether an address answers with 200."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).status_code == 200
    return False


@dataclass(frozen=True)
class Running:
    """A Prometheus that runs.

    Attributes:
        port: of it.
        process: that can be killed.
    """

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def at(self, now: float | None = None) -> Prometheus:
        """The adapter, at a moment (now)."""
        return Prometheus(self.url, time.time() if now is None else now)


@contextlib.contextmanager
def prometheus(folder: Path, config: Mapping[str, Any]) -> Iterator[Running]:
    """Run Prometheus; what it knows is in the folder, and still there for another one afterwards."""
    port = free_ports()
    options = (f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}")
    with _running("prometheus", f"http://127.0.0.1:{port}", folder, config, *options) as process:
        yield Running(port, process)


@contextlib.contextmanager
def alertmanager(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Run Alertmanager; its address."""
    address = f"127.0.0.1:{free_ports()}"
    options = (f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={address}")
    arguments = (*options, "--cluster.listen-address=")
    with _running("prometheus-alertmanager", f"http://{address}", folder, config, *arguments):
        yield f"http://{address}"


@contextlib.contextmanager
def _running(
    name: str, url: str, folder: Path, config: Mapping[str, Any], *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program with a configuration, from when it is ready on until it is killed."""
    folder.mkdir(exist_ok=True)
    file, log = folder / f"{name}.yml", folder / f"{name}.log"
    file.write_text(yaml.safe_dump(dict(config)))
    command = [program(name), f"--config.file={file}", *arguments]
    with log.open("ab") as target:
        process = subprocess.Popen(command, cwd=folder, stdout=target, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: process.poll() is not None or answers(f"{url}/-/ready"), f"{name} is not ready")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()


class Pages(http.server.ThreadingHTTPServer):
    """A server of pages that play a script: each time a path is asked for it is the next page, at last the last one.

    A page that is None is answered with 503.
    """

    daemon_threads = True

    def __init__(self, script: Mapping[str, Sequence[str | None]]) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.script = script
        self.asked = dict.fromkeys(script, 0)

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self.server_address[1])

    def next(self, path: str) -> str | None:
        """The page that is due."""
        pages = self.script[path]
        page = pages[min(self.asked[path], len(pages) - 1)]
        self.asked[path] += 1
        return page


class _Page(http.server.BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        page = self.server.next(self.path)
        self.send_response(503 if page is None else 200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write((page or "").encode())

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def pages(script: Mapping[str, Sequence[str | None]]) -> Iterator[Pages]:
    """Serve a script on a free port."""
    server = Pages(script)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
