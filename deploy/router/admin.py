"""Envoy's admin pages: what it took over, whom it holds for healthy, what it counted."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.faults import RouterError

TIMEOUT_SECONDS = 5.0
#: An Envoy that was killed is back by then.
PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Admin:
    """The admin pages of one Envoy.

    Attributes:
        port: on 127.0.0.1.
    """

    port: int

    def is_up(self) -> bool:
        """Whether it answers, and is done with starting."""
        try:
            return self._once("GET", "/ready")[1] == "LIVE"
        except OSError:
            return False

    def revision(self, kind: str) -> str:
        """Revision of the routes (`routes`) or clusters (`clusters`) that it goes by now; nothing if it has none."""
        asked = {"routes": "resource=dynamic_route_configs", "clusters": "mask=version_info"}[kind]
        found = self._json(f"/config_dump?{asked}").get("configs", [])
        return next((one["version_info"] for one in found if "version_info" in one), "")

    def healthy(self, cluster: str) -> set[int]:
        """Ports of a cluster's endpoints that get requests."""
        return {
            port
            for name, port, host in self._hosts()
            if name == cluster and host["health_status"] == {"eds_health_status": "HEALTHY"}
        }

    def knows(self, port: int) -> bool:
        """Whether an endpoint is in any cluster."""
        return any(port == other for _, other, _ in self._hosts())

    def active(self, port: int) -> int:
        """Requests under way to an endpoint, in all clusters."""
        return sum(
            int(stat.get("value", 0))
            for _, other, host in self._hosts()
            if other == port
            for stat in host.get("stats", [])
            if stat["name"] == "rq_active"
        )

    def _hosts(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Every endpoint of every cluster: the cluster's name, the port, what Envoy says of it."""
        for one in self._json("/clusters?format=json").get("cluster_statuses", []):
            for host in one.get("host_statuses", []):
                yield one["name"], host["address"]["socket_address"]["port_value"], host

    def stat(self, name: str) -> int:
        """One counter or gauge; 0 if it is not there."""
        found = self._ask("GET", f"/stats?filter=^{name}$")
        return int(found.rpartition(":")[2]) if found.strip() else 0

    def counted(self, names: str) -> str:
        """What it counted under names that match, in Prometheus' text format."""
        return self._ask("GET", f"/stats/prometheus?usedonly&filter={urllib.parse.quote(names)}")

    def drain(self) -> None:
        """Tell clients to come on other connections, and take no new ones."""
        self._ask("POST", "/healthcheck/fail")
        self._ask("POST", "/drain_listeners?graceful&skip_exit")

    def _json(self, path: str) -> Any:
        return json.loads(self._ask("GET", path))

    def _ask(self, method: str, path: str) -> str:
        """Ask until it answers: an Envoy that starts again is no reason to give up what is under way."""
        late = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                status, text = self._once(method, path)
            except OSError as err:
                if time.monotonic() > late:
                    raise RouterError(f"the router's admin page on port {self.port} does not answer: {err}") from err
                time.sleep(POLL_SECONDS)
                continue
            if status != 200:
                raise RouterError(f"the router's admin page {path} answers {status}: {text[:200]}")
            return text

    def _once(self, method: str, path: str) -> tuple[int, str]:
        """Status and text of one answer.

        Raises:
            OSError: there is none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, headers={"Content-Length": "0"} if method == "POST" else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()
        except http.client.HTTPException as err:
            raise OSError(f"{type(err).__name__}: {err}") from err
        finally:
            connection.close()
