"""amqtt behind the front: everything outside the topic root as before, and packet ids shared with it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest

from tests.broker.front import wire
from tests.broker.front.harness import Echo, eventually, running_edge
from tests.broker.front.wire import Wire
from thingjobs_broker.front.bridge import BridgeReader, untested_amqtt_version
from thingjobs_broker.front.pace import Pace

NODELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


@asynccontextmanager
async def paho(port: int, client_id: str, **options: object) -> AsyncIterator[aiomqtt.Client]:
    """A client as others write them."""
    async with aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V311,
        socket_options=NODELAY,
        **options,  # type: ignore[arg-type]
    ) as client:
        yield client


async def next_message(client: aiomqtt.Client) -> aiomqtt.Message:
    """The next message of a client."""
    async with asyncio.timeout(10):
        return await anext(aiter(client.messages))


def test_amqtt_in_use_is_a_tested_one() -> None:
    """The front says at its start when it is not."""
    assert untested_amqtt_version() is None


@pytest.mark.broker
@pytest.mark.asyncio
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_ordinary_clients_are_served_by_amqtt(qos: int) -> None:
    """Publish and subscribe outside the root, beside requests under it on the same connection."""
    async with running_edge(Echo()) as edge, paho(edge.port, "one") as one, paho(edge.port, "two") as two:
        await two.subscribe([("rooms/+/temperature", qos), ("$aws/x/accepted", 1)])
        for n in range(5):
            await two.publish("$aws/x", b"request %d" % n, qos=qos)
            assert (await next_message(two)).payload == b"request %d" % n
            await one.publish("rooms/1/temperature", b"%d" % n, qos=qos)
            message = await next_message(two)
            assert (str(message.topic), message.payload, message.qos) == (
                "rooms/1/temperature",
                b"%d" % n,
                qos,
            )


@pytest.mark.broker
@pytest.mark.asyncio
async def test_retained_messages_and_wills_are_amqtts() -> None:
    """As before."""
    will = aiomqtt.Will("wills/one", b"gone", qos=1)
    async with running_edge() as edge, paho(edge.port, "watcher") as watcher:
        await watcher.publish("state/x", b"kept", qos=1, retain=True)
        await watcher.subscribe("state/#", qos=1)
        message = await next_message(watcher)
        assert (message.payload, message.retain) == (b"kept", True)
        await watcher.subscribe("wills/#", qos=1)
        async with paho(edge.port, "one", will=will):
            edge.front._by_client_id["one"]._transport.abort()
            assert (await next_message(watcher)).payload == b"gone"
            with pytest.raises(aiomqtt.MqttError):
                await edge_ended(edge.port)


async def edge_ended(port: int) -> None:
    """A client that is refused sees an MqttError."""
    async with paho(port, "nobody", username="u", password="wrong"):
        pass


@pytest.mark.broker
@pytest.mark.asyncio
async def test_offline_messages_of_amqtt_still_come() -> None:
    """QoS 1 messages for absent clients are kept by amqtt and come with RETAIN; that is its matter."""
    async with running_edge() as edge:
        async with Wire.connect(edge.port, "t1", clean=False) as client:
            client.send(wire.subscribe(1, ("a", 1)))
            await client.expect(wire.suback(1, 1))
        await eventually(lambda: edge.context.get_session("t1").transitions.state == "disconnected")
        await edge.context.broadcast_message("a", b"waited")
        await eventually(lambda: edge.context.get_session("t1").retained_messages_count == 1)
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
            message = await client.receive_publish()
            assert (message.payload, message.qos) == (b"waited", 1)
            client.send(wire.puback(message.packet_id))
            await client.expect_silence()


@pytest.mark.broker
@pytest.mark.asyncio
async def test_packet_ids_are_shared_across_the_wrap_around() -> None:
    """With messages of both in flight no id is used twice, and each PUBACK reaches its owner."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(1, ("$aws/n", 1), ("foreign", 1)))
        await client.expect(wire.suback(1, 1, 1))
        session = edge.context.get_session("t1")
        early = [b"early %d" % n for n in range(6)]  # They take the ids 1 to 6, and keep them.
        for payload in early:
            if payload[-1] % 2:
                edge.say("$aws/n", payload)
            else:
                await edge.context.broadcast_message("foreign", payload, 1)
        in_flight = {}
        for _ in early:
            message = await client.receive_publish()
            in_flight[message.packet_id] = message
        assert sorted(in_flight) == [1, 2, 3, 4, 5, 6]
        session._packet_id = 65_531
        for n in range(10):
            edge.say("$aws/n", b"ours %d" % n)
            message = await client.receive_publish()
            assert message.packet_id not in in_flight
            in_flight[message.packet_id] = message
            await edge.context.broadcast_message("foreign", b"theirs %d" % n, 1)
            message = await client.receive_publish()
            assert message.packet_id not in in_flight
            in_flight[message.packet_id] = message
        assert {65_535, 7} < set(in_flight)
        assert session.inflight_out_count == len(in_flight) == 26
        for packet_id in in_flight:
            client.send(wire.puback(packet_id))
        await client.expect_silence()
        await eventually(lambda: session.inflight_out_count == 0)


@pytest.mark.broker
@pytest.mark.asyncio
async def test_client_without_a_free_packet_id_is_dropped() -> None:
    """The share that amqtt has of the ids is not bounded by us."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(1, ("$aws/n", 1)))
        await client.expect(wire.suback(1, 1))
        session = edge.context.get_session("t1")
        session.inflight_out.update(dict.fromkeys(range(1, 65_536)))
        edge.say("$aws/n")
        await client.expect_end()
        session.inflight_out.clear()


@pytest.mark.broker
@pytest.mark.asyncio
async def test_client_that_amqtt_cannot_keep_up_with_is_not_read() -> None:
    """What waits for amqtt is bounded, and all of it arrives."""
    async with running_edge(foreign_bytes_max=2000) as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(1, ("a", 0)))
        await client.expect(wire.suback(1, 0))
        client.send(*(wire.publish("a", b"%03d" % n * 100) for n in range(300)))
        (connection,) = edge.front._connections
        largest = 0
        for n in range(300):
            assert (await client.receive_publish()).payload == b"%03d" % n * 100
            largest = max(largest, len(connection.reader._buffer))
        assert largest < 2000 + 64 * 310


@pytest.mark.asyncio
async def test_reader_gives_exactly_what_is_asked_for() -> None:
    """As amqtt reads: n bytes, fewer only at the end; a canceled read loses nothing."""
    space = []
    reader = BridgeReader(4, lambda: space.append(1), pace=Pace(1, 9), hold=lambda _: None)
    waiting = asyncio.create_task(reader.read(3))
    await asyncio.sleep(0)
    reader.feed(b"ab")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0)
    reader.feed(b"cdef")
    assert (reader.full, space) == (True, [])
    assert [await reader.read(3), await reader.read(0), await reader.read(1)] == [b"abc", b"", b"d"]
    assert (reader.full, space) == (False, [1])
    rest = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    reader.feed(b"gh")
    reader.feed_eof()
    assert await rest == b"efgh"
    assert await reader.read(2) == b""
