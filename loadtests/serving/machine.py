"""Where a run was made: machine, load, versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import psutil

from loadtests.serving import h2load, making
from loadtests.serving.settings import NAMES, ROOT

OF_SERVERS = {
    "ours": ("bentoml", "uvicorn", "uvloop", "httptools", "onnxruntime", "numpy", "grpcio", "sqlalchemy"),
    "stock_bentoml": ("bentoml", "scikit-learn", "uvicorn"),
    "mlserver": ("mlserver", "mlserver-sklearn", "scikit-learn", "uvloop"),
    "mlflow": ("mlflow", "scikit-learn", "uvicorn"),
    "fastapi": ("fastapi", "onnxruntime", "pydantic", "uvicorn", "uvloop", "httptools"),
}


def describe(peers: tuple[str, ...]) -> dict[str, str]:
    """Machine, interpreter and versions, each in one line."""
    found = {
        "machine": f"{psutil.cpu_count()} cores, {_processor()}, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "commit": _commit(),
        "load generator": h2load.version(),
    }
    return found | {NAMES[server]: ", ".join(_locked(server)) for server in ("ours", *peers)}


def load_average() -> str:
    """Of the last minute, five and fifteen."""
    return " ".join(f"{average:.2f}" for average in os.getloadavg())


def _locked(peer: str) -> list[str]:
    """Versions of a server's lock file; of several for several Pythons, the first."""
    text = making.lock_file(peer).read_text(encoding="utf-8")
    versions: dict[str, str] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", text, re.MULTILINE):
        versions.setdefault(name, version)
    return [f"{name} {versions[name]}" for name in OF_SERVERS[peer] if name in versions]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
