"""Recognizes a second service with our client id: it and we would throw each other out for ever.

A broker that speaks MQTT 5 may say that a session was taken over. Others only close the connection; a rival
is suspected then when the next is accepted at once, as a broker that restarts does not do, and soon closed.
"""

from __future__ import annotations

from typing import Final

SESSION_TAKEN_OVER: Final = 0x8E
"""MQTT 5, 3.14.2.1."""

SHORT_SECONDS: Final = 10.0
"""A connection that lasts longer was not taken over by somebody who reconnects as eagerly as we do."""

NEWCOMER_SECONDS: Final = 60.0
"""Whoever came last gives up first, so that a service that has been running for long outlives the other."""

TOLD_SECONDS: Final = 600.0
TOLD_MAX: Final = {True: 2, False: 10}
UNTOLD_MAX: Final = {True: 3, False: 20}
"""By whether we came last: take-overs within `TOLD_SECONDS`, unexplained short connections in a row."""


class Rivals:
    """Counts what looks like a rival. Times are in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._first_connected_at: float | None = None
        self._told: list[float] = []
        self._untold = 0

    def refused(self) -> None:
        """An attempt to connect failed: it is the broker that comes and goes."""
        self._untold = 0

    def lost(self, code: int | None, connected_at: float, now: float) -> bool:
        """Note the end of a connection and its reason code; True where it is time to give up."""
        if self._first_connected_at is None:
            self._first_connected_at = connected_at
        self._told = [at for at in self._told if now - at < TOLD_SECONDS]
        if now - connected_at > SHORT_SECONDS:
            self._untold = 0
        if code == SESSION_TAKEN_OVER:
            self._told.append(now)
        elif code is None:
            self._untold += 1
        is_newcomer = now - self._first_connected_at < NEWCOMER_SECONDS
        return len(self._told) >= TOLD_MAX[is_newcomer] or self._untold >= UNTOLD_MAX[is_newcomer]
