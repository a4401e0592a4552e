"""A deployment of real Bentos behind a real Envoy, for tests, and users who ask it without a pause."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.loadtests.store import ROOT, Store
from tests.ports import free_ports

DEADLINE_SECONDS = 90.0

#: Steps that are over in seconds, and a judge that is sure enough after some hundred requests.
PLAN: dict[str, Any] = {
    "judgement": {"requests": 200, "slowness": {"tolerated": 3.0, "excluded": 10.0, "share": 0.05}},
    "canary": {
        "steps": [
            {"mirror": 1.0, "requests": 30, "at_most": "1min"},
            {"weight": 0.2, "requests": 100, "at_most": "1min"},
            {"weight": 0.5, "requests": 200, "at_most": "1min"},
        ]
    },
    "blue_green": {"steps": [{"mirror": 1.0, "requests": 100, "at_most": "1min"}], "keep": True},
    "shadow": {"steps": [{"mirror": 0.5, "requests": 100, "at_most": "1min"}], "end": "stop"},
    "rolling": {"steps": [{"weight": 0.5, "requests": 200, "at_most": "1min"}], "replace": True},
}


@dataclass(frozen=True)
class Deployment:
    """What is brought up and changed by commands.

    Attributes:
        store: of Bentos.
        folder: of the deployment.
        params: its configuration.
        port: of the router.
        journal_url: of the journal, if it is not in the folder.
    """

    store: Store
    folder: Path
    params: Path
    port: int
    journal_url: str = ""

    @classmethod
    def make(cls, store: Store, folder: Path, **changes: Any) -> Deployment:
        """A configuration with free ports."""
        port = free_ports()
        admin = free_ports()
        whole = yaml.safe_load((ROOT / "params.yaml").read_text())
        whole["deploy"] = PLAN | {"router": {"port": port, "admin_ports": [admin], "access_log": True}} | changes
        params = folder / "params.yaml"
        params.write_text(yaml.safe_dump(whole))
        return cls(store, folder / "deployment", params, port)

    @property
    def url(self) -> str:
        """Where users find it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of commands. On a busy machine a burst may wait: what is refused then is not what is tested here."""
        return self.store.environment | {
            "DEPLOY_HOME": str(self.folder),
            "DEPLOY_JOURNAL_URL": self.journal_url,
            "BENTOCAST_MAX_WAIT_SECONDS": "30",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run a command beside the test."""
        return subprocess.Popen(
            [sys.executable, "-m", "deploy", "--params", str(self.params), *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*arguments)
        told, errors = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, told, errors)

    def status(self) -> str:
        """What `status` prints."""
        done = self.run("status")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def processes(self, kind: str) -> list[psutil.Process]:
        """Those that the keeper started whose name begins so: `router`, `keeper` or a version."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                if process.environ().get("DEPLOY_PROCESS", "").startswith(f"{self.folder}:{kind}"):
                    found.append(process)
        return found

    @property
    def stable(self) -> str:
        """Name of the version that serves."""
        return next(line for line in self.status().splitlines() if line.endswith("(stable)")).split(":")[0].strip()

    def faults(self) -> list[str]:
        """What the router answered with other than 200, as its log tells."""
        rows = (json.loads(line) for line in (self.folder / "router" / "access.log").read_text().splitlines())
        return [
            f"{row['at']} {row['status']} {row['flags']} {row['attempts']} {row['cluster']}"
            for row in rows
            if row["status"] != 200
        ]

    def end(self) -> None:
        """End what is left, whatever the state."""
        self.run("down")
        for process in self.processes(""):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


@dataclass
class Users:
    """Users who ask again as soon as they are answered, and try once more if they cannot connect.

    Attributes:
        answered: answers by status; 0 is none at all.
        bentos: answers by the Bento that gave them.
        pause_seconds: between an answer and the next request.
    """

    answered: Counter[int] = field(default_factory=Counter)
    bentos: Counter[str] = field(default_factory=Counter)
    pause_seconds: float = 0.01
    _over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    @contextlib.contextmanager
    def asking(cls, url: str, body: dict[str, Any], many: int = 2, pause_seconds: float = 0.01) -> Iterator[Users]:
        """Ask until the block ends."""
        users = cls(pause_seconds=pause_seconds)
        threads = [threading.Thread(target=users._ask, args=(url, body)) for _ in range(many)]
        for thread in threads:
            thread.start()
        try:
            yield users
        finally:
            users._over.set()
            for thread in threads:
                thread.join()

    def _ask(self, url: str, body: dict[str, Any]) -> None:
        transport = httpx.HTTPTransport(retries=5)  # of connections that cannot be made, never of requests
        with httpx.Client(base_url=url, transport=transport, timeout=60) as client:
            while not self._over.wait(self.pause_seconds):
                try:
                    answer = client.post("/v1/timeseries/forecast", json=body)
                except httpx.HTTPError:
                    self.answered[0] += 1
                    continue
                self.answered[answer.status_code] += 1
                self.bentos[answer.headers.get("x-bento", "?")] += 1


def wait_for(happened: Callable[[], bool], otherwise: str) -> None:
    late = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert time.monotonic() < late, otherwise
        time.sleep(0.05)


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        os.kill(process.pid, signal.SIGKILL)


def fill(disk: Path) -> Path:
    """Leave no room on a disk; the file that takes it all."""
    filling = disk / "filling"
    with filling.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
    return filling
