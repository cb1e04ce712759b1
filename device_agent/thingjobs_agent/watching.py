"""Watches descriptors of our own in the event loop, whatever others left there under their numbers.

aiomqtt registers a socket's writer one turn late; if the link is cut in that turn, the registration outlives
the socket, and whoever opens the next descriptor gets its number and an error from epoll. What is registered
for a descriptor that was opened just now can only be such a leftover.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


def watch(loop: asyncio.AbstractEventLoop, descriptor: int, callback: Callable[[], object]) -> None:
    """Call back whenever there is something to read in a descriptor that was opened just now."""
    forget(loop, descriptor)
    loop.add_reader(descriptor, callback)


def forget(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    """Leave nothing registered for a descriptor that is about to be closed."""
    for remove in (loop.remove_reader, loop.remove_writer):
        # epoll knows nothing of a leftover; the loop forgets it all the same.
        with contextlib.suppress(OSError):
            remove(descriptor)
