"""Whom people are told by that something ended, or waits: webhooks, at addresses in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import requests

from deploy.journal import Rollout

URL = "DEPLOY_WEBHOOK"
TIMEOUT_SECONDS = 10.0


def tell(rollout: Rollout, say: Callable[[str], None]) -> None:
    """Post a rollout as JSON to DEPLOY_WEBHOOK; its `text` is what chat programs show.

    Args:
        rollout: as it stands now.
        say: tells a person.
    """
    told = {
        "text": f"{rollout.strategy} of {rollout.candidate}: {rollout.state}: {rollout.why}",
        "rollout": rollout.id,
        "strategy": rollout.strategy,
        "stable": rollout.stable,
        "candidate": rollout.candidate,
        "state": rollout.state,
        "reason": rollout.reason,
        "began": rollout.began,
        "ended": rollout.ended,
    }
    post(URL, told, say)


def post(variable: str, told: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Post JSON to a webhook, if there is one. One that fails is told of, and no more.

    Args:
        variable: of the environment, that holds its address.
        told: what is posted.
        say: tells a person.
    """
    url = os.environ.get(variable)
    if not url:
        return
    try:
        requests.post(url, json=told, timeout=TIMEOUT_SECONDS).raise_for_status()
    except requests.RequestException as err:  # not its text: the address may hold a secret
        say(f"the webhook in {variable} was not told: {type(err).__name__}")
