"""Users who stay with a version: through two real Envoys, over changes of weights; and what the judge makes of them."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from data import params
from data.deployment import Sticky
from data.errors import ConfigError
from data.rollout import Judgement
from data.verdict import Outcome
from deploy.judging.counts import Phase, Split
from deploy.judging.judge import judge
from deploy.router.routing import WHOLE, Routing
from tests.deploy.upstreams import METHOD, Routed, routed, upstream
from tests.loadtests.store import ROOT

#: As a canary goes; the candidate comes last.
RISING = (0.1, 0.25, 0.5, 1.0)
USERS = 40


@pytest.fixture(scope="module")
def both() -> Iterator[Routing]:
    with upstream("old") as old, upstream("new") as new:
        yield Routing({"old": (old,), "new": (new,)}, {"old": WHOLE})


def at(routing: Routing, share: float) -> Routing:
    parts = round(share * WHOLE)
    return replace(routing, weights={"old": WHOLE - parts, "new": parts})


def by_http(to: Routed, **headers: str) -> str:
    """On a connection of its own, so that either Envoy may get it; certificates, which take long to load, are not needed."""
    return httpx.get(to.url, headers=headers, verify=False).text


def by_grpc(to: Routed, **headers: str) -> str:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(to.address, options=options) as channel:
        answer: bytes = channel.unary_unary(METHOD)(b"", timeout=10, metadata=list(headers.items()))
    return answer.decode()


def moves_once(answers: list[str]) -> bool:
    """From the version before to the candidate, and never back."""
    return answers == sorted(answers, reverse=True)


def test_a_header_keeps_users_where_they_are(both: Routing, tmp_path: Path) -> None:
    sticky = replace(both, sticky=Sticky(header="x-user"))
    people = [str(uuid.UUID(int=number)) for number in range(USERS)]
    seen: dict[str, list[str]] = {one: [] for one in people}
    with routed(tmp_path, at(sticky, 0.0), envoys=2) as to:
        for revision, share in enumerate(RISING, 2):
            to.router.apply(at(sticky, share), revision)
            for one in people:
                answers = [ask(to, **{"x-user": one}) for ask in (by_http, by_grpc) for _ in range(2)]
                assert len(set(answers)) == 1, f"{one} at {share:g}: {answers}"
                seen[one] += answers
            of_new = sum(answers[-1] == "new" for answers in seen.values())
            assert abs(of_new - share * USERS) <= 4 * (USERS * share * (1 - share)) ** 0.5
        taken = [to.router.counted(["old", "new"])[admin] for admin in to.router.admins]
        assert all(one["old"].requests and one["new"].requests for one in taken), "an Envoy had nothing to do"
    assert all(map(moves_once, seen.values()))


def test_without_the_header_chance_decides_about_each_request(both: Routing, tmp_path: Path) -> None:
    with routed(tmp_path, at(replace(both, sticky=Sticky(header="x-user")), 0.5)) as to:
        assert set(Counter(by_http(to) for _ in range(40))) == {"old", "new"}


def test_a_cookie_is_given_once_and_keeps_users_from_their_first_answer_on(both: Routing, tmp_path: Path) -> None:
    sticky = replace(both, sticky=Sticky(cookie="who"))
    with contextlib.ExitStack() as ending, routed(tmp_path, at(sticky, 0.25), envoys=2) as to:
        people = [ending.enter_context(httpx.Client(base_url=to.url, verify=False)) for _ in range(USERS)]
        first = [one.get("/") for one in people]
        assert all(one.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Lax") for one in first)
        seen = [[one.text] for one in first]
        for revision, share in enumerate((0.25, 0.5, 1.0), 2):
            to.router.apply(at(sticky, share), revision)
            for one, answers in zip(people, seen, strict=True):
                later = [one.get("/"), httpx.get(to.url, cookies=dict(one.cookies) | {"other": "x"}, verify=False)]
                assert not any("set-cookie" in answer.headers for answer in later)
                assert by_grpc(to, cookie=f"a=1; who={one.cookies['who']}") == later[0].text == later[1].text
                answers.append(later[0].text)
        assert {answers[0] for answers in seen} == {"old", "new"}
        assert [answers[0] for answers in seen] == [answers[1] for answers in seen]
        assert all(map(moves_once, seen))
        assert "set-cookie" in httpx.get(to.url, headers={"cookie": "who=; somewho=1"}).headers


@pytest.mark.parametrize(
    ("router", "judgement", "fault"),
    [
        ({"sticky": {}}, {}, "deploy.router.sticky: got neither of header and cookie, wanted one"),
        ({"sticky": {"header": "a", "cookie": "b"}}, {}, "deploy.router.sticky: got both of header and cookie"),
        ({"sticky": {"header": "X-User"}}, {}, "deploy.router.sticky.header: "),
        ({"sticky": {"cookie": "a;b"}}, {}, "deploy.router.sticky.cookie: "),
        (
            {"sticky": {"header": "x-user"}},
            {"cluster": 1},
            "got judgement.cluster 1, wanted how many requests one user",
        ),
    ],
)
def test_what_cannot_be_kept_or_judged_is_refused(router: Any, judgement: Any, fault: str) -> None:
    whole = params.load(ROOT / "params.yaml").model_dump(mode="json")
    whole["deploy"] = {"router": router, "judgement": judgement}
    with pytest.raises(ConfigError) as err:
        params.parse(whole)
    assert fault in err.value.message


def is_stopped(rng: np.random.Generator, people: int, each: int, cluster: int) -> bool:
    """Whether a candidate that is no worse is stopped, in a rollout to users who stay and ask so often each.

    One in twenty of them asks what fails most of the time, of whatever version.
    """
    place = rng.random(people)
    rates = np.where(rng.random(people) < 0.05, 0.3, 0.002)
    phases: list[Phase] = []
    for weight in (0.1, 0.25, 0.5):
        asked = np.full(people, each // 3)
        bad = rng.binomial(asked, rates)
        new = place >= 1 - weight
        phases.append(
            Phase(
                weight,
                Split(int(asked[new].sum()), int(asked[~new].sum())),
                Split(int(bad[new].sum()), int(bad[~new].sum())),
            )
        )
        if judge(phases, (), Judgement(cluster=cluster)).outcome in (Outcome.FAIL, Outcome.ERROR):
            return True
    return False


def test_a_judge_that_takes_their_requests_for_independent_stops_good_candidates() -> None:
    """Why `cluster` has to be said: this is what a cluster of 1 would do."""
    rng = np.random.default_rng(7)
    stopped = {
        cluster: sum(is_stopped(rng, people=500, each=30, cluster=cluster) for _ in range(100)) for cluster in (1, 30)
    }
    assert stopped[1] > 20
    assert stopped[30] <= 1
