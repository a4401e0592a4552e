"""What an operator sets, read from the environment once, at the edge, and checked whole before anything starts."""

from __future__ import annotations

import difflib
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from data.errors import ConfigError

PREFIX = "BENTOCAST_"
MAX_PORT = 65_535
LOOPBACK = ("127.0.0.1", "::1", "localhost")

Access = Literal["open", "key", "off"]


class Settings(BaseModel):
    """Each field is an environment variable: `max_body_bytes` is `BENTOCAST_MAX_BODY_BYTES`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Where HTTP listens; `bentoml serve` says it to its workers.
    host: str = "127.0.0.1"
    port: int = Field(default=3000, ge=1, le=MAX_PORT)
    workers: int = Field(default=1, ge=1, le=256)
    grpc: bool = True
    #: One above the HTTP port if not set.
    grpc_port: int | None = Field(default=None, ge=1, le=MAX_PORT)

    #: Names and hashes of API keys (`python -m service key NAME`); without it nobody needs a key.
    keys_file: Path | None = None
    #: Serve without keys on an address that others reach.
    allow_anonymous: bool = False
    metrics_access: Access = "open"
    docs_access: Access = "open"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    #: Clients must show a certificate of this authority.
    tls_client_ca: Path | None = None

    #: Bill of materials (`python -m deploy sbom`) that code and model are compared with before a Bento starts.
    bill: Path | None = None

    #: The record of forecasts and actual values; a file in BentoML's home if not set.
    record: bool = True
    record_url: SecretStr | None = None
    record_retention: str = "90d"
    #: Time between requests that are kept as they came, of each worker, or `off`.
    record_sample: str = "15min"

    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1_024, le=1 << 30)
    max_series: int = Field(default=1_024, ge=1)
    max_values: int = Field(default=4_000_000, ge=1)
    #: A request that has no answer by then gets none.
    deadline_seconds: float = Field(default=30.0, gt=0, le=3_600)
    #: Longest that a burst waits before some of it is refused; see `service.admission`.
    max_wait_seconds: float = Field(default=0.1, gt=0, le=60)
    #: How long readiness is false before the last connection is taken, once the service is told to end.
    drain_seconds: float = Field(default=2.0, ge=0, le=300)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError(f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY belong together, got one of them")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError(f"{PREFIX}TLS_CLIENT_CA needs {PREFIX}TLS_CERT and {PREFIX}TLS_KEY")
        for path in (self.tls_cert, self.tls_key, self.tls_client_ca, self.keys_file, self.bill):
            if path is not None and not path.is_file():
                raise ValueError(f"{path} is not a file that can be read")
        if not (self.keys_file or self.tls_client_ca or self.allow_anonymous or self.host in LOOPBACK):
            raise ValueError(
                f"the service would answer anybody who reaches {self.host}: set {PREFIX}KEYS_FILE (make one with "
                f"`python -m service key NAME`) or {PREFIX}TLS_CLIENT_CA, or {PREFIX}ALLOW_ANONYMOUS=true if something "
                "in front of it decides who may ask, or serve on 127.0.0.1"
            )
        if not self.keys_file and "key" in (self.metrics_access, self.docs_access):
            raise ValueError(f"access by key needs {PREFIX}KEYS_FILE")
        if self.grpc:
            self._check_grpc_port()
        return self

    def _check_grpc_port(self) -> None:
        fix = f"set {PREFIX}GRPC_PORT to a free port, or {PREFIX}GRPC=false to serve HTTP alone"
        if self.grpc_at > MAX_PORT:
            raise ValueError(f"gRPC would listen on port {self.grpc_at}: {fix}")
        if self.grpc_at == self.port:
            raise ValueError(f"HTTP and gRPC cannot both listen on port {self.port}: {fix}")

    @property
    def grpc_at(self) -> int:
        """Port of gRPC."""
        return self.grpc_port or self.port + 1


def load(environ: Mapping[str, str]) -> Settings:
    """Read and check the settings.

    Raises:
        ConfigError: one message that lists every unknown variable and wrong value.
    """
    given = {key[len(PREFIX) :].lower(): value for key, value in environ.items() if key.startswith(PREFIX) and value}
    try:
        return Settings.model_validate(given)
    except ValidationError as err:
        faults = [_explain(fault["type"], fault["loc"], fault["msg"], fault["input"]) for fault in err.errors()]
        raise ConfigError("settings: " + "; ".join(faults)) from err


def _explain(kind: str, loc: tuple[int | str, ...], text: str, got: object) -> str:
    name = PREFIX + "_".join(map(str, loc)).upper()
    if kind == "extra_forbidden":
        near = difflib.get_close_matches("_".join(map(str, loc)), Settings.model_fields, n=1)
        known = ", ".join(PREFIX + field.upper() for field in Settings.model_fields)
        return f"{name} is unknown, " + (f"did you mean {PREFIX}{near[0].upper()}?" if near else f"known are {known}")
    if not loc:
        return text.removeprefix("Value error, ")
    return f"{name}: got {got!r}, {text[:1].lower()}{text[1:]}"


def tls(settings: Settings) -> dict[str, dict[str, object]]:
    """BentoML's settings of HTTP's certificate; gRPC reads the same files."""
    if settings.tls_cert is None:
        return {}
    authority = settings.tls_client_ca
    return {
        "ssl": {
            "enabled": True,
            "certfile": str(settings.tls_cert),
            "keyfile": str(settings.tls_key),
            "ca_certs": None if authority is None else str(authority),
            "cert_reqs": int(ssl.CERT_NONE if authority is None else ssl.CERT_REQUIRED),
            "ciphers": "ECDHE+AESGCM:ECDHE+CHACHA20",
        }
    }


def check_ports(settings: Settings) -> None:
    """See that nobody else has the gRPC port: sharing it, as workers do, would share a stranger's calls.

    Raises:
        ConfigError: it is taken.
    """
    if not settings.grpc:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        # Connections of a service that has just ended are no reason not to start; a listener still is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.grpc_at))
        except OSError as err:
            raise ConfigError(
                f"gRPC cannot listen on {settings.host}:{settings.grpc_at}: {err.strerror}; set {PREFIX}GRPC_PORT to a free "
                f"port, or {PREFIX}GRPC=false to serve HTTP alone"
            ) from err
