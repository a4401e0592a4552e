"""The seven tests: once, again and again, as a page."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from data import command, durations
from data.errors import ConfigError
from data.params import Params
from data.verdict import Verdict
from monitoring.commands import context

if TYPE_CHECKING:
    from monitoring.exporter import Server


def check(config: Params, asked: argparse.Namespace) -> int:
    """Run the seven monitoring tests once, and say what each found."""
    from monitoring import suite
    from monitoring.exporter import document

    unknown = [name for name in asked.tests if name not in suite.TESTS]
    if unknown:
        raise ConfigError(f"test: got {', '.join(unknown)}, wanted some of {', '.join(suite.TESTS)}")
    verdicts = suite.run(context.of(config, asked), asked.tests or suite.TESTS)
    if asked.json:
        print(json.dumps({name: document(verdict) for name, verdict in verdicts.items()}, indent=2))
    else:
        print(table(verdicts))
    return suite.worst(verdicts.values()).exit_code


def table(verdicts: dict[str, Verdict]) -> str:
    """A line a check, under its test."""
    lines = []
    for name, verdict in verdicts.items():
        lines.append(f"{name:12}  {verdict.outcome}")
        lines += [f"    {check.outcome:12}  {check.text}" for check in verdict.checks]
    return "\n".join(lines)


def serve(config: Params, asked: argparse.Namespace) -> int:
    """Run the seven tests every `monitoring.every`; / tells people what they find, /metrics Prometheus, /verdicts programs."""
    from deploy.place import Place
    from monitoring import suite
    from monitoring.exporter import Exporter, Server
    from monitoring.retrainings import Retrainings
    from monitoring.rollouts import Rollouts

    def run(name: str) -> Verdict:
        return suite.run(context.of(config, asked), [name])[name]

    exporter = Exporter(list(suite.TESTS), run, durations.seconds(config.monitoring.every))
    place = Place.of(os.environ)
    watched = Rollouts(place), Retrainings(place)

    def drawn() -> str:
        return _drawn(
            config, asked, lambda: {name: one.verdict if one else None for name, one in exporter.last().items()}
        )

    with _listening(Server, (asked.host, asked.port), exporter, drawn, *watched) as server:
        exporter.start()
        for one in watched:
            one.start()
        command.say(f"the seven tests on http://{asked.host}:{server.server_address[1]} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def _listening(server: type[Server], address: tuple[str, int], *about: Any) -> Server:
    try:
        return server(address, *about)
    except OSError as err:
        raise ConfigError(
            f"cannot listen on {address[0]}:{address[1]}: {err.strerror or err}: give another --port (0: any free one)"
        ) from err


def page(params: Params, asked: argparse.Namespace) -> int:
    """Draw the page of verdicts, traffic, latency, drift and forecasts into one file that needs nothing else."""
    from data import atomic

    atomic.write_text(asked.out, _drawn(params, asked, lambda: _told(asked.exporter)))
    print(asked.out)
    return 0


def _drawn(params: Params, asked: argparse.Namespace, verdicts: Callable[[], Mapping[str, Verdict | None]]) -> str:
    from monitoring import page
    from monitoring.prometheus import Prometheus

    seen = context.of(params, asked)
    seconds = durations.seconds(getattr(asked, "last", "6h"))
    assert isinstance(seen.metrics, Prometheus), "that is what is asked here"
    return page.document(page.Source(seen, seen.metrics, verdicts, seconds))


def _told(exporter: str) -> dict[str, Verdict | None]:
    """The verdicts that an exporter has."""
    import requests

    from monitoring.metrics import MetricsError

    try:
        told = requests.get(f"{exporter.rstrip('/')}/verdicts", timeout=10).json()
        return {
            name: one and Verdict.model_validate({key: one[key] for key in ("outcome", "checks")})
            for name, one in told.items()
        }
    except (requests.RequestException, ValueError, AttributeError, KeyError) as err:
        raise MetricsError(
            f"Their verdicts are not known: the exporter does not answer at {exporter} ({type(err).__name__}): start it "
            "(`make monitoring`), or give its address with --exporter"
        ) from err
