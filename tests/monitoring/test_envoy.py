"""What rules and panels ask of an Envoy, against the page of a real one: a name that it does not use is never answered."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from data import params
from deploy.router.routing import WHOLE, Routing
from monitoring import alerts, panels, recording, servers
from tests.deploy.upstreams import routed, upstream

ROOT = Path(__file__).parents[2]
CONFIG = params.load(ROOT / "params.yaml")
#: Labels that Prometheus gives whatever it reads.
OWN = {"job", "instance", "namespace"}
_LABELS = re.compile(r"\b(by|without|on|ignoring) \([^)]*\)")


@dataclass(frozen=True)
class Selector:
    """A series that is asked for: its name, what its labels must match, and labels that must be there."""

    name: str
    matched: tuple[tuple[str, str], ...]
    shown: tuple[str, ...] = ()


def selectors() -> list[Selector]:
    """Of every expression, and of what a person is told to type."""
    rules = [*(rule for group in recording.groups(CONFIG) for rule in group["rules"]), *alerts.alerts(CONFIG)]
    typed = re.findall(r"`([^`]*)`", (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8"))
    shown = [query for one in panels.panels(CONFIG).values() for panel in one for query in panel.queries]
    asked = [(text, "") for text in (*(rule["expr"] for rule in rules), *typed)] + shown
    return sorted(
        {
            Selector(name, _matchers(labels or ""), tuple(re.findall(r"\{\{(\w+)\}\}", legend)))
            for expression, legend in asked
            for name, labels in re.findall(r"\b(envoy_\w+)(?:\{([^}]*)\})?", _LABELS.sub("", expression))
        },
        key=repr,
    )


def _matchers(labels: str) -> tuple[tuple[str, str], ...]:
    found = re.findall(r'(\w+)(=~|=)"([^"]*)"', labels)
    assert len(found) == labels.count("="), labels
    return tuple((name, text if how == "=~" else re.escape(text)) for name, how, text in found if name not in OWN)


Series = Mapping[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """By name, the labels of what Prometheus keeps of the deployment's Envoy, which answered some with 200 and some with 5xx."""
    with upstream("good") as good, upstream("bad", breaks=True) as bad:
        routing = Routing({"good": (good,), "bad": (bad,)}, {"good": WHOLE // 2, "bad": WHOLE // 2})
        with routed(tmp_path_factory.mktemp("envoy"), routing) as to, httpx.Client(trust_env=False) as client:
            answers = {client.get(to.url).status_code for _ in range(40)}
            assert {200, 503} <= answers
            (admin,) = to.router.admins
            text = client.get(f"http://127.0.0.1:{admin}/stats/prometheus").raise_for_status().text
    found = defaultdict(list)
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        if re.fullmatch(servers.ENVOY, name):
            found[name].append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))
    return found


def test_what_is_asked_of_an_envoy_is_known() -> None:
    """That the expressions are read as they are meant."""
    assert {one.name for one in selectors()} >= {recording.ANSWERED, "envoy_cluster_upstream_rq_xx"}
    assert any(one.shown for one in selectors())
    assert any(("envoy_response_code_class", "5") in one.matched for one in selectors())


@pytest.mark.parametrize("asked", selectors(), ids=lambda one: f"{one.name} {dict(one.matched)}")
def test_a_real_envoy_has_what_is_asked_of_it(page: Series, asked: Selector) -> None:
    assert asked.name in page, f"wanted one of {sorted(page)}"
    fitting = [
        labels
        for labels in page[asked.name]
        if all(re.fullmatch(text, labels.get(name, "")) for name, text in asked.matched)
    ]
    assert fitting, f"{asked.name} with {asked.matched}: its labels are {page[asked.name]}"
    assert all(set(asked.shown) <= labels.keys() for labels in fitting)
