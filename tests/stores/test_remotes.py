"""DVC's remotes, on real servers: what is pushed comes back bit for bit, also after a kill in the middle."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.stores.servers import BINARIES, ROOT, ObjectStore, Process, Sshd, documented, make_key, running
from tests.training import tiny

pytestmark = pytest.mark.services

MANY, LARGE_BYTES = 40, 48 << 20


@dataclass
class Project:
    """A folder under git and DVC, with a folder of many files and one large file."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> Project:
        """One whose data are in DVC's cache, and no remote."""
        draw = random.Random(0)
        (folder / "many").mkdir(parents=True)
        for number in range(MANY):
            (folder / "many" / f"{number}.bin").write_bytes(draw.randbytes(20_000))
        (folder / "large.bin").write_bytes(draw.randbytes(LARGE_BYTES))
        (folder / "params.yaml").write_text(yaml.safe_dump(tiny.params().model_dump(mode="json")))
        made = cls(folder)
        made.run("git", "init", "-q", "-b", "main")
        made.run("dvc", "init", "-q")
        made.run("dvc", "add", "-q", "many", "large.bin")
        made.commit()
        return made

    def commit(self) -> None:
        """All that git knows or may know."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "some")

    def clone(self, name: str) -> Project:
        """What a colleague has: git's files, and DVC's settings of this machine."""
        made = Project(self.folder.with_name(name), self.environment)
        self.run("git", "clone", "-q", str(self.folder), str(made.folder))
        local = Path(".dvc/config.local")
        if (self.folder / local).exists():
            shutil.copy(self.folder / local, made.folder / local)
        return made

    def copy(self, name: str) -> Project:
        """Another one like it, with its cache."""
        folder = self.folder.with_name(name)
        shutil.copytree(self.folder, folder)
        return Project(folder, dict(self.environment))

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command that goes on."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GIT_"))}
        environment |= {"PATH": f"{BINARIES}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ended(self, *command: str) -> tuple[int, str]:
        """Exit code of a command and all that it said."""
        started = self.start(*command)
        told = "\n".join(started.communicate(timeout=200))
        return started.returncode, told

    def run(self, *command: str) -> str:
        """A command that succeeds."""
        code, told = self.ended(*command)
        assert code == 0, told
        return told

    def follow(self, block: str) -> None:
        """Run what the documentation says, and keep it in git."""
        for line in block.splitlines():
            self.run(*shlex.split(line, comments=True))
        self.commit()

    def check(self) -> tuple[int, str]:
        """`python -m data remote`."""
        return self.ended(sys.executable, "-m", "data", "remote")

    def contents(self) -> dict[str, bytes]:
        """The data."""
        files = [self.folder / "large.bin", *(self.folder / "many").glob("*")]
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in files if file.exists()}


@dataclass(frozen=True)
class Remote:
    """Where a project's data go.

    Attributes:
        project: that has it as its remote.
        sizes: gives the size of each object that is there by its hash.
        spoil: changes a byte of an object.
        server: that keeps it.
    """

    project: Project
    sizes: Callable[[], dict[str, int]]
    spoil: Callable[[str], None]
    server: Process | None = None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.make(tmp_path_factory.mktemp("made") / "project")


@pytest.fixture(params=["folder", "s3", "ssh"])
def remote(request: pytest.FixtureRequest, made: Project, tmp_path: Path) -> Iterator[Remote]:
    """An empty remote of a kind; its server runs."""
    project = Project(tmp_path / "project")
    shutil.copytree(made.folder, project.folder)
    with contextlib.ExitStack() as stack:
        yield REMOTES[str(request.param)](project, tmp_path, stack)


def folder_remote(project: Project, place: Path, _: contextlib.ExitStack) -> Remote:
    """As the project has it from the beginning."""
    shutil.copy(ROOT / ".dvc" / "config", project.folder / ".dvc" / "config")
    project.commit()
    return in_a_folder(project, place / "dvc-remote")


def ssh_remote(project: Project, place: Path, stack: contextlib.ExitStack) -> Remote:
    server = Sshd(place / "sshd")
    stack.enter_context(running(server))
    meant = {"ssh://USER@HOST/srv/bentocast": server.url, "~/.ssh/id_ed25519": str(server.key)}
    project.follow(documented("sh", "dvc remote add --default team ssh://", meant))
    return in_a_folder(project, server.folder, server)


def s3_remote(project: Project, place: Path, stack: contextlib.ExitStack) -> Remote:
    server = ObjectStore(place)
    stack.enter_context(running(server))
    server.s3.create_bucket(Bucket="data")
    project.environment |= {name: value for name, value in server.client_environment.items() if "ENDPOINT" not in name}
    meant = {"s3://BUCKET/bentocast": "s3://data/bentocast", "https://HOST": server.url}
    project.follow(documented("sh", "dvc remote add --default team s3://", meant))

    def sizes() -> dict[str, int]:
        found = server.s3.list_objects_v2(Bucket="data").get("Contents", [])
        return {"".join(one["Key"].split("/")[-2:]): one["Size"] for one in found}

    def spoil(oid: str) -> None:
        key = f"bentocast/files/md5/{oid[:2]}/{oid[2:]}"
        content = server.s3.get_object(Bucket="data", Key=key)["Body"].read()
        server.s3.put_object(Bucket="data", Key=key, Body=spoilt(content))

    return Remote(project, sizes, spoil, server)


REMOTES = {"folder": folder_remote, "s3": s3_remote, "ssh": ssh_remote}


def in_a_folder(project: Project, folder: Path, server: Process | None = None) -> Remote:
    def sizes() -> dict[str, int]:
        found = {}
        for file in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a file that is being written gets its name in the end
                if file.is_file():
                    found["".join(file.parts[-2:])] = file.stat().st_size
        return found

    def spoil(oid: str) -> None:
        file = folder / "files" / "md5" / oid[:2] / oid[2:]
        content, mode = file.read_bytes(), file.stat().st_mode
        file.unlink()
        file.write_bytes(spoilt(content))
        file.chmod(mode)  # DVC looks into files of a folder that can be written to, and trusts the others

    return Remote(project, sizes, spoil, server)


def spoilt(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def large(project: Project) -> str:
    """Hash of the large file."""
    outs = yaml.safe_load((project.folder / "large.bin.dvc").read_text())["outs"]
    return str(outs[0]["md5"])


def test_what_is_pushed_comes_back_bit_for_bit(remote: Remote) -> None:
    remote.project.run("dvc", "push")
    clone = remote.project.clone("clone")
    clone.run("dvc", "pull")
    assert clone.contents() == remote.project.contents()
    assert len(clone.contents()) == MANY + 1
    code, told = remote.project.check()
    assert (code, f"holds all {MANY + 2} objects" in told) == (0, True), told


@pytest.mark.parametrize("remote", ["s3", "ssh"], indirect=True)  # into a folder it is over before anybody can look
def test_a_push_that_is_killed_goes_on(remote: Remote) -> None:
    project = remote.project
    pushing = project.start("dvc", "push", "--jobs", "1")
    late = time.monotonic() + 60
    while not 2 < len(remote.sizes()) < MANY:
        assert pushing.poll() is None, pushing.communicate()
        assert time.monotonic() < late
    os.killpg(pushing.pid, signal.SIGKILL)
    pushing.communicate()
    assert len(remote.sizes()) < MANY
    again = project.run("dvc", "push")
    pushed = re.search(r"(\d+) files pushed", again)
    assert pushed is not None, again
    assert int(pushed[1]) < MANY + 2  # what was there was not sent again
    whole(remote)


@pytest.mark.parametrize("remote", ["folder", "ssh"], indirect=True)
def test_a_large_file_that_is_cut_off_goes_on(remote: Remote) -> None:
    """No half object stands under its name; S3 itself shows whole ones only."""
    project, oid = remote.project, large(remote.project)
    pushing = project.start("dvc", "push", "large.bin")
    late = time.monotonic() + 60
    while not any(size > 1_000_000 for size in remote.sizes().values()):
        assert pushing.poll() is None, pushing.communicate()
        assert time.monotonic() < late
    os.killpg(pushing.pid, signal.SIGKILL)
    pushing.communicate()
    assert remote.sizes().get(oid) in (None, LARGE_BYTES)
    project.run("dvc", "push")
    whole(remote)


def whole(remote: Remote) -> None:
    """The remote holds everything, and a colleague gets it."""
    code, told = remote.project.check()
    assert (code, "uploaded again" in told) == (0, False), told
    clone = remote.project.clone("clone")
    clone.run("dvc", "pull")
    assert clone.contents() == remote.project.contents()


def test_a_damaged_object_is_noticed_and_mended(remote: Remote) -> None:
    project, oid = remote.project, large(remote.project)
    project.run("dvc", "push")
    remote.spoil(oid)
    assert "Everything is up to date" in project.run("dvc", "push")  # by its names
    clone = project.clone("clone")
    code, told = clone.ended("dvc", "pull")
    assert code != 0, told
    assert "large.bin" in told
    assert "large.bin" not in clone.contents()
    code, told = clone.check()
    assert code == 4, told
    assert "lacks 1 objects, or holds them damaged, and the cache here does not have them either: " + oid in told
    code, told = project.check()
    assert (code, f"{oid} was missing or damaged, uploaded again" in told) == (0, True), told
    clone.run("dvc", "pull")
    assert clone.contents() == project.contents()


def test_without_verify_dvc_does_not_notice_a_damaged_object(remote: Remote) -> None:
    """Why the project's remotes have it; if this fails, DVC has learned it."""
    project, oid = remote.project, large(remote.project)
    project.run("dvc", "push")
    remote.spoil(oid)
    clone = project.clone("clone")
    name = clone.run("dvc", "remote", "list").split()[0]
    clone.run("dvc", "remote", "modify", "--local", name, "verify", "false")
    clone.run("dvc", "pull")
    assert clone.contents()["large.bin"] != project.contents()["large.bin"]


