"""`python -m monitoring`: the seven tests, and what is built on them."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import command, configuration, durations
from data.errors import ConfigError, NotFoundError
from data.params import PARAMS, Params
from data.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from monitoring.context import Context
    from monitoring.exporter import Server
    from monitoring.ledger import Ledger, Retraining
    from monitoring.loop import Loop

#: By the worst verdict.
CODES = {Outcome.PASS: 0, Outcome.FAIL: 7, Outcome.INCONCLUSIVE: 8, Outcome.ERROR: 10}
#: How often a retraining that waits for somebody is looked at.
WAIT_SECONDS = 10
EXIT_CODES = "Exit codes: 0 all pass, 7 one fails, 8 one is inconclusive, 10 one could not be run, 2 usage."


def check(config: Params, asked: argparse.Namespace) -> int:
    """Run the seven monitoring tests once, and say what each found."""
    from monitoring import suite

    verdicts = suite.run(_context(config, asked), asked.tests or suite.TESTS)
    if asked.json:
        print(json.dumps({name: verdict.model_dump(mode="json") for name, verdict in verdicts.items()}, indent=2))
    else:
        print(table(verdicts))
    return CODES[suite.worst(verdicts.values())]


def serve(config: Params, asked: argparse.Namespace) -> int:
    """Run the seven tests every `monitoring.every`; / tells people what they find, /metrics Prometheus, /verdicts programs."""
    from deploy.place import Place
    from monitoring import suite
    from monitoring.exporter import Exporter, Server
    from monitoring.rollouts import Rollouts

    def run(name: str) -> Verdict:
        return suite.run(_context(config, asked), [name])[name]

    exporter = Exporter(list(suite.TESTS), run, durations.seconds(config.monitoring.every))
    rollouts = Rollouts(Place.of(os.environ))

    def drawn() -> str:
        return _drawn(
            config, asked, lambda: {name: one.verdict if one else None for name, one in exporter.last().items()}
        )

    with _listening(Server, (asked.host, asked.port), exporter, drawn, rollouts) as server:
        exporter.start()
        rollouts.start()
        command.say(f"the seven tests on http://{asked.host}:{server.server_address[1]} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def config(params: Params, asked: argparse.Namespace) -> int:
    """Write the configuration of Prometheus and Alertmanager, with all rules, into a folder."""
    from deploy.place import Place
    from monitoring import servers

    places = servers.Addresses(Place.of(os.environ).folder / "targets.json", tuple(asked.target))
    servers.write(asked.out, params, places)
    command.say(f"{asked.out}: {servers.PROMETHEUS}, {servers.RULES}, {servers.ALERTMANAGER}")
    return 0


def dashboards(params: Params, asked: argparse.Namespace) -> int:
    """Write Grafana's dashboards (service, model, data, rollout) into a folder."""
    from monitoring import dashboards

    for path in dashboards.write(asked.out, params):
        print(path)
    return 0


def page(params: Params, asked: argparse.Namespace) -> int:
    """Draw the page of verdicts, traffic, latency, drift and forecasts into one file that needs nothing else."""
    from data import atomic

    atomic.write_text(asked.out, _drawn(params, asked, lambda: _told(asked.exporter)))
    print(asked.out)
    return 0


def _drawn(params: Params, asked: argparse.Namespace, verdicts: Callable[[], Mapping[str, Verdict | None]]) -> str:
    from monitoring import page
    from monitoring.prometheus import Prometheus

    context = _context(params, asked)
    seconds = durations.seconds(getattr(asked, "last", "6h"))
    assert isinstance(context.metrics, Prometheus), "that is what `_context` asks"
    return page.document(page.Source(context, context.metrics, verdicts, seconds))


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


def up(params: Params, asked: argparse.Namespace) -> int:
    """Run Prometheus, Alertmanager, Pushgateway and the seven tests on this machine until Ctrl-C."""
    from deploy.place import Place
    from monitoring import up

    targets = Place.of(os.environ).folder / "targets.json"
    services = tuple(asked.target or ([] if targets.exists() else [up.SERVICE]))
    usual = {"prometheus": port} if (port := up.usual_port(params)) else {}
    made = up.plan(asked.home.resolve(), asked.params, usual | dict(asked.ports), targets, services)
    up.run(made, params)
    return 0


