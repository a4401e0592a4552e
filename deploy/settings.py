"""The service's settings (`BENTOCAST_...`) as instances behind a router get them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data.errors import ConfigError

PREFIX = "BENTOCAST_"
#: Each instance has its own, on this machine; a bill is of one version, and others are served as well.
OWN = {"HOST", "PORT", "GRPC_PORT", "BILL"}
#: Paths, which are looked for from another folder.
PATHS = {"KEYS_FILE"}
#: Ways to switch a setting off.
NO = ("false", "0", "no", "off", "f", "n")


def of(environ: Mapping[str, str], record: Path) -> dict[str, str]:
    """Settings of instances.

    Args:
        environ: the environment of whoever brings them up.
        record: file of the record, unless the environment says where it is: all instances share one.

    Raises:
        ConfigError: a setting cannot be kept behind a router.
    """
    given = {key.removeprefix(PREFIX): value for key, value in environ.items() if key.startswith(PREFIX) and value}
    if given.get("GRPC", "").lower() in NO:
        raise ConfigError(f"{PREFIX}GRPC: got {given['GRPC']!r}, but the router brings gRPC to users: unset it")
    for name in ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"):
        if name in given:
            raise ConfigError(
                f"{PREFIX}{name}: instances listen on 127.0.0.1 alone, and the router speaks to them without TLS: unset it"
            )
    kept = {name: value for name, value in given.items() if name not in OWN}
    kept |= {name: str(Path(kept[name]).resolve()) for name in PATHS & kept.keys()}
    kept.setdefault("RECORD_URL", f"sqlite:///{record}")
    return {f"{PREFIX}{name}": value for name, value in sorted(kept.items())}


def record_url(settings: Mapping[str, str]) -> str | None:
    """Where instances record what they forecast, or None if they do not."""
    return None if settings.get(f"{PREFIX}RECORD", "").lower() in NO else settings[f"{PREFIX}RECORD_URL"]
