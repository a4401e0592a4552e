"""Ports of this machine: whether a program can listen on one, asked before it says that it does."""

from __future__ import annotations

import socket


def refusal(host: str, port: int) -> str:
    """Why nobody can listen on a port now, in the system's words; nothing if one can."""
    if not 0 < port < 65_536:  # which the system would take modulo that
        return "wanted a port from 1 to 65535"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as err:
        return err.strerror or str(err)
    return ""
