"""Messages of gRPC on their way: what is not there after a moment takes room, and in the end is refused.

grpc.aio hands over a message when its last byte is there. How much of one it holds until then it does not tell,
so one that is late counts as the largest that may come, in the room that large bodies of HTTP take too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import NoReturn

import grpc.aio

from data.errors import BentocastError, RequestError
from service.admission import Admission, OverloadedError
from service.codes import Context

#: A message comes with its head, or soon after; one that is not there by then is large, or never ends.
LATE_SECONDS = 0.5
#: A timer that rings so much later tells of a loop that was held up, and nothing of the client.
HELD_UP_SECONDS = 0.1

#: Ends a call with an error.
Refuse = Callable[[BentocastError], Awaitable[NoReturn]]


class LateError(RequestError):
    """A message that did not come in time."""

    status = 408
    code = "request_timeout"


class NoMessageError(RequestError):
    """A call that ended without a message, or with one that gRPC did not take."""


class Arrivals:
    """Waits for messages, and keeps bounds on how many are late.

    Args:
        admission: whose room late messages take.
        max_bytes: largest message that may come.
        longest_seconds: how long one may take that has found room.
    """

    def __init__(self, admission: Admission, max_bytes: int, longest_seconds: float) -> None:
        self.admission, self.max_bytes, self.longest_seconds = admission, max_bytes, longest_seconds
        #: Refusals that are being sent, which nothing else would keep.
        self._refusals: set[asyncio.Task[None]] = set()

    async def message(self, context: Context, refuse: Refuse, *, room: bool, seconds: float = LATE_SECONDS) -> bytes:
        """The next message of a call; its method is one of streams, of which gRPC reads nothing by itself.

        Args:
            context: of the call.
            refuse: ends the call, while its message is waited for.
            room: whether a message that is late may take room; else it is refused.
            seconds: after which it is late.

        Raises:
            AbortError: it was late and is refused.
            NoMessageError: there is none.
        """
        wait = _Wait(self, refuse, seconds, room)
        try:
            body = await context.read()
        finally:
            wait.end()
        if not isinstance(body, bytes):
            raise NoMessageError("the call ended without a message, wanted one of the method's own type")
        return body

    def send(self, refusal: Coroutine[None, None, None]) -> None:
        """Send a refusal beside the call that waits."""
        task = asyncio.ensure_future(refusal)
        self._refusals.add(task)
        task.add_done_callback(self._refusals.discard)


class _Wait:
    """One message that is waited for."""

    __slots__ = (
        "_arrivals",
        "_began",
        "_due",
        "_ended",
        "_held_bytes",
        "_loop",
        "_refuse",
        "_room",
        "_seconds",
        "_timer",
    )

    def __init__(self, arrivals: Arrivals, refuse: Refuse, seconds: float, room: bool) -> None:  # noqa: FBT001
        self._arrivals, self._refuse, self._seconds, self._room = arrivals, refuse, seconds, room
        self._held_bytes, self._ended, self._loop = 0, False, asyncio.get_running_loop()
        self._began = self._loop.time()
        self._ring(self._began + seconds, self._late)

    def end(self) -> None:
        """It is there, or never will be."""
        self._ended = True
        self._timer.cancel()
        self._arrivals.admission.let_go(self._held_bytes)

    def _ring(self, due: float, act: Callable[[], None]) -> None:
        self._due, self._timer = due, self._loop.call_at(due, act)

    def _late(self) -> None:
        if self._loop.time() > self._due + HELD_UP_SECONDS:
            self._ring(self._loop.time() + self._seconds, self._late)
        elif not self._room:
            self._over()
        else:
            self._take_room()

    def _take_room(self) -> None:
        arrivals = self._arrivals
        try:
            arrivals.admission.hold(arrivals.max_bytes)
        except OverloadedError as err:
            arrivals.send(self._refused(err))
            return
        self._held_bytes = arrivals.max_bytes
        self._seconds = arrivals.longest_seconds
        self._ring(self._began + self._seconds, self._over)

    def _over(self) -> None:
        late = LateError(f"the message did not come within {self._seconds:g} s: send it faster")
        self._arrivals.send(self._refused(late))

    async def _refused(self, err: BentocastError) -> None:
        if self._ended:
            return
        # An abort is an error by itself; and the client may be gone by now.
        with contextlib.suppress(grpc.aio.BaseError):
            await self._refuse(err)
