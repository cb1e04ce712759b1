"""The service's time: epoch milliseconds that never go backwards, and how corrections of the wall clock are
seen.

A machine without a battery clock boots in the past and is corrected later, by years at once. So time runs on
uptime (which counts suspended time), and the wall clock is only compared with it: `behind_ms` is a
correction that has not been followed yet. Following it forward is the runner's, because running deadlines
move with it. A wall clock set back is not followed: time goes on and the wall clock catches up.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Protocol

STEP_MS_MIN: Final = 100
"""A smaller difference is not followed: who keeps clocks slews that much, and uptime is slewed with it."""

LOST_MS_MIN: Final = 5_000
"""A wall clock that is behind the last record by less was corrected, not lost."""

NOT_BEFORE_MS: Final = 1_672_531_200_000
"""The beginning of 2023: a wall clock that shows an earlier time was lost."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Start(Protocol):
    """A start of the service on record."""

    @property
    def at_ms(self) -> int:
        """Epoch milliseconds, as corrected since."""

    @property
    def boot_id(self) -> str:
        """The boot of the machine that it belongs to."""

    @property
    def uptime_ms(self) -> int:
        """The machine's uptime at that time."""

    @property
    def is_clock_lost(self) -> bool:
        """Whether the time was only carried on, and has not been corrected since."""


class Clock(Protocol):
    """What the runner reads; a test moves its own.

    `is_lost` tells that the wall clock showed a time that had long passed, so that the service's time may be
    behind the true one by as long as the machine was off.
    """

    boot_id: str
    is_lost: bool

    def now_ms(self) -> int:
        """Return milliseconds since the epoch, never less than before."""
        ...

    def uptime_ms(self) -> int:
        """Return milliseconds since the machine booted."""
        ...

    def behind_ms(self) -> int:
        """Return by how much the wall clock was corrected forward, 0 when it agrees or was set back."""
        ...

    def follow(self, delta_ms: int) -> None:
        """Go forward by a correction."""


class SystemClock:
    """The machine's clock, carried on from the last time that is on record.

    Args:
        not_before_ms: the time of the last record; recorded deadlines must not move away from it.
        last_start: the last start on record; within the same boot, uptime tells how long ago that was.

    """

    def __init__(self, not_before_ms: int = 0, last_start: Start | None = None) -> None:
        self.boot_id = _boot_id()
        wall_ms = _wall_ms()
        now_ms = max(wall_ms, not_before_ms)
        self.is_lost = wall_ms < max(not_before_ms - LOST_MS_MIN, NOT_BEFORE_MS)
        if last_start is not None and self.boot_id and last_start.boot_id == self.boot_id:
            now_ms = max(last_start.at_ms + self.uptime_ms() - last_start.uptime_ms, not_before_ms)
            self.is_lost = last_start.is_clock_lost
        elif last_start is not None and last_start.is_clock_lost:
            # What runs was timed by a clock that was behind. By how much nobody knows, so all of the
            # difference is a correction: too late by the outage is better than too early.
            now_ms = not_before_ms
        self._offset_ms = now_ms - self.uptime_ms()

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return self.uptime_ms() + self._offset_ms

    def uptime_ms(self) -> int:
        """Return milliseconds since the machine booted, suspended time included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def behind_ms(self) -> int:
        """Return by how much the wall clock was corrected forward."""
        difference_ms = _wall_ms() - self.now_ms()
        return difference_ms if difference_ms >= STEP_MS_MIN else 0

    def follow(self, delta_ms: int) -> None:
        """Go forward by a correction."""
        self._offset_ms += delta_ms
        self.is_lost = False


class StandingClock:
    """A clock for tests of users: it moves when it is told to, and carries on from the last record.

    Args:
        not_before_ms: the time of the last record; 0 for the wall clock's.

    """

    boot_id = ""
    is_lost = False

    def __init__(self, not_before_ms: int = 0) -> None:
        self._now_ms = not_before_ms or _wall_ms()

    def now_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return self._now_ms

    def uptime_ms(self) -> int:
        """Return the same; nobody compares it with the uptime of a machine."""
        return self._now_ms

    def behind_ms(self) -> int:
        """The wall clock is of no concern."""
        return 0

    def follow(self, delta_ms: int) -> None:
        """Go forward."""
        self._now_ms += delta_ms

    def move_to(self, now_ms: int) -> None:
        """Go forward to a time; one that has passed changes nothing."""
        self._now_ms = max(self._now_ms, now_ms)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
