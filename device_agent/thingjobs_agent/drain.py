"""Reads a handler's pipe as soon as there is something in it, so that no handler ever waits for us."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import IO, Final

from thingjobs_agent.output import Tail
from thingjobs_agent.redaction import Redactor
from thingjobs_agent.watching import forget, watch

READ_BYTES_MAX: Final = 65_536
DRAIN_SECONDS: Final = 1.0
"""How long pipes are read on after the handler's end, if someone else still holds them open."""


class Drain:
    """One pipe, read to its end."""

    def __init__(
        self, pipe: IO[bytes], redactor: Redactor, tail: Tail, on_output: Callable[[bytes], None]
    ) -> None:
        """Begin to read; what comes goes, without secrets, into the tail and to `on_output`."""
        self._pipe = pipe
        self._redactor = redactor
        self._tail = tail
        self._on_output = on_output
        self._loop = asyncio.get_running_loop()
        self.is_at_end = asyncio.Event()
        os.set_blocking(pipe.fileno(), False)
        watch(self._loop, pipe.fileno(), self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._pipe.fileno(), READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            self._pass_on(self._redactor.feed(chunk))
        else:
            forget(self._loop, self._pipe.fileno())
            self.is_at_end.set()

    def _pass_on(self, data: bytes) -> None:
        if data:
            self._tail.feed(data)
            self._on_output(data)

    def close(self) -> None:
        """Stop reading, and pass on what was held back."""
        if not self.is_at_end.is_set():
            forget(self._loop, self._pipe.fileno())
        self._pipe.close()
        self._pass_on(self._redactor.flush())


async def drained(drains: list[Drain]) -> None:
    """Wait until all pipes are at their end; not for long, as a stranger may hold them open."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            for drain in drains:
                await drain.is_at_end.wait()
