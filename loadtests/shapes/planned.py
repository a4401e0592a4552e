"""What the shapes of locust have in common: the peak is `-u`, the duration is `-t`."""

from __future__ import annotations

import time

from locust import LoadTestShape

#: Without `-u` and `-t`.
PEAK, SECONDS = 100, 300.0


class Planned(LoadTestShape):
    """A load that follows a plan of `loadtests.shapes.plans`."""

    abstract = True
    use_common_options = True

    @staticmethod
    def plan(second: float, peak: int, duration: float) -> int | None:
        """Users at a time; see `loadtests.shapes.plans`."""
        raise NotImplementedError

    def tick(self) -> tuple[int, float] | None:
        """Users now, all of them at once; None when it is over."""
        assert self.runner is not None, "locust sets it"
        options = self.runner.environment.parsed_options
        assert options is not None, "the command has options"
        peak, seconds = options.num_users or PEAK, float(options.run_time or SECONDS)
        users = self.plan(time.perf_counter() - self.start_time, peak, seconds)
        return None if users is None else (users, float(peak))
