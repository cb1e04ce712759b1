"""What asyncio keeps in circles of a connection that is over, taken apart: `collector` does not come for it.

Elsewhere is decided when a connection is over.
"""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


def let_go(transport: asyncio.BaseTransport | None) -> None:
    """Take a transport that is over apart, which points to itself; those of other loops have no such part."""
    getattr(transport, "__dict__", {}).pop("_read_ready_cb", None)


class ServerTls(SSLProtocol):
    """TLS between a server's socket and the protocol above it.

    asyncio's own way has a future for the end of the handshake. One that fails fills it with an error, whose
    traceback points to the future: with a circle around a TLS buffer of 256 KiB.

    Args:
        above: the protocol; it is told of the connection when the handshake is over, and not before.
        context: of TLS.
        handshake_seconds: what the client gets for the handshake.
        shutdown_seconds: what it gets for the end.

    """

    def __init__(
        self,
        above: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        *,
        handshake_seconds: float,
        shutdown_seconds: float | None = None,
    ) -> None:
        super().__init__(
            *(asyncio.get_running_loop(), above, context),
            waiter=None,  # type: ignore[arg-type]  # asyncio's own clients of it may have none
            server_side=True,
            ssl_handshake_timeout=handshake_seconds,  # type: ignore[arg-type]  # any number of seconds
            ssl_shutdown_timeout=shutdown_seconds,
        )

    def connection_lost(self, exc: BaseException | None) -> None:
        """The socket is gone."""
        transport = self._transport
        super().connection_lost(exc)
        let_go(transport)


class Later(asyncio.Protocol):
    """Stands above until there is a connection: only then it makes the protocol that is to have it."""

    def __init__(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        self._make = make

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give way."""
        protocol = self._make()
        cast("asyncio.Transport", transport).set_protocol(protocol)
        protocol.connection_made(transport)