def _port(text: str) -> tuple[str, int]:
    name, _, port = text.partition("=")
    if name not in ("prometheus", "alertmanager", "pushgateway", "exporter") or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a server and its port, such as prometheus=9090")
    return name, int(port)


def _listening(server: type[Server], address: tuple[str, int], *about: Any) -> Server:
    try:
        return server(address, *about)
    except OSError as err:
        raise ConfigError(
            f"cannot listen on {address[0]}:{address[1]}: {err.strerror or err}: give another --port (0: any free one)"
        ) from err


def _context(config: Params, asked: argparse.Namespace) -> Context:
    """What is looked at now: the record is the deployment's, unless it is said."""
    from deploy import settings
    from deploy.place import Place
    from monitoring.context import Context
    from monitoring.prometheus import Prometheus

    now = time.time()
    kept = Place.of(os.environ).environment
    record = asked.record or (settings.record_url(json.loads(kept.read_text("utf-8"))) if kept.exists() else None)
    return Context(config, now, Prometheus(asked.prometheus or config.monitoring.prometheus, now), record)


def loop(config: Params, asked: argparse.Namespace) -> int:
    """Run the tests again and again, and make a model anew when one of them asks for it."""
    from monitoring import suite
    from monitoring.context import trained_until

    settings = config.monitoring.loop
    with _alone(config):
        driver = _loop(config, asked)
        while True:
            context = _context(config, asked)
            state = driver.turn(suite.run(context, settings.tests), trained_until(context))
            if asked.once:
                return _code(state)
            every = durations.seconds(settings.every)
            time.sleep(min(WAIT_SECONDS, every) if state and state.ended is None else every)


def retrain(config: Params, asked: argparse.Namespace) -> int:
    """Make a model anew now, whatever the tests say, and bring it to users if it shows that it is one to ship."""
    with _alone(config):
        return _code(_loop(config, asked).begin(asked.reason))


@contextlib.contextmanager
def _alone(config: Params) -> Iterator[None]:
    from deploy.place import Place

    if config.promote.champion != "rollout":
        raise ConfigError(
            "promote.champion: got 'gate', wanted 'rollout': with 'gate' a model that its canary takes back stays champion",
            param="promote.champion",
        )
    with Place.of(os.environ).held("loop", "another `python -m monitoring loop` or `retrain` runs for this deployment"):
        yield


def _code(state: Retraining | None) -> int:
    return 0 if state is None else {"healed": 0, "waiting": 8}.get(state.state, 7)


def _loop(config: Params, asked: argparse.Namespace) -> Loop:
    from deploy.place import Place
    from monitoring.loop import Loop
    from monitoring.steps import Commands

    place = Place.of(os.environ)
    steps = Commands(config, asked.params, place, place.logs / "loop.log", command.say)
    return Loop(config.monitoring.loop, _ledger(), steps, command.say, time.time)


def _ledger() -> Ledger:
    from deploy import journals
    from deploy.place import Place
    from monitoring.ledger import Ledger

    return Ledger(journals.url(Place.of(os.environ)))


def _wishing(wish: str) -> Callable[[Params, argparse.Namespace], int]:
    def run(_: Params, __: argparse.Namespace) -> int:
        ledger = _ledger()
        under_way = ledger.under_way()
        if under_way is None or under_way.step != "approve":
            raise NotFoundError("no retraining waits for approval: see `python -m monitoring history`")
        ledger.wish(under_way.id, wish)
        command.say(f"retraining {under_way.id}: {wish}; the loop goes on with it")
        return 0

    return run


def history(_: Params, __: argparse.Namespace) -> int:
    """All retrainings, the newest first."""
    for one in _ledger().all():
        began = dt.datetime.fromtimestamp(one.began, dt.UTC)
        print(f"{one.id:>4}  {began:%Y-%m-%d %H:%M}  {one.state:8}  {one.step:8}  {one.why or one.reason}")
    return 0


