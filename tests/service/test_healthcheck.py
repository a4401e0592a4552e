"""The health check of a container, asked of real sockets."""

from __future__ import annotations

import datetime as dt
import http.server
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service import healthcheck

ROOT = Path(__file__).parents[2]


class Answers(http.server.BaseHTTPRequestHandler):
    """200 for `/livez`, 503 for all else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    made = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate with its key, of nobody that is known here."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "elsewhere")]), dt.datetime.now(dt.UTC)
    unsigned = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    unsigned = unsigned.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + unsigned.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    )
    return pem


def of(server: http.server.HTTPServer, **more: str) -> dict[str, str]:
    return {"BENTOML_PORT": str(server.server_address[1]), **more}


def test_alive(server: http.server.HTTPServer) -> None:
    assert healthcheck.alive(of(server))
    assert healthcheck.alive({"BENTOML_PORT": "1", "PORT": str(server.server_address[1])})


def test_not_alive_where_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert not healthcheck.alive({"PORT": str(free.getsockname()[1])})


def test_not_alive_when_it_answers_something_else(
    server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "do_GET", lambda self: self.send_error(503))
    assert not healthcheck.alive(of(server))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("clients", [False, True])
def test_alive_behind_tls(
    server: http.server.HTTPServer, certificate: Path, version: ssl.TLSVersion, *, clients: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.minimum_version = context.maximum_version = version
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    if clients:
        assert healthcheck.alive(of(server, BENTOCAST_TLS_CERT="x", BENTOCAST_TLS_CLIENT_CA="x"))
    else:
        assert healthcheck.alive(of(server, BENTOCAST_TLS_CERT="x"))
        assert not healthcheck.alive(of(server))


def test_its_exit_code_is_what_docker_wants() -> None:
    done = subprocess.run(
        [sys.executable, "-IS", "service/healthcheck.py"], cwd=ROOT, env={"PORT": "1"}, check=False, capture_output=True
    )
    assert (done.returncode, done.stderr) == (1, b"")
