"""A demonstration: under load, a good new version is promoted, and bad ones are found and taken back by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.command import say
from loadtests import spoiled
from loadtests.rollouts import site
from loadtests.rollouts.site import Load

RATE = 60
#: A canary that is over in a minute.
PLAN: dict[str, Any] = {
    "canary": {
        "steps": [
            {"mirror": 1.0, "requests": 200, "at_most": "2min"},
            {"weight": 0.1, "requests": 50, "at_most": "2min"},
            {"weight": 0.25, "requests": 150, "at_most": "2min"},
            {"weight": 0.5, "requests": 500, "at_most": "5min"},
        ]
    }
}
#: New versions by name: what is wrong with each, and its code.
VERSIONS = {
    "good": ("nothing is wrong with it", ""),
    "slow": ("each request takes 10 ms more", spoiled.slow(0.01)),
    "failing": ("a tenth of its answers are errors", spoiled.failing(0.1)),
    "nonsense": ("its forecasts are a hundred times too high, at full speed", spoiled.nonsense()),
}


def run(tag: str, params: Path, out: Path) -> dict[str, str]:
    """Roll out a good version and three bad ones, one after another.

    Args:
        tag: of the Bento that serves.
        params: configuration.
        out: folder that the reports go to.

    Returns:
        How each ended, by name.
    """
    ended = {}
    with site.up(tag, PLAN, params, keep=out) as place, Load.on(place, RATE) as load:
        say(f"{tag} serves on {place.url}; {RATE} requests/s all the while")
        for name, (wrong, code) in VERSIONS.items():
            copy = spoiled.make(tag, code, name)
            say(f"\n{copy}: {wrong}")
            try:
                ended[name] = place.run("canary", copy, loud=True).last
            finally:
                spoiled.remove(copy)
    say(f"\nusers asked {load.requests:,} times, {load.failed:,} answers were wrong; reports: {out}")
    return ended
