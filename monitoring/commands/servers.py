"""Prometheus and what stands beside it."""

from __future__ import annotations

import argparse
import os

from data import command
from data.params import Params


def up(params: Params, asked: argparse.Namespace) -> int:
    """Run Prometheus, Alertmanager, Pushgateway and the seven tests on this machine until Ctrl-C."""
    from deploy.place import Place
    from monitoring import up

    targets = Place.of(os.environ).folder / "targets.json"
    usual = {"prometheus": port} if (port := up.usual_port(params)) else {}
    made = up.plan(asked.home.resolve(), asked.params, usual | dict(asked.ports), targets, tuple(asked.target))
    up.run(made, params)
    return 0


def config(params: Params, asked: argparse.Namespace) -> int:
    """Write the configuration of Prometheus and Alertmanager, with all rules, into a folder."""
    from deploy.place import Place
    from monitoring import servers

    if asked.kubernetes:
        servers.write_for_cluster(asked.out, params)
        command.say(f"{asked.out}: for `kubectl apply -k`, in the namespace of the service")
        return 0
    own = servers.Addresses(Place.of(os.environ).folder / "targets.json", tuple(asked.target))
    places = servers.STACK if asked.stack else own
    servers.write(asked.out, params, places)
    command.say(f"{asked.out}: {servers.PROMETHEUS}, {servers.RULES}, {servers.ALERTMANAGER}")
    return 0


def dashboards(params: Params, asked: argparse.Namespace) -> int:
    """Write Grafana's dashboards (service, model, data, rollout) into a folder."""
    from monitoring import dashboards

    for path in dashboards.write(asked.out, params):
        print(path)
    return 0
