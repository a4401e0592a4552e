"""What stops a load test, so that there is no verdict."""

from __future__ import annotations

from data.errors import BentocastError


class LoadtestError(BentocastError):
    """A load test could not be run, or its numbers cannot be trusted."""

    exit_code = 9
    code = "load_test_failed"