def simulate(config: Params, asked: argparse.Namespace) -> int:
    """Play months through the real service in minutes: quiet ones, and one fault after another; a table of what was seen."""
    from monitoring.simulation import proof

    names = asked.names or proof.NAMES
    proof.check(names)
    results = proof.run(config, asked.params, names, asked.months, command.say, asked.keep)
    print(proof.table(results))
    return 0 if all(one.good for one in results) else 7


def table(verdicts: dict[str, Verdict]) -> str:
    """A line a check, under its test."""
    lines = []
    for name, verdict in verdicts.items():
        lines.append(f"{name:12}  {verdict.outcome}")
        lines += [f"    {check.outcome:12}  {check.text}" for check in verdict.checks]
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring", description="Whether the model that serves is still one that you would ship."
    )
    parser.add_argument("--params", type=Path, default=PARAMS, help="configuration (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs: dict[str, Callable[[Params, argparse.Namespace], int]] = {
        "check": check,
        "serve": serve,
        "config": config,
        "dashboards": dashboards,
        "page": page,
        "up": up,
        "loop": loop,
        "retrain": retrain,
        "history": history,
        "simulate": simulate,
    }
    made = {name: commands.add_parser(name, help=run.__doc__, description=run.__doc__) for name, run in runs.items()}
    for wish, text in (
        ("approve", "Let users get the model that waits."),
        ("reject", "Stop the retraining that waits."),
    ):
        runs[wish] = _wishing(wish)
        commands.add_parser(wish, help=text, description=text)
    for name in ("check", "serve", "page", "loop"):
        made[name].add_argument("--prometheus", help="its address (default: monitoring.prometheus of params.yaml)")
        made[name].add_argument("--record", help="URL of the record (default: the deployment's)")
    made["check"].epilog = EXIT_CODES
    made["check"].add_argument("tests", nargs="*", metavar="TEST", help="which (default: all seven)")
    made["check"].add_argument("--json", action="store_true", help="for programs")
    made["simulate"].add_argument("names", nargs="*", metavar="NAME", help="a fault, or quiet (default: all, an hour)")
    made["simulate"].add_argument("--months", type=int, default=6, help="quiet ones (default: %(default)s)")
    made["simulate"].add_argument(
        "--keep", type=Path, metavar="DIR", help="where the first model stays for the next time"
    )
    made["retrain"].add_argument("--reason", required=True, help="why; kept with it")
    made["loop"].add_argument("--once", action="store_true", help="one turn")
    made["loop"].epilog = made["retrain"].epilog = (
        "Exit codes: 0 well, 7 stopped, 8 waits for somebody, 10 it cannot be done."
    )
    made["page"].add_argument("--out", type=Path, default=Path("monitoring.html"), help="file (default: %(default)s)")
    made["page"].add_argument("--last", default="6h", help="so much time (default: %(default)s)")
    made["page"].add_argument("--exporter", default="http://127.0.0.1:9108", help="its address (default: %(default)s)")
    made["serve"].add_argument("--host", default="127.0.0.1", help="to listen on (default: %(default)s)")
    made["serve"].add_argument("--port", type=int, default=9108, help="to listen on (default: %(default)s)")
    for one in (made["config"], made["dashboards"]):
        one.add_argument("--out", type=Path, required=True, help="folder")
    made["up"].add_argument("--home", type=Path, default=Path(".monitoring"), help="folder (default: %(default)s)")
    made["up"].add_argument(
        "--ports",
        type=_port,
        nargs="*",
        default=[],
        metavar="SERVER=PORT",
        help="of prometheus, alertmanager, pushgateway, exporter (default: the usual one, or one that is free)",
    )
    for one in (made["config"], made["up"]):
        one.add_argument(
            "--target",
            action="append",
            default=[],
            metavar="HOST:PORT",
            help="a service to watch besides the deployment's instances, such as one of `make run`; may be repeated",
        )
    asked = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(runs[asked.command](configuration.load(asked.params), asked))


if __name__ == "__main__":
    command.run(main, sys.argv[1:])
