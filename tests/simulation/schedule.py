"""Virtual time: what happens next, in an order that depends on the seed alone. And the trace of it."""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

TRACE_LINES_SHOWN = 60
SECOND_US = 1_000_000


class Event:
    """Something that will happen; `drop` sees to it that it does not."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], object]) -> None:
        self._act: Callable[[], object] | None = act

    def drop(self) -> None:
        self._act = None

    def happen(self) -> None:
        if self._act is not None:
            self._act()


class Trace:
    """What happened, line by line: a hash over all of it, and the last lines for who has to understand it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.last: deque[str] = deque(maxlen=TRACE_LINES_SHOWN)
        self.line_count = 0

    def add(self, line: str) -> None:
        self._hash.update(line.encode("utf-8", "backslashreplace"))
        self.last.append(line)
        self.line_count += 1

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()[:16]


class Schedule:
    """The only clock and the only randomness of a world. Times are microseconds since its beginning."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now_us = 0
        self.trace = Trace()
        self._heap: list[tuple[int, int, Event]] = []
        self._count = 0

    def at(self, when_us: int, act: Callable[[], object]) -> Event:
        """Let something happen at a time; things of one time happen in the order they were given."""
        event = Event(act)
        self._count += 1
        heapq.heappush(self._heap, (max(when_us, self.now_us), self._count, event))
        return event

    def after(self, seconds: float, act: Callable[[], object]) -> Event:
        return self.at(self.now_us + round(seconds * SECOND_US), act)

    def run_until(self, until_us: int) -> None:
        """Let time pass."""
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            self.now_us, _, event = heapq.heappop(heap)
            event.happen()
        self.now_us = until_us

    def note(self, what: str, *details: Any) -> None:
        """Add a line to the trace."""
        self.trace.add(f"{self.now_us / SECOND_US:13.6f} {what} {' '.join(map(str, details))}")

    # Choices

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def seconds(self, shortest: float, longest: float) -> float:
        """A duration; short ones are likelier."""
        return shortest + (longest - shortest) * self.random.random() ** 2
