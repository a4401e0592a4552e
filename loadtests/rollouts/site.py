"""A deployment of its own for a load test, driven by the commands that people use."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from data.command import say
from loadtests.faults import LoadtestError
from loadtests.ports import free_ports

ROOT = Path(__file__).parents[2]
#: How long a load runs unless it is ended.
LONGEST = "2h"
END_SECONDS = 60.0
#: What becomes of versions that are bad on purpose is no news of the model that they carry.
QUIET = {"DEPLOY_MLFLOW": "false"}


@dataclass(frozen=True)
class Done:
    """What a command did.

    Attributes:
        code: exit code.
        seconds: it took.
        lines: that it told people, with seconds since it began.
    """

    code: int
    seconds: float
    lines: list[tuple[float, str]]

    def when(self, words: str) -> float:
        """Seconds until a line with some words."""
        return next((at for at, line in self.lines if words in line), float("nan"))

    @property
    def last(self) -> str:
        """The line that says how it ended."""
        told = [line for _, line in self.lines if not line.startswith("report:")]
        return told[-1] if told else ""


@dataclass(frozen=True)
class Site:
    """A deployment.

    Attributes:
        folder: of it.
        params: its configuration.
        port: of the router.
    """

    folder: Path
    params: Path
    port: int

    @property
    def url(self) -> str:
        """Where users find it."""
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Begin a command; if the block fails or is interrupted, it is asked to end."""
        with subprocess.Popen(
            self._command(*arguments), **self._how, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            except BaseException:
                process.terminate()
                raise

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "deploy", "--params", str(self.params), *arguments]

    @property
    def _how(self) -> dict[str, Any]:
        return {"cwd": ROOT, "env": os.environ | {"DEPLOY_HOME": str(self.folder / "deployment")} | QUIET}

    def run(self, *arguments: str, loud: bool = False) -> Done:
        """Run a command to its end."""
        began, lines = time.monotonic(), []
        with self.start(*arguments) as process:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append((time.monotonic() - began, line.rstrip()))
                if loud:
                    say(f"  {line.rstrip()}")
        return Done(process.returncode, time.monotonic() - began, lines)

    def instance_port(self) -> int:
        """HTTP of an instance, past the router."""
        told = self.status()
        found = re.search(r" on (\d+) and \d+: ready", told)
        if not found:
            raise LoadtestError(f"no instance is ready: {told}")
        return int(found[1])

    def status(self) -> str:
        """What `deploy status` prints."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            self._command("status"), **self._how, capture_output=True, check=True, text=True
        )
        return done.stdout

    def must(self, *arguments: str) -> Done:
        """Run a command that has to succeed.

        Raises:
            LoadtestError: it did not.
        """
        done = self.run(*arguments)
        if done.code:
            raise LoadtestError(f"`deploy {' '.join(arguments)}` ended with {done.code}: {done.last}")
        return done


@contextlib.contextmanager
def up(tag: str, deploy: dict[str, Any], params: Path, keep: Path | None = None) -> Iterator[Site]:
    """Bring a Bento up on free ports, and end all of it.

    Args:
        tag: of the Bento.
        deploy: section of the configuration.
        params: the rest of it.
        keep: folder that the reports are copied to.
    """
    folder = Path(tempfile.mkdtemp(prefix="bentocast-rollouts-"))
    whole = yaml.safe_load(params.read_text(encoding="utf-8"))
    port, admin = free_ports(), free_ports()
    whole["deploy"] = deploy | {"router": {"port": port, "admin_ports": [admin]} | deploy.get("router", {})}
    own = folder / "params.yaml"
    own.write_text(yaml.safe_dump(whole), encoding="utf-8")
    site = Site(folder, own, port)
    try:
        site.must("up", tag)
        yield site
    finally:
        if site.run("down").code:  # whoever was interrupted has left a rollout under way
            site.run("abort")
            site.run("down")
        reports = folder / "deployment" / "reports"
        if keep and reports.is_dir():
            shutil.copytree(reports, keep, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Load:
    """Users who ask by a schedule, whatever the answers do.

    Attributes:
        requests: that were sent.
        failed: of these, without a right answer.
        faults: what was wrong, and how often.
        p95: seconds.
    """

    requests: int = 0
    failed: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    p95: float = float("nan")

    @classmethod
    @contextlib.contextmanager
    def on(cls, site: Site, rate: int, *users: str) -> Iterator[Load]:
        """Ask until the block ends; then the numbers are there.

        Args:
            site: whom.
            rate: requests/s.
            users: names of locust users; HTTP alone if there are none.
        """
        told = cls()
        output = site.folder / f"load-{time.monotonic_ns()}"
        command = [str(Path(sys.executable).with_name("locust")), "--headless", "--only-summary", "--csv", str(output)]
        command += ["-u", str(rate), "-r", str(rate), "-t", LONGEST, "--host", site.url, *(users or ("Native",))]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"LOADTEST_GRPC": f"127.0.0.1:{site.port}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as locust:
            try:
                yield told
            finally:
                locust.send_signal(signal.SIGTERM)
                try:
                    locust.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    locust.kill()
        told._read(output)

    def _read(self, output: Path) -> None:
        import csv

        with Path(f"{output}_stats.csv").open(newline="") as file:
            whole = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
        self.requests, self.failed = int(whole["Request Count"]), int(whole["Failure Count"])
        self.p95 = float(whole["95%"]) / 1e3 if whole["95%"] not in ("", "N/A") else float("nan")
        with Path(f"{output}_failures.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                self.faults[row["Error"]] = self.faults.get(row["Error"], 0) + int(row["Occurrences"])

    def __str__(self) -> str:
        faults = "; ".join(f"{count} x {fault[:100]}" for fault, count in sorted(self.faults.items()))
        return json.dumps({"requests": self.requests, "failed": self.failed}) + (f" {faults}" if faults else "")
