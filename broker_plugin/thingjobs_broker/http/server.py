"""The listener: uvicorn's HTTP/1.1 on the service's own loop, with limits on connections and on time.

uvicorn's own server would take over the signals of the process and knows no limit for a slow request.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from uvicorn.config import Config
from uvicorn.server import ServerState

from thingjobs_broker.front.sockets import ServerTls
from thingjobs_broker.http.connection import ARRIVE_SECONDS_MAX, GuardedConnection
from thingjobs_broker.http.paced_socket import PacedSocket

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine

    from starlette.types import ASGIApp, Receive, Scope, Send

    from thingjobs_broker.http.turnstile import Turnstile

log = structlog.get_logger()

HEAD_BYTES_MAX: Final = 32 * 1024
"""Of request line and headers together."""

IDLE_SECONDS_MAX: Final = 30
"""Between two requests."""

CLOSE_SECONDS_MAX: Final = 5.0
"""What requests in hand get at the end."""

ACCEPTS_PER_TURN: Final = 8
"""Accepting does not wait by itself while there is somebody to accept; less would leave more at the end whom
nobody has accepted.
"""

_BACKLOG: Final = 128


class HttpServer:
    """Listens at one address; at most `connections_max` at once, those in the TLS handshake included.

    When all are taken, one that waits for its client makes room: the oldest of the address that has most of
    them. Where none does, the newcomer is closed unread. Connections, what arrives on them and requests wait
    at the turnstile.
    """

    def __init__(self, app: ASGIApp, connections_max: int, turnstile: Turnstile) -> None:
        self._app = app
        self._turnstile = turnstile
        self._config = Config(
            self._serve,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            # What a client does wrong is no event in our log: the client is told.
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=IDLE_SECONDS_MAX,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
        self._config.load()
        self._state = ServerState()
        self._connections_max = connections_max
        self._open: dict[PacedSocket, GuardedConnection] = {}
        """In the order in which they were accepted, those in the TLS handshake included."""
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._beginning: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> tuple[str, int]:
        """Accept clients; return the address that was bound.

        Raises:
            OSError: the address cannot be bound.

        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setblocking(False)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
        self._sockets.append(listening)
        self._accepting.append(asyncio.get_running_loop().create_task(self._accept(listening, tls)))
        bound: tuple[str, int] = listening.getsockname()[:2]
        return bound

    async def close(self) -> None:
        """Stop listening, answer what is in hand, let go of all connections."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listening in self._sockets:
            listening.close()
        for paced, connection in list(self._open.items()):
            if connection.is_waiting:
                paced.abort()
            else:
                connection.shutdown()
        async with _at_most(CLOSE_SECONDS_MAX):
            # The last of them is over soon, and there is no event for it.
            while self._open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for paced in list(self._open):
            paced.abort()
        requests = list(self._state.tasks)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._turnstile.enter()

        async def answer() -> None:
            await self._app(scope, receive, send)

        await self._turnstile.metered(answer)

    async def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        for number in itertools.count(1):
            if number % ACCEPTS_PER_TURN == 0:
                await asyncio.sleep(0)
            if self._turnstile.delay_seconds():
                await self._turnstile.enter()
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:
                # Out of file descriptors, mostly: there will be some again.
                log.warning("Cannot accept an HTTP connection", action="http_accept", error=str(error))
                await asyncio.sleep(1)
                continue
            with self._turnstile.work():
                if len(self._open) >= self._connections_max and not self._make_room():
                    accepted.close()
                    continue
                paced = PacedSocket(self._turnstile, peer[0], self._forget)
                connection = self._open[paced] = GuardedConnection(self._config, self._state)
                self._begin(partial(_begin, accepted, paced, connection, tls))

    def _forget(self, paced: PacedSocket) -> None:
        self._open.pop(paced, None)

    def _make_room(self) -> bool:
        """End the oldest connection that waits, of the address that has most of those."""
        waiting = [one for one, connection in self._open.items() if connection.is_waiting]
        if not waiting:
            return False
        connections = Counter(one.peer for one in waiting)
        one = max(waiting, key=lambda one: connections[one.peer])
        del self._open[one]
        one.abort()
        return True

    def _begin(self, begin: Callable[[], Coroutine[None, None, None]]) -> None:
        # Not to be canceled: nobody else closes what was accepted.
        task = asyncio.get_running_loop().create_task(self._turnstile.metered(begin))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)


async def _begin(
    accepted: socket.socket, paced: PacedSocket, connection: GuardedConnection, tls: ssl.SSLContext | None
) -> None:
    """Let what arrives reach `connection`."""
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: paced, accepted)
    if paced.is_closing():
        return
    if tls is None:
        connection.connection_made(paced.carry(connection))
        return
    above = ServerTls(
        connection, tls, handshake_seconds=ARRIVE_SECONDS_MAX, shutdown_seconds=CLOSE_SECONDS_MAX
    )
    above.connection_made(paced.carry(above))


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """Do something, but not for longer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield
