"""Whether a port can be listened on, and why not; and what `up` says of a router that cannot begin, or has begun otherwise."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from data.deployment import Deploy
from deploy import ports
from deploy.faults import RouterError
from deploy.fleet import Fleet
from deploy.journal import ROUTER
from deploy.rollouts.driver import Driver
from tests.deploy.driven import OLD
from tests.ports import free_ports
from tests.training.tiny import BENTOML

pytestmark = [pytest.mark.filterwarnings(one) for one in BENTOML]


def test_why_nobody_can_listen() -> None:
    assert ports.refusal("127.0.0.1", free_ports()) == ""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert ports.refusal("127.0.0.1", taken.getsockname()[1]) == "Address already in use"
    assert ports.refusal("192.0.2.1", free_ports()) == "Cannot assign requested address"
    assert ports.refusal("not a name", 80)
    assert ports.refusal("127.0.0.1", 70_000)


def fleet(driver: Driver, **router: Any) -> Fleet:
    """As a command makes it that finds this in params.yaml."""
    return Fleet(driver.fleet.place, driver.fleet.journal, Deploy.model_validate({"router": router}))


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"port": free_ports(), "admin_ports": [free_ports()], "threads": 2}


def started(driver: Driver, settings: dict[str, Any]) -> None:
    """The router is up."""
    made = fleet(driver, **settings)
    for port in settings["admin_ports"]:
        made.router._put(made.router._bootstrap(port), made.router._start_with(port))
        driver.fleet.journal.want(f"{ROUTER}-{port}", made._about_router(port))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"port": 9}, "port {port} (now 9)"),
        ({"host": "0.0.0.0"}, "host 127.0.0.1 (now 0.0.0.0)"),
        ({"threads": 3, "connections": 5}, "threads 2 (now 3), connections 10000 (now 5)"),
        ({"access_log": True}, "access_log False (now True)"),
        ({"admin_ports": [9, 10]}, "admin_ports {admin} (now 9, 10)"),
    ],
)
def test_a_router_that_is_up_with_other_settings(
    driver: Driver, settings: dict[str, Any], changes: dict[str, Any], named: str
) -> None:
    started(driver, settings)
    kept = {path: path.read_text() for path in driver.fleet.place.router.rglob("*.yaml")}
    with pytest.raises(RouterError) as err:
        fleet(driver, **settings | changes).up(OLD)
    named = named.format(port=settings["port"], admin=settings["admin_ports"][0])
    assert err.value.message == (
        f"the router is up with other settings than deploy.router of params.yaml has: {named}. It takes them over when it "
        "starts: set them back, or `python -m deploy down` and `up`"
    )
    assert {path: path.read_text() for path in driver.fleet.place.router.rglob("*.yaml")} == kept


def test_a_router_that_is_up_as_it_is_wanted(driver: Driver, settings: dict[str, Any]) -> None:
    started(driver, settings)
    fleet(driver, **settings)._check_router()
    more = [*settings["admin_ports"], free_ports()]
    fleet(driver, **settings | {"admin_ports": more})._check_router()


@pytest.mark.parametrize("which", ["port", "admin_ports"])
def test_a_port_that_cannot_be_had_is_named_with_its_host(driver: Driver, settings: dict[str, Any], which: str) -> None:
    """Envoy's own pages are on this machine's own address, whatever users reach."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        changes = {"port": port} if which == "port" else {"admin_ports": [port]}
        with pytest.raises(
            RouterError, match=rf"listen on 127.0.0.1:{port} \(Address already in use\): free it, or set"
        ):
            fleet(driver, **settings | changes).up(OLD)


def test_a_host_that_this_machine_does_not_have(driver: Driver, settings: dict[str, Any]) -> None:
    with pytest.raises(RouterError, match=r"192\.0\.2\.1:\d+ \(Cannot assign requested address\)"):
        fleet(driver, **settings | {"host": "192.0.2.1"}).up(OLD)
