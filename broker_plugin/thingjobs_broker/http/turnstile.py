"""Paces HTTP by the processor time that it takes, so that devices get theirs whatever HTTP clients do.

Connections, pieces of requests and requests wait in one line. While devices ask, each pays for the time that
those before it took; while nobody does, the loop gets one for each turn, so that it can hear who begins to.
"""

from __future__ import annotations

import asyncio
import time
import types
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator

PAUSE_RATIO: Final = 40.0
"""Pause of HTTP while devices ask, as a multiple of the processor time that it took."""

QUIET_SECONDS: Final = 0.01
"""Who has asked so recently is about to ask again; afterwards nothing is left to pay."""

TURN_SECONDS: Final = 20e-6
"""Of processor time that the loop takes for each piece of work, before and after we see it."""

Kind = TypeVar("Kind")


class Turnstile:
    """First come, first served.

    Args:
        asked: how often devices have asked so far.
        now: a clock that only goes forward, in seconds.
        used: the processor time of this thread, in seconds.

    """

    def __init__(
        self,
        asked: Callable[[], int] = lambda: 0,
        now: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.thread_time,
    ) -> None:
        self._asked = asked
        self._now = now
        self.used = used
        self._asked_before = asked()
        self._quiet_at = 0.0
        self._next_at = 0.0
        self._waiting: deque[Callable[[], bool]] = deque()
        self._is_turning = False
        self.spent_seconds = 0.0
        """Of processor time, so far."""

    def delay_seconds(self) -> float:
        """Return how long HTTP leaves the loop to devices, as it looks now; 0 for no longer."""
        now = self._now()
        self._listen(now)
        return max(0.0, self._next_at - now) if now < self._quiet_at else 0.0

    async def enter(self) -> None:
        """Return when it is this one's turn."""
        if not self._is_turning and not self.delay_seconds():
            self._turn_soon()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def go() -> bool:
            if turn.done():
                return False
            turn.set_result(None)
            return True

        self.call(go)
        await turn

    def call(self, go: Callable[[], bool]) -> None:
        """Call `go` when it is its turn; it tells whether it had a use for it."""
        self._waiting.append(go)
        if not self._is_turning:
            self._turn_soon()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Do some, for which those who come later pay."""
        began = self.used()
        try:
            yield
        finally:
            self.charge(self.used() - began)

    def charge(self, seconds: float) -> None:
        """So much processor time was seen to be taken."""
        spent_seconds = seconds + TURN_SECONDS
        self.spent_seconds += spent_seconds
        now = self._now()
        if now - seconds < self._quiet_at:
            # Nobody could be heard meanwhile.
            self._quiet_at += seconds
        self._listen(now)
        if now < self._quiet_at:
            self._next_at = max(self._next_at, now) + PAUSE_RATIO * spent_seconds

    async def metered(self, do: Callable[[], Coroutine[Any, Any, Kind]]) -> Kind:
        """Carry `do` out, and count what it takes, but not what it waits for."""
        return await self._steps(do())

    @types.coroutine
    def _steps(self, task: Coroutine[Any, Any, Kind]) -> Generator[Any, None, Kind]:
        error: BaseException | None = None
        while True:
            with self.work():
                try:
                    awaited = task.send(None) if error is None else task.throw(error)
                except StopIteration as end:
                    value: Kind = end.value
                    return value
            error = None
            try:
                yield awaited
            except BaseException as caught:  # noqa: BLE001 - a cancellation is the task's to see
                error = caught

    def _listen(self, now: float) -> None:
        asked = self._asked()
        if asked != self._asked_before:
            self._asked_before = asked
            self._quiet_at = now + QUIET_SECONDS

    def _turn_soon(self) -> None:
        self._is_turning = True
        loop, delay_seconds = asyncio.get_running_loop(), self.delay_seconds()
        if delay_seconds:
            loop.call_later(min(delay_seconds, QUIET_SECONDS), self._turn)
        else:
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        if not self.delay_seconds():
            while self._waiting and not self._waiting.popleft()():
                pass
        self._is_turning = False
        if self._waiting:
            self._turn_soon()
