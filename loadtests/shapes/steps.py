"""In five steps up to the peak."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # locust adds this file's folder, not the project's

from loadtests.shapes import plans
from loadtests.shapes.planned import Planned


class Steps(Planned):
    """In five steps up to the peak."""

    plan = staticmethod(plans.steps)
