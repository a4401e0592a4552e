"""How many users there are when. One user is one request a second, so a plan of users is a plan of requests/s."""

from __future__ import annotations

#: Steps to the peak, all of the same length.
STEPS = 5
#: A spike: what there is before and after it, as a share of the peak, and when it begins and ends, as a share of the time.
CALM, SPIKE_BEGINS, SPIKE_ENDS = 0.1, 0.4, 0.6
#: A soak gets to its rate in this share of the time, so that the start does not look like a leak.
RAMP = 0.02


def steps(second: float, peak: int, duration: float) -> int | None:
    """A fifth of the peak, then two fifths, and so on: shows at which rate latencies begin to rise.

    Args:
        second: since the start.
        peak: users.
        duration: seconds.

    Returns:
        Users, one at least; None when it is over.
    """
    if second >= duration:
        return None
    return max(1, round(peak * (int(second / duration * STEPS) + 1) / STEPS))


def spike(second: float, peak: int, duration: float) -> int | None:
    """A tenth of the peak, all of it at once, a tenth again: shows whether a service recovers. Arguments as `steps`."""
    if second >= duration:
        return None
    high = SPIKE_BEGINS <= second / duration < SPIKE_ENDS
    return max(1, round(peak * (1.0 if high else CALM)))


def soak(second: float, peak: int, duration: float) -> int | None:
    """The same for a long time: shows leaks. Arguments as `steps`."""
    if second >= duration:
        return None
    return max(1, round(peak * min(1.0, second / (duration * RAMP))))
