"""One connection of the sidecar to a broker that is played byte by byte."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.broker.front import wire
from tests.support import require_program
from thingjobs_broker import paho_link
from thingjobs_broker.data_packets import Received
from thingjobs_broker.paho_link import ConnectionLost
from thingjobs_broker.transport import Access, Connection

SECONDS_MAX = 10.0
CONNACK = wire.connack()
TOPIC = "$aws/things/press-7/jobs/get"


class Broker:
    """The other end of the connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self) -> None:
        self.connected = asyncio.Event()

    async def expect(self, sent: bytes) -> None:
        """What the client sends next."""
        assert await asyncio.wait_for(self.reader.readexactly(len(sent)), SECONDS_MAX) == sent


@asynccontextmanager
async def connected(
    greeting: bytes = CONNACK, tls: Path | None = None
) -> AsyncIterator[tuple[Connection, Broker, list[Received], list[tuple[int, int]]]]:
    """A connection of MQTT 3.1.1 to a broker that answers CONNECT with `greeting`."""
    broker = Broker()
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker.reader, broker.writer = reader, writer
        length = (await reader.readexactly(2))[1]
        await reader.readexactly(length)
        writer.write(greeting)
        await writer.drain()
        broker.connected.set()

    received: list[Received] = []
    confirmed: list[tuple[int, int]] = []
    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        client = ssl.create_default_context(cafile=str(tls)) if tls is not None else None
        access = Access("127.0.0.1", port, "service", mqtt_5=False, tls=client)
        connection = Connection(access, received.append, lambda *one: confirmed.append(one))
        await connection.open()
        await asyncio.wait_for(broker.connected.wait(), SECONDS_MAX)
        try:
            yield connection, broker, received, confirmed
        finally:
            await connection.close()
            broker.writer.close()


async def until_there(found: list[Received], count: int) -> None:
    """Return when so many have arrived."""
    async with asyncio.timeout(SECONDS_MAX):
        while len(found) < count:
            await asyncio.sleep(0.001)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate that signs itself, in one file."""
    openssl = require_program("openssl", package="openssl")
    both = tmp_path / "both.pem"
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(both), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run([openssl, *kind, *subject, *files], check=True, capture_output=True)
    with both.open("ab") as file:
        file.write((tmp_path / "certificate.pem").read_bytes())
    return both


@pytest.mark.asyncio
@pytest.mark.parametrize("encrypted", [False, True])
async def test_requests_that_come_with_the_connack_are_received(encrypted: bool, certificate: Path) -> None:
    """A session that goes on brings them at once, with TLS in the same record; paho would swallow them."""
    requests = b"".join(wire.publish(TOPIC, b"%d" % n, qos=1, packet_id=n) for n in (1, 2, 3))
    async with connected(CONNACK + requests, certificate if encrypted else None) as (
        connection,
        broker,
        received,
        _,
    ):
        await until_there(received, 3)
        assert [(one.packet_id, one.payload) for one in received] == [(1, b"1"), (2, b"2"), (3, b"3")]
        # Nothing was acknowledged by anybody else.
        connection.link.acknowledge(2)
        await broker.expect(b"\x40\2\0\2")


@pytest.mark.asyncio
async def test_messages_and_acknowledgments_leave_in_order_without_being_flushed() -> None:
    """In the next turn of the loop."""
    async with connected() as (connection, broker, _, confirmed):
        connection.link.publish(300, TOPIC, b"one", None)
        connection.link.acknowledge(7)
        connection.link.publish(301, TOPIC, b"two", None)
        await broker.expect(wire.publish(TOPIC, b"one", qos=1, packet_id=300))
        await broker.expect(b"\x40\2\0\7")
        await broker.expect(wire.publish(TOPIC, b"two", qos=1, packet_id=301))
        broker.writer.write(b"\x40\2\x01\x2c\x40\2\x01\x2d")
        async with asyncio.timeout(SECONDS_MAX):
            while len(confirmed) < 2:
                await asyncio.sleep(0.001)
        assert confirmed == [(300, 0), (301, 0)]


@pytest.mark.asyncio
async def test_a_request_in_pieces_is_received_once_it_is_whole() -> None:
    """However the network cuts the stream up, and with what is paho's in between."""
    async with connected() as (connection, broker, received, _):
        subscribing = asyncio.ensure_future(connection.subscribe(["a/+"]))
        await broker.expect(wire.subscribe(1, ("a/+", 1)))
        for byte in wire.publish(TOPIC, b"x" * 200, qos=1) + wire.suback(1, 1) + wire.publish(TOPIC, b"y"):
            broker.writer.write(bytes((byte,)))
            await broker.writer.drain()
            await asyncio.sleep(0)
        await until_there(received, 2)
        await asyncio.wait_for(subscribing, SECONDS_MAX)
        assert [one.payload for one in received] == [b"x" * 200, b"y"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (wire.publish(TOPIC, qos=2), "QoS"),
        (b"\x32\xff\xff\xff\xff\x01", "length"),
        (b"\x40\2\0", "broke"),
        (b"", "broke"),
    ],
)
async def test_what_cannot_be_read_ends_the_connection(sent: bytes, reason: str) -> None:
    """With the reason; what was in front of it has been handled."""
    async with connected() as (connection, broker, received, _):
        broker.writer.write(wire.publish(TOPIC, b"before") + sent)
        if reason == "broke":
            broker.writer.write_eof()
        lost = await asyncio.wait_for(connection.lost, SECONDS_MAX)
        assert isinstance(lost, ConnectionLost)
        assert reason in str(lost)
        assert [one.payload for one in received] == [b"before"]
        # Nobody listens any more; the outbox sends it again over the next connection.
        connection.link.publish(300, TOPIC, b"late", None)
        connection.link.flush()


