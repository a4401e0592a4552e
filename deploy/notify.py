"""Whom a rollout tells that it ended, or waits: a webhook, at the address in DEPLOY_WEBHOOK."""

from __future__ import annotations

import os
from collections.abc import Callable

import requests

from deploy.journal import Rollout

URL = "DEPLOY_WEBHOOK"
TIMEOUT_SECONDS = 10.0


def tell(rollout: Rollout, say: Callable[[str], None]) -> None:
    """Post a rollout as JSON; its `text` is what chat programs show. A webhook that fails is told of, and no more.

    Args:
        rollout: as it stands now.
        say: tells a person.
    """
    url = os.environ.get(URL)
    if not url:
        return
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
    try:
        requests.post(url, json=told, timeout=TIMEOUT_SECONDS).raise_for_status()
    except requests.RequestException as err:  # not its text: the address may hold a secret
        say(f"the webhook in {URL} was not told: {type(err).__name__}")
