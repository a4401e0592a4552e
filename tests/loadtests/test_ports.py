from __future__ import annotations

import socket

import pytest

from loadtests.ports import FREE, PortError, check_free, free_ports


def test_free_ports_are_in_a_row() -> None:
    port = free_ports()
    assert FREE[0] <= port <= FREE[-3]
    check_free(port, "fake")


def test_free_ports_are_not_those_of_others() -> None:
    used = set(FREE) - set(range(18_000, 19_000))
    assert 18_000 <= free_ports(used=used) <= 18_997


def test_none_is_free() -> None:
    wanted = "no 3 free ports in a row from 16000 to 20999 on 127.0.0.1: end what listens there"
    with pytest.raises(PortError, match=wanted):
        free_ports(used=FREE)


def test_a_taken_port_is_named() -> None:
    port = free_ports()
    wanted = (
        rf"fake: cannot have port {port + 1} \(Address already in use\), wanted {port} to {port + 2} free on 127.0.0.1: "
        rf"end what listens there \(`ss -ltnp 'sport = :{port + 1}'` names it\) or choose another port"
    )
    with socket.create_server(("127.0.0.1", port + 1)), pytest.raises(PortError, match=wanted) as caught:
        check_free(port, "fake")
    assert caught.value.exit_code == 2


def test_a_port_that_all_addresses_share_is_taken() -> None:
    port = free_ports()
    with socket.create_server(("", port), reuse_port=True), pytest.raises(PortError, match=f"cannot have port {port} "):
        check_free(port, "fake")


@pytest.mark.parametrize("port", [-1, 0, 65_534])
def test_there_is_no_such_port(port: int) -> None:
    wanted = f"fake: got {port} as the first of 3 ports in a row, wanted 1 to 65533: choose another"
    with pytest.raises(PortError, match=wanted):
        check_free(port, "fake")
