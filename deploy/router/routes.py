"""Envoy's routes (RDS): who is sent to which version.

Trap, seen on 1.40: RDS accepts a cluster that does not exist, and answers 503, unless `validate_clusters` is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from data.deployment import Sticky
from deploy.router.messages import PUBLIC, Message, seconds, typed
from deploy.router.routing import Protocol, Routing, cluster

#: Order of routes: gRPC is HTTP too.
GRPC_FIRST: tuple[Protocol, ...] = ("grpc", "http")


def routes(routing: Routing, revision: str) -> Message:
    """The file of routes.

    Args:
        routing: where requests go.
        revision: by which the router tells that it took them over.
    """
    return {
        "version_info": revision,
        "resources": [typed("config.route.v3.RouteConfiguration", configuration(routing))],
    }


def configuration(routing: Routing) -> Message:
    """What is in that file."""
    # Who chooses a version is not compared: a copy of such a request would have no original to be judged beside.
    chosen = replace(routing, mirror=None)
    made = [
        _route(protocol, chosen, {choice.version: 1}, _Users({"headers": [_is(choice.header, exact=choice.value)]}))
        for choice in routing.choices
        for protocol in GRPC_FIRST
    ]
    made += [
        _route(protocol, routing, routing.weights, users) for users in _users(routing.sticky) for protocol in GRPC_FIRST
    ]
    return {
        "name": PUBLIC,
        "validate_clusters": True,
        "virtual_hosts": [
            {"name": PUBLIC, "domains": ["*"], "routes": made, "include_attempt_count_in_response": True}
        ],
    }


@dataclass(frozen=True)
class _Users:
    """Whom a route is for.

    Attributes:
        match: what tells them from others; all if empty.
        known_by: what is hashed to choose a version, or nothing: then it is chance.
        answer: what is done to answers.
    """

    match: Message = field(default_factory=dict)
    known_by: Message = field(default_factory=dict)
    answer: Message = field(default_factory=dict)


def _users(sticky: Sticky | None) -> list[_Users]:
    """Those who are told apart, to stay with a version; the first that match count.

    Envoy's own cookie (`ttl` of a cookie's hash policy) is made after the version was chosen, by chance, so that the next
    request may go to another. So whoever has no cookie is known by the request's id, which becomes the cookie.
    """
    if sticky is None:
        return [_Users()]
    if sticky.header:
        return [_Users(known_by={"header": {"header_name": sticky.header}})]
    given = {"key": "set-cookie", "value": f"{sticky.cookie}=%REQ(X-REQUEST-ID)%; Path=/; HttpOnly; SameSite=Lax"}
    return [
        _Users(
            match={"cookies": [_is(sticky.cookie, safe_regex={"regex": ".+"})]},
            known_by={"cookie": {"name": sticky.cookie}},
        ),
        _Users(
            known_by={"header": {"header_name": "x-request-id"}},
            answer={"response_headers_to_add": [{"header": given}]},
        ),
    ]


def _is(name: str | None, **value: object) -> Message:
    """Match of a header or cookie."""
    return {"name": name, "string_match": value}


def _route(protocol: Protocol, routing: Routing, weights: Mapping[str, int], users: _Users) -> Message:
    match: Message = {"prefix": "/", **users.match}
    if protocol == "grpc":
        match["grpc"] = {}
    weighted: Message = {
        "clusters": [
            {"name": cluster(version, protocol), "weight": weight} for version, weight in weights.items() if weight
        ]
    }
    action: Message = {
        "weighted_clusters": weighted,
        "timeout": seconds(routing.timeout_seconds),
        "retry_policy": {
            # What got no answer at all: forecasts change nothing, and actual values that are written twice are the same.
            "retry_on": "connect-failure,refused-stream,reset-before-request,reset",
            "num_retries": 3,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
            "host_selection_retry_max_attempts": 3,
            "retry_priority": {
                "name": "previous_priorities",
                "typed_config": typed(
                    "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", {"update_frequency": 1}
                ),
            },
            "retry_host_predicate": [
                {
                    "name": "previous_hosts",
                    "typed_config": typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", {}),
                }
            ],
        },
    }
    if routing.mirror:
        action["request_mirror_policies"] = [
            {
                "cluster": cluster(routing.mirror.version, protocol, mirrored=True),
                "runtime_fraction": {
                    "default_value": {"numerator": round(routing.mirror.share * 1e6), "denominator": "MILLION"}
                },
            }
        ]
    if users.known_by:
        weighted["use_hash_policy"] = True
        action["hash_policy"] = [users.known_by]
    return {"match": match, "route": action} | users.answer
