"""Envoy's admin pages: what it took over, whom it holds for healthy, what it counted."""

from __future__ import annotations

import http.client
import json
import time
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
        masks = {"routes": "dynamic_route_configs", "clusters": "version_info"}
        if kind == "clusters":
            found = self._json("/config_dump?mask=version_info")["configs"]
            return next((one["version_info"] for one in found if "version_info" in one), "")
        found = self._json(f"/config_dump?resource={masks[kind]}").get("configs", [])
        return next((one["version_info"] for one in found if "version_info" in one), "")

    def healthy(self, cluster: str) -> set[int]:
        """Ports of a cluster's endpoints that get requests."""
        for one in self._json("/clusters?format=json").get("cluster_statuses", []):
            if one["name"] == cluster:
                return {
                    host["address"]["socket_address"]["port_value"]
                    for host in one.get("host_statuses", [])
                    if set(host["health_status"]) <= {"eds_health_status"}
                    and host["health_status"].get("eds_health_status") == "HEALTHY"
                }
        return set()

    def active(self, port: int) -> int:
        """Requests under way to an endpoint, in all clusters."""
        total = 0
        for one in self._json("/clusters?format=json").get("cluster_statuses", []):
            for host in one.get("host_statuses", []):
                if host["address"]["socket_address"]["port_value"] == port:
                    counted = {stat["name"]: int(stat.get("value", 0)) for stat in host.get("stats", [])}
                    total += counted.get("rq_active", 0)
        return total

    def stat(self, name: str) -> int:
        """One counter or gauge; 0 if it is not there."""
        found = self._ask("GET", f"/stats?filter=^{name}$")
        return int(found.rpartition(":")[2]) if found.strip() else 0

    def counted(self) -> str:
        """All that it counted of clusters, in Prometheus' text format."""
        return self._ask("GET", "/stats/prometheus?usedonly&filter=^cluster%5C.")

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
