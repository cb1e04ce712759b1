"""The service's time: epoch milliseconds that never go backwards."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the runner reads; a test moves its own."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch, never less than before."""
        ...


class SystemClock:
    """Wall-clock time at the start, carried on by the monotonic clock.

    `not_before_ms` is the time of the last record: a machine without a battery clock boots in the past, and
    recorded deadlines must not move away from it.
    """

    def __init__(self, not_before_ms: int = 0) -> None:
        now_ms = max(time.time_ns() // 1_000_000, not_before_ms)
        self._offset_ns = now_ms * 1_000_000 - time.monotonic_ns()

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return (time.monotonic_ns() + self._offset_ns) // 1_000_000
