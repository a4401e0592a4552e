"""Ports of this machine: some free ones in a row, or a fault that names the one that is taken."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Collection

from data.errors import BentocastError

#: Ports that a server may use: its own, gRPC on the next one, one more for metrics.
PORTS = 3
HIGHEST = 65_535
#: Where free ones are looked for: below what Linux gives to clients, which may take a port between its choice and its
#: use, and apart from the instances of a deployment.
FREE = range(16_000, 21_000)


class PortError(BentocastError):
    """A port that a server wants cannot be had."""

    exit_code = 2


def free_ports(count: int = PORTS, *, used: Collection[int] = ()) -> int:
    """The first of some free ports in a row, none of them in `used`."""
    starts = FREE[: len(FREE) - count + 1]
    for port in random.SystemRandom().sample(starts, len(starts)):
        if any(port + step in used for step in range(count)):
            continue
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for step in range(count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + step))
            return port
    raise PortError(f"no {count} free ports in a row from {FREE[0]} to {FREE[-1]} on 127.0.0.1: end what listens there")


def check_free(first: int, name: str, count: int = PORTS, *, used: Collection[int] = ()) -> None:
    """Make sure that a server may have `first` and the ports after it.

    SO_REUSEADDR, as servers have it: connections of an ended server, which linger for a minute, do not count.

    Args:
        first: port.
        name: of the server.
        count: of ports in a row.
        used: ports of servers that may not listen yet.

    Raises:
        PortError: there is no such port, or it is taken.
    """
    if not 1 <= first <= HIGHEST + 1 - count:
        raise PortError(
            f"{name}: got {first} as the first of {count} ports in a row, wanted 1 to {HIGHEST + 1 - count}: choose another"
        )
    for port in range(first, first + count):
        if port in used:
            raise PortError(f"{name}: port {port} goes to another server of this run: give them ports {count} apart")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as err:
                raise PortError(
                    f"{name}: cannot have port {port} ({err.strerror}), wanted {first} to {first + count - 1} free on"
                    f" 127.0.0.1: end what listens there (`ss -ltnp 'sport = :{port}'` names it) or choose another port"
                ) from err
