"""Which executions to look at by now: a lazy wheel of one-second ticks.

The truth is the execution's own deadline. An entry only says "look here at this tick": extending a timer
costs nothing, because the look finds the later deadline and enters it anew; a finished execution is simply
dropped when its tick comes.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from thingjobs_broker.core.untracked import untracked

if TYPE_CHECKING:
    from thingjobs_broker.core.state import Execution

TICK_MS: Final = 1000


class Timers:
    """The wheel. A tick is rounded up, so nothing is ever due early; at most one tick late."""

    def __init__(self) -> None:
        self._buckets: dict[int, list[Execution]] = {}
        self._ticks: list[int] = []
        """A heap of the keys of `_buckets`."""

    def __len__(self) -> int:
        """How many looks are planned; some of them will find a later deadline, or none."""
        return sum(map(len, self._buckets.values()))

    def schedule(self, execution: Execution, deadline_ms: int) -> None:
        """See to it that `execution` is looked at once `deadline_ms` has passed."""
        tick = -(-deadline_ms // TICK_MS)
        if 0 < execution.timer_tick <= tick:
            return
        execution.timer_tick = tick
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = untracked([])
            heapq.heappush(self._ticks, tick)
        bucket.append(execution)

    def next_due_ms(self) -> int | None:
        """Return when to look next, or None without timers."""
        return self._ticks[0] * TICK_MS if self._ticks else None

    def due(self, now_ms: int, count_max: int) -> list[Execution]:
        """Remove and return at most `count_max` executions whose deadline has passed."""
        found: list[Execution] = []
        looked = 0
        while self._ticks and self._ticks[0] * TICK_MS <= now_ms and looked < count_max:
            tick = self._ticks[0]
            bucket = self._buckets[tick]
            while bucket and looked < count_max:
                execution = bucket.pop()
                looked += 1
                if execution.timer_tick != tick:
                    continue
                execution.timer_tick = 0
                deadline_ms = execution.deadline_ms
                if deadline_ms > now_ms:
                    self.schedule(execution, deadline_ms)
                elif deadline_ms:
                    found.append(execution)
            if not bucket:
                heapq.heappop(self._ticks)
                del self._buckets[tick]
        return found
