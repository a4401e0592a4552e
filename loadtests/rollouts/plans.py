"""Plans of the rollouts that are measured."""

from __future__ import annotations

from typing import Any

#: A rollout of a few seconds: what is counted here is what is lost on the way, not how sharp the judge is.
QUICK: dict[str, Any] = {
    "judgement": {
        "requests": 50,
        "slowness": {"tolerated": 3.0, "excluded": 10.0, "share": 0.2},
        "errors": {"share": 0.1},
    },
    "canary": {"steps": [{"weight": 0.5, "requests": 50, "at_most": "2min"}]},
}
#: The plan and judge as they come, without copies before: what users see of a bad version.
BARE: dict[str, Any] = {
    "canary": {
        "steps": [
            {"weight": 0.1, "requests": 500},
            {"weight": 0.25, "requests": 1_000},
            {"weight": 0.5, "requests": 2_000},
        ]
    }
}
#: The plan and judge as they come, with copies before.
WHOLE: dict[str, Any] = {}
