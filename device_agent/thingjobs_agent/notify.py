"""Tells systemd how the agent is: ready, alive, stopping (sd_notify, by hand: one datagram each).

Alive means that the loop has turned and that the connection's own loop has turned; a thread or a timer that
only proves that the process exists would keep a dead agent running.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

BEATS_PER_TIMEOUT: Final = 3


class Notifier:
    """The way to the service manager; without one, all of this does nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read what the service manager has set."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._status = ""
        self._beaten_at = 0.0
        self.interval_seconds: float | None = None
        """How often `turned` must be called at least."""
        watchdog = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if self._address and watchdog.isdigit() and int(watchdog) and is_ours:
            self.interval_seconds = int(watchdog) / 1_000_000 / BEATS_PER_TIMEOUT

    def ready(self) -> None:
        """Say that the start is done."""
        self._send("READY=1")

    def turned(self, status: str) -> None:
        """Say that the loop has turned, and what the agent does."""
        lines = []
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={status}")
        # Half of the interval, because a wait ends a little late or early.
        is_due = self.interval_seconds and time.monotonic() - self._beaten_at >= self.interval_seconds / 2
        if is_due:
            self._beaten_at = time.monotonic()
            lines.append("WATCHDOG=1")
        if lines:
            self._send("\n".join(lines))

    def stopping(self) -> None:
        """Say that the end is near."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the NUL of an abstract address.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto(text.encode(), address)
