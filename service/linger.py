"""Whether a pass of the model is put off a little, so that more requests share it: learnt from what that brings.

Requests over HTTP come together by themselves: all that arrived during a pass are read before the next one. gRPC's
library hands over one call at a time, however many wait in it, and a pass for each costs twice as much as a pass for
all. Waiting helps where calls wait, and only delays a client that is alone; which of the two it is cannot be seen, so
both ways are tried, and the one is kept that answers more in a second.
"""

from __future__ import annotations

#: How long a pass is put off.
LINGER_SECONDS = 0.002
#: The other way is tried at every so many passes.
EXPLORE = 32
#: So much more has to be answered in a second.
GAIN = 1.2
#: Weight of the newest pass.
SMOOTHING = 0.2


class Linger:
    """Decides pass by pass; all times are seconds on one clock."""

    def __init__(self) -> None:
        self._ended, self._took = float("-inf"), 0.0
        #: Requests answered in a second without waiting and with it.
        self._rates = [0.0, 0.0]
        self._turn = 0
        #: The way that is being tried: an index of the rates, or None if there was a pause and nothing is learnt.
        self._way: int | None = None

    def seconds(self, now: float) -> float:
        """How long to wait for more, told when the first request comes after a pass."""
        if now - self._ended > self._took:
            self._way = None
            return 0.0
        self._turn += 1
        self._way = int(self._rates[1] > GAIN * self._rates[0])
        if self._turn % EXPLORE == 0:
            self._way = 1 - self._way
        return LINGER_SECONDS * self._way

    def passed(self, count: int, began: float, ended: float) -> None:
        """A pass answered some requests."""
        if self._way is not None:
            rate = count / max(1e-9, ended - self._ended)
            self._rates[self._way] += SMOOTHING * (rate - self._rates[self._way])
            self._way = None
        self._ended, self._took = ended, ended - began