@pytest.mark.parametrize("remote", ["s3", "ssh"], indirect=True)
def test_a_remote_that_is_away_is_named(remote: Remote, tmp_path: Path) -> None:
    project = remote.project
    url = project.run("dvc", "config", "remote.team.url").strip()
    if url.startswith("s3"):
        project.run("dvc", "remote", "modify", "team", "url", "s3://nobody/bentocast")
        wanted = "nobody"
    else:
        make_key(tmp_path / "other")
        project.run("dvc", "remote", "modify", "--local", "team", "keyfile", str(tmp_path / "other"))
        wanted = "Permission denied"
    code, told = project.ended("dvc", "push")
    assert code != 0, told
    assert wanted in told or "does not exist" in told, told
    code, told = project.check()
    assert code == 4, told
    assert "DVC's remote (the default one)" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("remote", ["ssh"], indirect=True)
def test_dvc_does_not_know_the_key_of_the_server(remote: Remote, tmp_path: Path) -> None:
    """So docs/operating.md says: only through a network that is trusted. If this fails, DVC has learned it."""
    assert remote.server is not None
    remote.project.run("dvc", "push", "many")
    remote.server.kill()
    make_key(tmp_path / "sshd" / "host")
    remote.server.start()
    remote.project.run("dvc", "push")
