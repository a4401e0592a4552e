"""What a command looks at now."""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import TYPE_CHECKING

from data.params import Params

if TYPE_CHECKING:
    from monitoring.context import Context


def of(config: Params, asked: argparse.Namespace) -> Context:
    """What is looked at now: the record is the deployment's, unless it is said."""
    from deploy import settings
    from deploy.place import Place
    from monitoring.context import Context
    from monitoring.prometheus import Prometheus

    now = time.time()
    kept = Place.of(os.environ).environment
    record = asked.record or (settings.record_url(json.loads(kept.read_text("utf-8"))) if kept.exists() else None)
    return Context(config, now, Prometheus(asked.prometheus or config.monitoring.prometheus, now), record)
