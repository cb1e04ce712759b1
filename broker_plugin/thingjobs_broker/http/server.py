"""The listener: uvicorn's HTTP/1.1 on the service's own loop, with limits on connections and on time.

uvicorn's own server would take over the signals of the process and knows no limit for a slow request.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Coroutine

    from starlette.types import ASGIApp, Receive, Scope, Send

    from thingjobs_broker.http.turnstile import Turnstile

log = structlog.get_logger()

HEAD_BYTES_MAX: Final = 32 * 1024
"""Of request line and headers together."""

ARRIVE_SECONDS_MAX: Final = 10.0
"""From the first byte of a request, or the connection's begin, to the last byte."""

LEAVE_SECONDS_MAX: Final = 90.0
"""From there to the last byte of the response, which a client may be slow to take."""

IDLE_SECONDS_MAX: Final = 30
"""Between two requests."""

CLOSE_SECONDS_MAX: Final = 5.0
"""What requests in hand get at the end."""

HANDSHAKE_SECONDS: Final = 0.002
"""Of processor time for a TLS handshake, which is in C and out of our sight."""

READ_SECONDS: Final = 20e-6
READ_BYTE_SECONDS: Final = 0.5e-9
"""Of processor time for a read and for each byte of it, before we see it."""

ACCEPTS_PER_TURN: Final = 8
"""Accepting does not wait by itself while there is somebody to accept; less would leave more at the end whom
nobody has accepted.
"""

_BACKLOG: Final = 128


class PacedFlow(FlowControl):
    """Reads when uvicorn wants to and it is the connection's turn."""

    def __init__(self, transport: asyncio.Transport, turnstile: Turnstile) -> None:
        super().__init__(transport)
        self._turnstile = turnstile
        self._is_in_line = False

    def wait_for_turn(self) -> None:
        """Read nothing more until it is our turn, if devices ask meanwhile."""
        if not self._is_in_line and self._turnstile.delay_seconds():
            self._is_in_line = True
            self._transport.pause_reading()
            self._turnstile.call(self._go_on)

    def resume_reading(self) -> None:
        """Read on, or when it is our turn."""
        if self._is_in_line:
            self.read_paused = False
        else:
            super().resume_reading()

    def _go_on(self) -> bool:
        self._is_in_line = False
        if self.read_paused or self._transport.is_closing():
            return False
        self._transport.resume_reading()
        return True


class GuardedConnection(H11Protocol):
    """A connection that is given up when a request, or the taking of its response, is too slow.

    `connections` holds it from its begin to its end.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        connections: dict[GuardedConnection, None],
        turnstile: Turnstile,
    ) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._turnstile = turnstile
        self._paced: PacedFlow
        self._all = connections
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it is the client's turn: no request has arrived that is not answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        with self._turnstile.work():
            super().connection_made(transport)
            self.flow = self._paced = PacedFlow(transport, self._turnstile)
            self._all[self] = None
            self._within(ARRIVE_SECONDS_MAX)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first of a request start its time."""
        with self._turnstile.work():
            super().data_received(data)
        self._turnstile.charge(READ_SECONDS + READ_BYTE_SECONDS * len(data))
        self._paced.wait_for_turn()
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
        """Forget the connection."""
        self._within(None)
        self._all.pop(self, None)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def abort(self) -> None:
        """End the connection at once, whatever is unsent."""
        self.transport.abort()

    def _within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.abort) if seconds is not None else None


class HttpServer:
    """Listens at one address; at most `connections_max` at once, those in the TLS handshake included.

    When all are taken, the oldest of those that wait for their client makes room, or the newcomer is closed
    unread. Connections, what arrives on them and requests wait at the turnstile.
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
        self._open: dict[GuardedConnection, None] = {}
        """In the order in which they were opened."""
        self._in_handshake = 0
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

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
        self._run(self._accept(listening, tls))
        bound: tuple[str, int] = listening.getsockname()[:2]
        return bound

    async def close(self) -> None:
        """Stop listening, answer what is in hand, let go of all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listening in self._sockets:
            listening.close()
        for connection in list(self._open):
            if connection.is_waiting:
                connection.abort()
            else:
                connection.shutdown()
        async with _at_most(CLOSE_SECONDS_MAX):
            # The last of them is over soon, and there is no event for it.
            while self._open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for connection in list(self._open):
            connection.abort()
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
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                # Out of file descriptors, mostly: there will be some again.
                log.warning("Cannot accept an HTTP connection", action="http_accept", error=str(error))
                await asyncio.sleep(1)
                continue
            with self._turnstile.work():
                if len(self._open) + self._in_handshake >= self._connections_max and not self._make_room():
                    accepted.close()
                    continue
                self._in_handshake += 1
                self._run(self._turnstile.metered(partial(self._take, accepted, tls)))
            if tls is not None:
                self._turnstile.charge(HANDSHAKE_SECONDS)

    async def _take(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: GuardedConnection(self._config, self._state, self._open, self._turnstile),
                accepted,
                ssl=tls,
                ssl_handshake_timeout=ARRIVE_SECONDS_MAX if tls else None,
                ssl_shutdown_timeout=CLOSE_SECONDS_MAX if tls else None,
            )
        except OSError:
            # A handshake that failed is the client's business.
            accepted.close()
        finally:
            self._in_handshake -= 1

    def _make_room(self) -> bool:
        for connection in self._open:
            if connection.is_waiting:
                del self._open[connection]
                connection.abort()
                return True
        return False

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """Do something, but not for longer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield
