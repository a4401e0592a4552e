"""How long a run measures, and where it keeps what it makes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "loadtests" / "peers"
#: Virtual environments, models, stores and logs; git ignores it.
CACHE = ROOT / ".peers"

NAMES = {
    "ours": "ours",
    "stock_bentoml": "stock BentoML",
    "mlserver": "MLServer",
    "mlflow": "mlflow models serve",
    "fastapi": "FastAPI + onnxruntime",
}
WORKS = {"rows": "A: 24 rows x 18 columns", "forecast": "B: one series of 768 points"}


@dataclass(frozen=True)
class Settings:
    """What one run does.

    Attributes:
        rounds: times that every server is measured, in random order.
        seconds: of load in a measurement.
        warm_up: seconds of load before it.
        tail_seconds: of load for the percentiles of ours.
        peer_tail_seconds: of load for those of the peers.
        overload_seconds: of overload.
        soak: requests after which memory is looked at again.
        peers: servers compared with ours.
        seed: of the order of servers and of arrivals.
    """

    rounds: int = 5
    seconds: int = 5
    warm_up: int = 1
    tail_seconds: int = 60
    peer_tail_seconds: int = 15
    overload_seconds: int = 30
    soak: int = 200_000
    peers: tuple[str, ...] = tuple(name for name in NAMES if name != "ours")
    seed: int = 0

    @property
    def servers(self) -> tuple[str, ...]:
        """Ours and the peers."""
        return ("ours", *self.peers)


QUICK = Settings(rounds=2, seconds=2, tail_seconds=5, peer_tail_seconds=5, overload_seconds=3, soak=20_000)


def environment(binaries: Path, **more: str) -> dict[str, str]:
    """Environment of a command from a virtual environment: none of ours leaks in, nothing calls home.

    One OpenMP thread: with two, scikit-learn's threads wait for each other on cores that the load
    generator needs too, and a peer falls to a few requests a second.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "WORK"}
        and not key.lower().endswith("_proxy")
        and not key.startswith(("BENTOML_", "MLFLOW_", "MLSERVER_"))
    }
    return kept | {
        "PATH": f"{binaries}{os.pathsep}{kept.get('PATH', '')}",
        "OMP_NUM_THREADS": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def own_binaries() -> Path:
    """Where the project's own commands are."""
    return Path(sys.executable).parent
