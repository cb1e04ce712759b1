"""When each job has to be looked at next. Who looks, and what there is to do, is decided elsewhere."""

from __future__ import annotations

import heapq


class Agenda:
    """Jobs by the time of their next look; those that are due come in turn, so none waits for ever."""

    def __init__(self) -> None:
        self._due_ms: dict[str, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._turn = 0

    def put(self, job_id: str, due_ms: int | None) -> None:
        """Look at a job at that time instead of any other; None for never."""
        if due_ms is None:
            self._due_ms.pop(job_id, None)
            return
        self._turn += 1
        self._due_ms[job_id] = due_ms, self._turn
        heapq.heappush(self._heap, (due_ms, self._turn, job_id))

    def next_ms(self) -> int | None:
        """Return when the first look is due, None without any."""
        while self._heap and self._due_ms.get(self._heap[0][2]) != self._heap[0][:2]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now_ms: int) -> str | None:
        """Remove and return the job that has been due for longest, None if none is."""
        due_ms = self.next_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        job_id = heapq.heappop(self._heap)[2]
        del self._due_ms[job_id]
        return job_id
