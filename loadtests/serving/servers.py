"""How each server is started for each work: a table of commands, as the servers' own documentation has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from loadtests.processes import Command
from loadtests.serving import making
from loadtests.serving.settings import PEERS, ROOT, WORKS, environment


def commands(servers: tuple[str, ...]) -> dict[str, Command]:
    """One server a peer and work, by the key that `key` gives; what they need is made first."""
    making.models()
    for server in servers:
        making.virtual_environment(server)
    return {key(server, work): COMMANDS[server](work) for server in servers for work in WORKS}


def key(server: str, work: str) -> str:
    """Name of a server that does one work."""
    return f"{server}-{work}"


def _ours(work: str) -> Command:
    home, tag = making.bento(work)
    arguments = ("bentoml", "serve", tag, "--host", "127.0.0.1", "--port", "{port}")
    return _command("ours", work, arguments, home, "/readyz", BENTOML_HOME=str(home))


def _stock_bentoml(work: str) -> Command:
    home = making.saved("stock_bentoml", work)
    target = {"rows": "rows:Rows", "forecast": "forecast:Forecast"}[work]
    arguments = ("bentoml", "serve", target, "--host", "127.0.0.1", "--port", "{port}")
    return _peer("stock_bentoml", work, arguments, "/readyz", BENTOML_HOME=str(home))


def _mlserver(work: str) -> Command:
    """In the folder of its model: it writes metrics and environments to where it is started."""
    return _command(
        "mlserver",
        work,
        ("mlserver", "start", "."),
        making.saved("mlserver", work),
        f"/v2/models/{work}/ready",
        PYTHONPATH=str(ROOT),
        MLSERVER_HOST="127.0.0.1",
        MLSERVER_HTTP_PORT="{port}",
        MLSERVER_GRPC_PORT="{port1}",
        MLSERVER_METRICS_PORT="{port2}",
    )


def _mlflow(work: str) -> Command:
    model = str(making.saved("mlflow", work))
    how = ("--env-manager", "local", "--workers", "1", "-h", "127.0.0.1", "-p", "{port}")
    return _peer("mlflow", work, ("mlflow", "models", "serve", "-m", model, *how), "/ping")


def _fastapi(work: str) -> Command:
    how = ("--loop", "uvloop", "--http", "httptools", "--no-access-log")
    arguments = ("uvicorn", "app:app", "--host", "127.0.0.1", "--port", "{port}", *how)
    return _peer("fastapi", work, arguments, "/ready", WORK=str(making.saved("fastapi", work)))


def _peer(server: str, work: str, arguments: tuple[str, ...], ready: str, **more: str) -> Command:
    return _command(server, work, arguments, PEERS / server, ready, PYTHONPATH=str(ROOT), **more)


def _command(server: str, work: str, arguments: tuple[str, ...], folder: Path, ready: str, **more: str) -> Command:
    binaries = making.binaries(server)
    program = str(binaries / arguments[0])
    return Command(
        name=f"{server} ({WORKS[work]})",
        arguments=(program, *arguments[1:]),
        folder=folder,
        environment=environment(binaries, **more),
        ready=ready,
    )


COMMANDS: dict[str, Callable[[str], Command]] = {
    "ours": _ours,
    "stock_bentoml": _stock_bentoml,
    "mlserver": _mlserver,
    "mlflow": _mlflow,
    "fastapi": _fastapi,
}
