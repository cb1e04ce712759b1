"""Calls back in the event loop when the process gets a signal.

As `loop.add_signal_handler`, which asks `inspect` about each callback: a megabyte with what it imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Final

READ_BYTES_MAX: Final = 4096


@contextlib.contextmanager
def handled(callbacks: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    """Call back for these signals as long as the context lasts. Only in the main thread."""
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    # The pipe only wakes the loop: when it is full, what came is known all the same.
    came: set[int] = set()

    def arrived() -> None:
        os.read(reader, READ_BYTES_MAX)
        while came:
            callbacks[signal.Signals(came.pop())]()

    loop.add_reader(reader, arrived)
    waker_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda came_now, _: came.add(came_now)) for number in callbacks}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(waker_before)
        loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)
