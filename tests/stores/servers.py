"""The servers that a team's stores run on, as processes of the tests' own on free ports, that can be killed and come back."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_ports

READY_SECONDS, END_SECONDS = 120.0, 30.0
#: Of the object store.
KEYS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "s3cret-key", "AWS_DEFAULT_REGION": "us-east-1"}
USER, PASSWORD = "admin", "s3cret-pass-of-mlflow"
BINARIES = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
#: As docs/operating.md writes it.
DATABASE = "postgresql+psycopg://USER:PASSWORD@HOST/mlflow"


def documented(language: str, beginning: str, meant: Mapping[str, str]) -> str:
    """A block of docs/operating.md, with its placeholders filled in.

    Args:
        language: of the block.
        beginning: of a line in it.
        meant: by what stands there.
    """
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "operating.md").read_text(), re.DOTALL)
    (found,) = (block for block in blocks if re.search(rf"^{re.escape(beginning)}", block, re.MULTILINE))
    for text, value in meant.items():
        assert text in found, text
        found = found.replace(text, value)
    return str(found.replace("\\\n", ""))


@dataclass
class Process:
    """A server that is started, killed, and started again on the same port.

    Attributes:
        command: that runs it.
        port: that it listens on.
        log: what it prints.
        environment: added to the tests' own, or (None) taken out of it.
        answers: whether it is ready, once its port takes connections.
    """

    command: list[str]
    port: int
    log: Path
    environment: Mapping[str, str | None] = field(default_factory=dict)
    answers: Callable[[], bool] = lambda: True
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
        environment = {name: value for name, value in environment.items() if self.environment.get(name, "") is not None}
        environment |= {name: value for name, value in self.environment.items() if value is not None}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.log.parent,
                start_new_session=True,
            )
        late = time.monotonic() + READY_SECONDS
        while not (self._listens() and self.answers()):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < late, self.log.read_text()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)

    def kill(self) -> None:
        """Kill it and what it has started, without a chance to tidy up."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait(END_SECONDS)
            self._process = None
            late = time.monotonic() + END_SECONDS
            while self._listens():  # what it has started may end after it
                assert time.monotonic() < late, f"port {self.port} is still listened to"
                time.sleep(0.01)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2):
            return True
        return False


def is_ok(url: str) -> bool:
    """Whether an address answers, be it that it wants a password."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as err:
        return err.code in (401, 403)
    except OSError:
        return False


class ObjectStore(Process):
    """moto's server, which speaks the API of S3. What it holds is in its memory, and comes back by playing its record."""

    def __init__(self, folder: Path) -> None:
        port = free_ports()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            [sys.executable, str(Path(__file__).with_name("object_store.py")), "-H", "127.0.0.1", "-p", str(port)],
            port,
            folder / "moto.log",
            {"MOTO_ENABLE_RECORDING": "True", "MOTO_RECORDER_FILEPATH": str(folder / "moto.record")},
            lambda: is_ok(f"{self.url}/moto-api/data.json"),
        )
        self._record = folder / "moto.record"

    @property
    def client_environment(self) -> dict[str, str]:
        """What a client needs to find it and to be let in."""
        return KEYS | {"AWS_ENDPOINT_URL": self.url}

    @property
    def s3(self) -> Any:
        """A client of Amazon's own library."""
        import boto3  # type: ignore[import-untyped]

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All that a bucket holds."""
        s3 = self.s3
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def start(self) -> None:
        """Start it with what it held before."""
        before = self._record.exists()
        super().start()
        if before:
            request = urllib.request.Request(f"{self.url}/moto-api/recorder/replay-recording", method="POST")
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status == 200


class Sshd(Process):
    """Debian's sshd as an ordinary process, that lets in whoever runs the tests, with a key made for it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.key, self.folder = folder / "key", folder / "remote"
        for name in ("host", "key"):
            make_key(folder / name)
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        port = free_ports()
        settings = {
            "Port": port,
            "ListenAddress": "127.0.0.1",
            "HostKey": folder / "host",
            "PidFile": "none",
            "AuthorizedKeysFile": folder / "authorized_keys",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "Subsystem": "sftp internal-sftp",
        }
        (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        super().__init__([program(), "-D", "-e", "-f", str(folder / "sshd_config")], port, folder / "sshd.log")
        self.url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{self.folder}"


def make_key(path: Path) -> None:
    """A pair of keys without a passphrase; one that is there is replaced."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def program() -> str:
    """sshd, by its whole path, as it wants to be called; without it the test is skipped."""
    found = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not found:
        pytest.skip("sshd is not installed: make test-services as root, or apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return found


class Tracking(Process):
    """`mlflow server` with passwords.

    Args:
        folder: for its settings and its log.
        database: URL of its runs and its registry; users are kept there too.
        artifacts: a folder, or an address on an object store.
        store: the object store that it speaks to.
        direct: clients speak to the store themselves, instead of through the server.
    """

    def __init__(
        self, folder: Path, database: str, artifacts: str, store: ObjectStore | None = None, *, direct: bool = False
    ) -> None:
        folder.mkdir(exist_ok=True)
        port = free_ports()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "auth.ini").write_text(documented("ini", "[mlflow]", {DATABASE: database}))
        meant = {"0.0.0.0": "127.0.0.1", "mlflow.example.org": f"127.0.0.1:{port}", DATABASE: database}
        block = documented("sh", "mlflow server", meant | {"s3://BUCKET/mlflow": artifacts})
        (line,) = (line for line in block.splitlines() if line.startswith("mlflow server"))
        words = [str(BINARIES / "mlflow"), *shlex.split(line)[1:], "--port", str(port), "--workers", "1"]
        if direct:
            place = words.index("--artifacts-destination")
            words[place : place + 1] = ["--no-serve-artifacts", "--default-artifact-root"]
        super().__init__(
            words,
            port,
            folder / "mlflow.log",
            {
                "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
                "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "s3cret-of-cookies",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                **(store.client_environment if store else {}),
            },
            lambda: is_ok(f"{self.url}/health"),
        )
        self.client_environment = {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        }


@contextlib.contextmanager
def running(server: Process) -> Iterator[None]:
    """Run a server, and kill it in the end."""
    try:
        server.start()
        yield
    finally:
        server.kill()
