"""A machine on which the name localhost does not resolve, as a bare root file system is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loadtests.store import ROOT

UP = 'mount --bind "$1" /etc/hosts && exec "$2" -m deploy up'
RESOLVES = 'mount --bind "$1" /etc/hosts && exec "$2" -c "import socket; socket.gethostbyname(\'localhost\')"'


def without_hosts(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run where /etc/hosts is empty, for this process alone."""
    hosts = folder / "hosts"
    hosts.touch()
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(hosts), sys.executable],
        cwd=ROOT,
        env=os.environ | {"DEPLOY_HOME": str(folder / "deployment"), "BENTOML_HOME": str(folder / "bentoml")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_named_with_the_fix_before_anything_starts(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can hide /etc/hosts")
    if "gaierror" not in without_hosts(RESOLVES, tmp_path).stderr:
        pytest.skip("localhost resolves without /etc/hosts, or there are no mounts in here")
    done = without_hosts(UP, tmp_path)
    assert done.returncode == 10, done.stderr
    assert done.stderr.startswith("error: the name localhost does not resolve (")
    assert "add the line `127.0.0.1 localhost` to /etc/hosts, as root (`make localhost` does)" in done.stderr
    assert {path.name for path in (tmp_path / "deployment").iterdir()} <= {
        "journal.db",
        "journal.db-wal",
        "journal.db-shm",
    }
