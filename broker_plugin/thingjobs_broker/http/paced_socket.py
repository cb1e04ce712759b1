"""A socket that is read when it is its turn: below HTTP and TLS, so that every byte of a client is paid for.

What the bytes mean is decided above.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from thingjobs_broker.front.sockets import let_go

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.http.turnstile import Turnstile

READ_BYTES_MAX: Final = 16 * 1024
"""At once. Each byte may be a packet of its own: so many take a millisecond to be read."""

_TLS_HANDSHAKE: Final = 22
"""What TLS begins with; no request of HTTP does."""

_message: Final = b'{"message": "This is HTTPS; the address has to begin with https://"}'
_THIS_IS_HTTPS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"x-amzn-ErrorType: InvalidRequestException\r\nContent-Length: %d\r\n\r\n%s" % (len(_message), _message)
)

_buffer: Final = memoryview(bytearray(READ_BYTES_MAX))
"""For all: emptied before anything else happens. asyncio would make one of 256 KiB for each read."""


class PacedSocket(asyncio.BufferedProtocol):
    """The protocol of a socket's transport, and the transport of what is above: HTTP, or TLS with HTTP above.

    As a transport it is the socket's own but for reading, which goes on when both what is above and the
    turnstile let it.

    Args:
        turnstile: where it waits in line.
        peer: the address of the client, without its port.
        lost: called at the end.

    """

    def __init__(self, turnstile: Turnstile, peer: str, lost: Callable[[PacedSocket], None]) -> None:
        self.peer = peer
        self._turnstile = turnstile
        self._lost = lost
        self._transport: asyncio.Transport
        self._above: asyncio.BaseProtocol = asyncio.Protocol()
        self._began = 0.0
        self._is_paused = False
        self._is_in_line = False
        self._is_aborted = False
        self._is_heard = False

    def __getattr__(self, name: str) -> Any:
        """Everything else is as the socket's transport has it."""
        if name == "_transport":
            raise AttributeError(name)
        return getattr(self._transport, name)

    def carry(self, above: asyncio.BaseProtocol) -> asyncio.Transport:
        """Hand what arrives to `above`, buffered or not, from the next turn on; return its transport."""
        self._above = above
        self.resume_reading()
        return cast("asyncio.Transport", self)

    # The transport.

    def abort(self) -> None:
        """End at once, whatever is unsent, even what has not begun yet."""
        self._is_aborted = True
        if "_transport" in vars(self):
            self._transport.abort()

    def pause_reading(self) -> None:
        """Read nothing more."""
        self._is_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, at once or when it is our turn."""
        self._is_paused = False
        if not self._is_in_line:
            self._transport.resume_reading()

    # The protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read nothing until somebody is above."""
        self._transport = cast("asyncio.Transport", transport)
        self.pause_reading()
        if self._is_aborted:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio names it
        """Return where the next bytes go; what it takes to get them there counts."""
        self._began = self._turnstile.used()
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand the bytes on; what that takes is paid for before the next are read."""
        try:
            self._hand_on(nbytes)
        finally:
            self._turnstile.charge(self._turnstile.used() - self._began)
        self._wait_for_turn()

    def eof_received(self) -> bool | None:
        """Nothing more will arrive."""
        return cast("asyncio.Protocol", self._above).eof_received()

    def pause_writing(self) -> None:
        """The client takes its time."""
        self._above.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; nothing points in circles, for which the garbage collector does not come."""
        self._lost(self)
        above, self._above = self._above, asyncio.Protocol()
        above.connection_lost(exc)
        let_go(self._transport)

    def _hand_on(self, nbytes: int) -> None:
        above = self._above
        if not isinstance(above, asyncio.BufferedProtocol):
            cast("asyncio.Protocol", above).data_received(bytes(_buffer[:nbytes]))
            return
        if not self._is_heard and _buffer[0] != _TLS_HANDSHAKE:
            self._transport.write(_THIS_IS_HTTPS)
            self._transport.close()
            return
        self._is_heard = True
        # TLS, whose own buffer is larger than ours.
        memoryview(above.get_buffer(nbytes))[:nbytes] = _buffer[:nbytes]
        above.buffer_updated(nbytes)

    def _wait_for_turn(self) -> None:
        if not self._is_in_line and self._turnstile.delay_seconds() and not self._transport.is_closing():
            self._is_in_line = True
            self._transport.pause_reading()
            self._turnstile.call(self._go_on)

    def _go_on(self) -> bool:
        self._is_in_line = False
        if self._is_paused or self._transport.is_closing():
            return False
        self._transport.resume_reading()
        return True
