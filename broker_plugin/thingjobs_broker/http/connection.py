"""A connection of an HTTP client: uvicorn's HTTP/1.1, given up when it is too slow.

How often it is read at all is decided below it, see `PacedSocket`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

ARRIVE_SECONDS_MAX: Final = 10
"""From the first byte of a request, or the connection's begin, to the last byte."""

LEAVE_SECONDS_MAX: Final = 90
"""From there to the last byte of the response, which a client may be slow to take."""


class GuardedConnection(H11Protocol):
    """A connection that is given up when a request, or the taking of its response, is too slow."""

    def __init__(self, config: Config, state: ServerState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it is the client's turn: no request has arrived that is not answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._within(ARRIVE_SECONDS_MAX)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first of a request start its time."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self.is_waiting:
            self._within(LEAVE_SECONDS_MAX)
        elif self._deadline is None:
            self._within(ARRIVE_SECONDS_MAX)

    def on_response_complete(self) -> None:
        """Wait for the next request, or until the client has taken the response."""
        self._within(LEAVE_SECONDS_MAX if self.transport.get_write_buffer_size() else None)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with it."""
        self._within(None)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def _within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.abort) if seconds is not None else None
