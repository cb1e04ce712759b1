"""Who is let in: accepts wait for their turn, and the address with most connections makes room."""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from ssl import Purpose, create_default_context
from typing import TYPE_CHECKING

import pytest

from tests.broker.front.test_tls import make_certificates
from tests.broker.http.test_turnstile import Bench
from thingjobs_broker.front.sockets import ServerTls
from thingjobs_broker.http import server as server_module
from thingjobs_broker.http.server import HttpServer
from thingjobs_broker.http.turnstile import QUIET_SECONDS, Turnstile

if TYPE_CHECKING:
    from ssl import SSLContext

    from starlette.types import Receive, Scope, Send

PATIENCE_S = 20.0
REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def answer(scope: "Scope", receive: "Receive", send: "Send") -> None:
    """The application: a short answer; none to a POST that its client does not finish."""
    while scope["method"] == "POST":
        if (await receive())["type"] == "http.disconnect":
            return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(
    turnstile: Turnstile, connections_max: int = 3, tls: "SSLContext | None" = None
) -> AsyncIterator[tuple[HttpServer, int]]:
    """A server, and its port."""
    server = HttpServer(answer, connections_max, turnstile)
    _, port = await server.listen("127.0.0.1", 0, tls)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield server, port
    finally:
        await server.close()


async def dialed(port: int, from_host: str = "127.0.0.1") -> socket.socket:
    """A connection from an address of loopback."""
    loop = asyncio.get_running_loop()
    dialing = socket.socket()
    dialing.setblocking(False)
    dialing.bind((from_host, 0))
    await loop.sock_connect(dialing, ("127.0.0.1", port))
    return dialing


async def is_served(connection: socket.socket) -> bool:
    """Whether a request is answered; otherwise the connection has ended."""
    loop = asyncio.get_running_loop()
    found = b""
    try:
        await loop.sock_sendall(connection, REQUEST)
        while not found.endswith(b"ok"):
            arrived = await loop.sock_recv(connection, 1000)
            if not arrived:
                return False
            found += arrived
    except ConnectionError:
        return False
    return found.startswith(b"HTTP/1.1 200")


async def is_heard(connection: socket.socket) -> bool:
    """Whether an HTTP answer comes; TLS may tell what it does not like."""
    found, loop = b"", asyncio.get_running_loop()
    with suppress(ConnectionError):
        while arrived := await loop.sock_recv(connection, 1000):
            found += arrived
    return b"HTTP" in found


@pytest.mark.asyncio
async def test_connections_are_accepted_when_devices_leave_time() -> None:
    """The one that came before the pause is taken; the next waits for its end, and is taken by itself."""
    bench = Bench()
    async with serving(bench.turnstile) as (server, port):
        with await dialed(port) as first:
            assert await is_served(first)
            bench.asked += 1
            bench.work(1.0)
            # The line is closed to the one who was waited for before it closed, and to all after it.
            with await dialed(port) as second, await dialed(port) as third:
                for _ in range(3):
                    bench.asked += 1
                    await asyncio.sleep(2 * QUIET_SECONDS)
                    assert len(server) <= 2
                bench.now += QUIET_SECONDS
                while len(server) < 3:
                    await asyncio.sleep(QUIET_SECONDS)
                assert await is_served(second)
                assert await is_served(third)


@pytest.mark.asyncio
async def test_the_address_with_most_connections_makes_room() -> None:
    """The oldest of its own goes, not that of somebody else who came before."""
    async with serving(Turnstile()) as (server, port):
        alone = await dialed(port, "127.0.0.2")
        assert await is_served(alone)
        many = []
        for _ in range(4):
            many.append(await dialed(port))
            assert await is_served(many[-1])
        assert len(server) == 3
        assert await is_served(alone)
        assert [await is_served(one) for one in many] == [False, False, True, True]
        for connection in (alone, *many):
            connection.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_connection_that_is_over_is_gone_without_the_garbage_collector(is_answered: bool) -> None:
    """`collector` does not look for what has been there for long."""
    gc.collect()
    gc.disable()
    try:
        async with serving(Turnstile()) as (server, port):
            with await dialed(port) as connection:
                assert await is_served(connection)
                (paced,) = server._open
                left = [weakref.ref(one) for one in (paced, server._open[paced], paced._transport)]
                if not is_answered:
                    connection.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")
                    while not server._state.tasks:
                        await asyncio.sleep(QUIET_SECONDS)
                del paced
            # The last one that was accepted is remembered until the next.
            with await dialed(port) as another:
                assert await is_served(another)
            while any(reference() for reference in left):
                await asyncio.sleep(QUIET_SECONDS)
    finally:
        gc.enable()


@pytest.mark.asyncio
@pytest.mark.parametrize("said", [b"", b"\x16 no TLS"])
async def test_one_whose_handshake_fails_is_gone_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Though the collector has left alone what there was; circles have come with the failure alone."""
    monkeypatch.setattr(server_module, "ARRIVE_SECONDS_MAX", 0.1)
    certificate, key = make_certificates(tmp_path)
    context = create_default_context(Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    try:
        async with serving(Turnstile(), tls=context) as (server, port):
            with await dialed(port) as connection:
                while not (paced := next(iter(server._open), None)) or "_transport" not in vars(paced):
                    await asyncio.sleep(QUIET_SECONDS)
                while not isinstance(paced._above, ServerTls):
                    await asyncio.sleep(QUIET_SECONDS)
                left = [weakref.ref(one) for one in (paced, paced._above, server._open[paced])]
                del paced
                gc.collect()
                gc.freeze()
                connection.send(said)
                assert not await is_heard(connection)
            # The last one that was accepted is remembered until the next.
            with await dialed(port):
                while any(reference() for reference in left):
                    gc.collect()
                    await asyncio.sleep(QUIET_SECONDS)
    finally:
        gc.unfreeze()
