"""When what is long over is forgotten: once an hour, slice by slice. What that is, the core decides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from thingjobs_broker.core.retention import Cursor

if TYPE_CHECKING:
    from thingjobs_broker.runner import Runner

DAY_MS: Final = 24 * 3600 * 1000
PASS_SECONDS: Final = 3600.0
SLICE_PAUSE_SECONDS: Final = 0.05
"""Between two slices: a fleet's worth of old executions takes minutes, and nobody notices."""


class Retention:
    """Forgets what ended more than `days` ago. `start`, then `close`."""

    def __init__(self, runner: Runner, days: int) -> None:
        self._runner = runner
        self._days = days
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with a pass now."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop between two slices."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self.forget(SLICE_PAUSE_SECONDS)
            await asyncio.sleep(PASS_SECONDS)

    async def forget(self, pause_seconds: float = SLICE_PAUSE_SECONDS) -> None:
        """Go through everything once, with a pause between two slices."""
        before_ms = self._runner.now_ms() - self._days * DAY_MS
        cursor = self._runner.forget(Cursor(), before_ms)
        while cursor is not None:
            await asyncio.sleep(pause_seconds)
            cursor = self._runner.forget(cursor, before_ms)
