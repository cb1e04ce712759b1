"""What is left of a connection that is over: nothing that only the garbage collector could find.

`thingjobs_broker.collector` does not look for what has been there for long.
"""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, Purpose, SSLContext, create_default_context
from types import ModuleType

import pytest

from tests.broker.front import wire, wire5
from tests.broker.front.harness import Echo, Edge, Recorder, eventually, running_edge
from tests.broker.front.test_tls import make_certificates
from tests.broker.front.wire import Wire
from thingjobs_broker.front import ReplyTo
from thingjobs_broker.front.connection import Connection
from thingjobs_broker.front.sockets import ServerTls

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]


@pytest.fixture(autouse=True)
def without_collections() -> Iterator[None]:
    """Only what nobody refers to goes away."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


async def says_goodbye(client: Wire) -> None:
    client.send(wire.connect("t1"), wire.subscribe(1, ("$aws/x/accepted", 1), ("foreign", 0)))
    await client.expect(wire.connack(), wire.suback(1, 1, 0))
    client.send(wire.publish("$aws/x", b"p", qos=1, packet_id=2))
    await client.expect(wire.puback(2))
    client.send(wire.puback((await client.receive_publish()).packet_id), wire.DISCONNECT)
    await client.expect_end()


async def hangs_up(client: Wire) -> None:
    client.send(wire.connect("t1"), wire.subscribe(1, ("$aws/x", 1), ("foreign", 1)))
    await client.expect(wire.connack(), wire.suback(1, 1, 1))


async def leaves_a_session(client: Wire) -> None:
    client.send(wire.connect("t1", clean=False), wire.subscribe(1, ("$aws/x", 1)))
    await client.expect(wire.connack(), wire.suback(1, 1))


async def speaks_5(client: Wire) -> None:
    client.send(wire5.connect("t1"))
    await client.receive()


async def says_nothing(client: Wire) -> None:
    assert client.writer.can_write_eof()


async def says_something_else(client: Wire) -> None:
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    await client.expect_end()


async def is_refused(client: Wire) -> None:
    client.send(wire.connect("t1", user="x", password="wrong"))
    await client.receive()
    await client.expect_end()


MANNERS = [
    *(says_goodbye, hangs_up, leaves_a_session, speaks_5),
    *(says_nothing, says_something_else, is_refused),
]


async def nothing_is_left(edge: Edge, come_and_go: Callable[[], Awaitable[None]]) -> None:
    """Of the connections that a client makes, once they are over."""
    made: list[weakref.ref[object]] = []
    admit = edge.front.admit

    def admitting(connection: Connection) -> bool:
        made.extend((weakref.ref(connection), weakref.ref(connection._transport)))
        return admit(connection)

    edge.front.admit = admitting  # type: ignore[method-assign]
    await come_and_go()
    await eventually(lambda: edge.front.stats.connections == 0 and not edge.front._by_client_id)
    # With each request the endpoint has kept what settles it.
    edge.endpoint.received_.clear()
    assert made
    await eventually(lambda: not any(reference() for reference in made))


@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.__name__)
async def test_a_client_that_has_left_is_gone_without_the_garbage_collector(
    manner: Callable[[Wire], Awaitable[None]],
) -> None:
    """Connection and socket, and what hangs on them."""
    async with running_edge(Echo()) as edge:

        async def come_and_go() -> None:
            async with Wire.dial(edge.port) as client:
                await manner(client)

        await nothing_is_left(edge, come_and_go)


async def test_one_whose_client_id_was_taken_over_is_gone_too() -> None:
    """[MQTT-3.1.4-2]."""
    async with running_edge(Echo()) as edge:

        async def come_and_go() -> None:
            async with Wire.connect(edge.port, "t1") as old, Wire.connect(edge.port, "t1"):
                await old.expect_end()

        await nothing_is_left(edge, come_and_go)


@pytest.mark.parametrize("dialect", [wire, wire5], ids=["3.1.1", "5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_what_comes_too_late_for_a_client_does_no_harm(dialect: ModuleType, qos: int) -> None:
    """Its requests are settled and answered, amqtt goes on with its reader and writer."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with running_edge(Recorder(settles_at_once=False)) as edge:
        async with Wire.dial(edge.port) as client:
            client.send(dialect.connect("t1", clean=False), dialect.subscribe(1, ("$aws/#", 1)))
            client.send(*(dialect.publish("$aws/x", b"p", qos=qos, packet_id=number) for number in (2, 3)))
            await eventually(lambda: len(edge.endpoint.received_) == 2)
            (connection,) = edge.front._connections
        await eventually(lambda: edge.front.stats.connections == 0 and not edge.front._by_client_id)
        for one in edge.endpoint.received_:
            one.settled()
            edge.front.respond(one.client, ReplyTo("$aws/r", None), b"late")
            edge.front.hold(one.client, 0.01)
            edge.front.disconnect(one.client)
        edge.say("$aws/y")
        connection.reader.feed(wire.PINGREQ)
        assert await connection.reader.read(2) == wire.PINGREQ
        connection.writer.write(wire.connack())
        await connection.writer.drain()
        await connection.writer.close()
        assert connection.writer.get_peer_info()
    assert not errors


async def hears_of_nobody(client: Wire) -> None:
    await client.expect_end()


@pytest.fixture
def secured(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[object]]:
    """TLS and the socket of each connection; from its begin on the collector leaves alone what there is."""
    made: list[weakref.ref[object]] = []
    connection_made = ServerTls.connection_made

    def noting(tls: ServerTls, transport: asyncio.BaseTransport) -> None:
        made.extend(map(weakref.ref, (tls, transport, tls._app_protocol)))
        connection_made(tls, transport)
        gc.freeze()

    monkeypatch.setattr(ServerTls, "connection_made", noting)
    return made


async def test_one_behind_tls_is_gone_too(tmp_path: Path, secured: list[weakref.ref[object]]) -> None:
    """TLS has circles of its own in asyncio."""
    async with tls_edge(tmp_path) as (edge, client_context):

        async def come_and_go() -> None:
            async with Wire.dial(edge.port, ssl=client_context, server_hostname="thing-7") as client:
                await says_goodbye(client)

        await nothing_is_left(edge, come_and_go)
        await eventually(lambda: not any(reference() for reference in secured))


@pytest.mark.parametrize(
    "manner", [says_nothing, says_something_else, hears_of_nobody], ids=lambda manner: manner.__name__
)
async def test_one_whose_handshake_fails_is_gone_too(
    tmp_path: Path, secured: list[weakref.ref[object]], manner: Callable[[Wire], Awaitable[None]]
) -> None:
    """Anybody can do that, at 256 KiB each; what circles there are have come with the failure."""
    async with tls_edge(tmp_path, connect_seconds_max=0.1) as (edge, _):
        async with Wire.dial(edge.port) as client:
            await eventually(lambda: secured)
            await manner(client)

        def is_gone() -> bool:
            gc.collect()
            return not any(reference() for reference in secured)

        await eventually(is_gone)


@asynccontextmanager
async def tls_edge(
    folder: Path, *, connect_seconds_max: float = 10.0
) -> AsyncIterator[tuple[Edge, SSLContext]]:
    """A front behind TLS, and what its clients need."""
    certificate, key = make_certificates(folder)
    server_context = create_default_context(Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificate, key)
    client_context = SSLContext(PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(certificate)
    async with running_edge(
        Echo(), ssl_context=server_context, connect_seconds_max=connect_seconds_max
    ) as edge:
        yield edge, client_context
