"""Real Envoys before small servers that answer with their version's name, over HTTP and gRPC."""

from __future__ import annotations

import contextlib
import http.server
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from deploy.router.router import Router, Settings
from deploy.router.routing import Endpoint, Routing
from tests.ports import free_ports

METHOD = "/upstream/Name"
#: What is asked to see whether it is healthy.
READY = "/readyz"


@contextlib.contextmanager
def upstream(
    version: str, named: list[str] | None = None, *, seconds: float = 0.0, breaks: bool = False, status: int = 200
) -> Iterator[Endpoint]:
    """A server of one version that is healthy.

    Args:
        version: that it answers with.
        named: list that the names of its gRPC requests (`x-request-id`) are added to.
        seconds: that its answers over HTTP take.
        breaks: over HTTP, it ends connections in place of an answer.
        status: of its answers over HTTP.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer is sent as a whole

        def do_GET(self) -> None:
            if self.path != READY:
                if breaks:
                    self.close_connection = True
                    return
                time.sleep(seconds)
            self.send_response(200 if self.path == READY else status)
            self.send_header("content-length", str(len(version)))
            self.end_headers()
            self.wfile.write(version.encode())

        def log_message(self, *_: object) -> None: ...

    class Rpc(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            if call.method != METHOD:
                return None
            if named is not None:
                named.append(dict(call.invocation_metadata)["x-request-id"])
            return grpc.unary_unary_rpc_method_handler(lambda *_: version.encode())

    port = free_ports()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    rpcs = grpc.server(ThreadPoolExecutor(4), handlers=[Rpc()])
    alive = health.HealthServicer()
    alive.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(alive, rpcs)
    rpcs.add_insecure_port(f"127.0.0.1:{port + 1}")
    rpcs.start()
    try:
        yield Endpoint(port, port + 1)
    finally:
        rpcs.stop(None).wait()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Routed:
    """Envoys that are up.

    Attributes:
        router: of all of them.
        url: that they share.
        address: the same for gRPC.
    """

    router: Router
    url: str
    address: str


@contextlib.contextmanager
def routed(folder: Path, routing: Routing, envoys: int = 1) -> Iterator[Routed]:
    """So many Envoys on one port."""
    port = free_ports()
    admins = tuple(free_ports() for _ in range(envoys))
    router = Router(folder, Settings(port=port, admin_ports=admins))
    router.write(routing, 1)
    with running(router) as to:
        yield to


@contextlib.contextmanager
def running(router: Router) -> Iterator[Routed]:
    """Envoys whose files are written."""
    port = router.settings.port
    with contextlib.ExitStack() as ending:
        for admin in router.admins:
            process = ending.enter_context(subprocess.Popen(router.command(admin), stderr=subprocess.DEVNULL))
            ending.callback(process.terminate)
        router.wait_until_up(lambda _: "")
        yield Routed(router, f"http://127.0.0.1:{port}", f"127.0.0.1:{port}")
