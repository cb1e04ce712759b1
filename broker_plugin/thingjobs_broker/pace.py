"""How soon work goes on that nobody waits for: at once, or with pauses that leave devices their time.

A rollout, a cancellation or a deletion of 100,000 executions is many slices, one after the other. While
nobody asks, they follow each other at once.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAUSE_RATIO: Final = 25.0
"""Pause after a slice that somebody has asked beside, as a multiple of the processor time that it took; what
it publishes takes some more.
"""


class Pace:
    """Between two slices: `is_asked` is for whoever asks to set."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.thread_time
    ) -> None:
        self.is_asked = False
        self._now = now
        self._used = used
        self._next_at = 0.0

    @contextmanager
    def slice(self) -> Iterator[None]:
        """Do one; where somebody has asked since the last one, the next had better wait."""
        began = self._used()
        yield
        took_seconds = self._used() - began
        pause_seconds = PAUSE_RATIO * took_seconds if self.is_asked else 0.0
        self._next_at = self._now() + pause_seconds
        self.is_asked = False

    def delay_seconds(self) -> float:
        """Return how soon the next slice may begin, 0 for at once."""
        return max(0.0, self._next_at - self._now())