@pytest.mark.asyncio
async def test_the_end_is_said_to_the_broker_after_the_last_message() -> None:
    """DISCONNECT is the last packet (3.14)."""
    async with connected() as (connection, broker, _, _confirmed):
        connection.link.publish(300, TOPIC, b"last", None)
        await connection.close()
        await broker.expect(wire.publish(TOPIC, b"last", qos=1, packet_id=300))
        await broker.expect(b"\xe0\0")


@pytest.mark.asyncio
async def test_nothing_is_read_while_it_is_paused() -> None:
    """The broker has to wait; nothing is lost."""
    async with connected() as (connection, broker, received, _):
        connection.link.pause()
        broker.writer.write(wire.publish(TOPIC, b"one"))
        await broker.writer.drain()
        await asyncio.sleep(0.05)
        assert received == []
        connection.link.resume()
        await until_there(received, 1)


async def in_pieces(broker: Broker, received: list[Received], pieces: int) -> list[int]:
    """How much has been received two turns of the loop after each of so many requests, sent one by one."""
    counts = []
    for number in range(pieces):
        broker.writer.write(wire.publish(TOPIC, b"%d" % number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        counts.append(len(received))
    return counts


@pytest.mark.asyncio
async def test_a_flood_gathers_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever drops it says so; then nothing is read for a while, and all that has come at once after it."""
    monkeypatch.setattr(paho_link, "REST_SECONDS", 0.2)
    async with connected() as (connection, broker, received, _):
        broker.writer.write(wire.publish(TOPIC, b"heard"))
        await until_there(received, 1)
        assert (await in_pieces(broker, received, 5))[-1] > 1
        await until_there(received, 6)
        monkeypatch.setattr(connection.link, "_received", lambda one: dropping(connection, received, one))
        broker.writer.write(wire.publish(TOPIC, b"dropped"))
        await until_there(received, 7)
        assert await in_pieces(broker, received, 5) == [7] * 5
        await until_there(received, 12)
        assert [one.payload for one in received[7:]] == [b"%d" % number for number in range(5)]


def dropping(connection: Connection, received: list[Received], message: Received) -> None:
    """Receive a request that is dropped."""
    received.append(message)
    connection.link.dropped()


@pytest.mark.asyncio
@pytest.mark.parametrize("is_dropped", [False, True])
async def test_much_of_a_flood_is_read_in_one_turn(
    monkeypatch: pytest.MonkeyPatch, *, is_dropped: bool
) -> None:
    """As long as most of it is dropped; of what is heard one read is a turn's work."""
    async with connected() as (connection, broker, received, _):
        link = connection.link
        if is_dropped:
            monkeypatch.setattr(link, "_received", lambda one: dropping(connection, received, one))
        link.pause()
        broker.writer.write(wire.publish(TOPIC, b"x" * 1000) * 100)
        await broker.writer.drain()
        await asyncio.sleep(0.05)
        link._read()
        assert (len(received) == 100) is is_dropped
        link.resume()
        await until_there(received, 100)


@pytest.mark.asyncio
async def test_a_rest_does_not_end_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a pause that ends a rest."""
    monkeypatch.setattr(paho_link, "REST_SECONDS", 0.2)
    async with connected() as (connection, broker, received, _):
        monkeypatch.setattr(connection.link, "_received", lambda one: dropping(connection, received, one))
        broker.writer.write(wire.publish(TOPIC, b"one"))
        await until_there(received, 1)
        connection.link.pause()
        broker.writer.write(wire.publish(TOPIC, b"two"))
        await asyncio.sleep(0.3)
        assert len(received) == 1
        connection.link.resume()
        await until_there(received, 2)
        connection.link.pause()
        connection.link.resume()
        broker.writer.write(wire.publish(TOPIC, b"three"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(received) == 2
        await until_there(received, 3)
