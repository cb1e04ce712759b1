"""What an MQTT 5 client says of its session: limits, length, end, where answers go. Clauses of MQTT 5.0."""

import pytest

from tests.broker.front import wire, wire5
from tests.broker.front.harness import Echo, eventually, running_edge
from tests.broker.front.wire import Wire
from tests.broker.front.wire5 import connected, receive_publish
from thingjobs_broker.front import CloseReason, ReplyTo

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]

FOR_A_DAY = (wire5.EXPIRY, wire5.uint32(86_400))
FOR_EVER = (wire5.EXPIRY, wire5.uint32(0xFFFFFFFF))


# The client's limits.


async def test_no_more_is_in_flight_than_the_client_takes() -> None:
    """[MQTT-3.3.4-9]: receive maximum counts our messages and amqtt's together; the rest follows in order."""
    async with running_edge() as edge, connected(edge.port, "t5", (wire5.RECEIVE_MAXIMUM, b"\0\2")) as client:
        client.send(wire5.subscribe(1, ("$aws/n", 1), ("a", 1)), wire5.publish("a", b"0"))
        await client.expect(wire5.suback(1, 1, 1))
        messages = [await receive_publish(client)]
        for number in range(1, 6):
            edge.say("$aws/n", b"%d" % number)
        edge.front.publish("$aws/n", lambda: b"6")
        messages.append(await receive_publish(client))
        await client.expect_silence()
        for number in range(2, 7):
            client.send(wire5.acknowledgment(0x40, messages[number - 2].packet_id, 0))
            messages.append(await receive_publish(client))
            await client.expect_silence()
        assert [message.payload for message in messages] == [b"%d" % number for number in range(7)]
        assert len({message.packet_id for message in messages[-2:]}) == 2


async def test_a_client_that_takes_no_more_is_dropped_before_it_costs_too_much() -> None:
    """What waits for room is bounded by the limit of unsent bytes."""
    found = (wire5.RECEIVE_MAXIMUM, b"\0\1")
    async with running_edge(unsent_bytes_max=10_000) as edge, connected(edge.port, "t5", found) as client:
        client.send(wire5.subscribe(1, ("$aws/n", 1)))
        await client.expect(wire5.suback(1, 1))
        for _ in range(13):
            edge.say("$aws/n", b"n" * 1000)
        await receive_publish(client)
        await client.expect(wire5.disconnect(0x97))
        await client.expect_end()
        assert edge.front.stats.connections_closed == {CloseReason.SLOW_READER: 1}


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_message_longer_than_the_client_takes_counts_as_delivered(qos: int) -> None:
    """[MQTT-3.1.2-25]: neither ours nor amqtt's is sent, and none is in flight for ever."""
    found = (wire5.PACKET_BYTES_MAX, wire5.uint32(100))
    async with running_edge() as edge, connected(edge.port, "t5", found) as client:
        client.send(wire5.subscribe(1, ("$aws/n", qos), ("a", qos)))
        await client.expect(wire5.suback(1, min(qos, 1), qos))
        for payload in (b"n" * 100, b"short"):
            edge.say("$aws/n", payload)
        message = await receive_publish(client)
        assert message.payload == b"short"
        client.send(wire5.acknowledgment(0x40, message.packet_id or 1, 0))
        client.send(wire5.publish("a", b"a" * 100))
        if qos == 2:
            # amqtt goes on with its second step, of which the client knows nothing (3.7.2.1).
            packet_id = int.from_bytes((await client.receive())[2:4])
            client.send(wire5.acknowledgment(0x70, packet_id, 0x92))
        await client.expect_silence()
        await eventually(lambda: edge.context.get_session("t5").inflight_out == {})
        (session,) = edge.front.store._sessions.values()
        assert session.in_flight == {}


# Sessions.


async def test_a_session_lasts_as_long_as_the_client_said() -> None:
    """3.1.2.11.2: subscriptions and messages of both sides, also if it began with a clean start."""
    async with running_edge() as edge:
        async with connected(edge.port, "t5", FOR_A_DAY) as client:
            client.send(wire5.subscribe(1, ("$aws/n", 1), ("a", 1)))
            await client.expect(wire5.suback(1, 1, 1))
            client.send(wire5.disconnect())
        await eventually(lambda: not edge.front._by_client_id)
        edge.say("$aws/n", b"ours")
        assert not edge.context.get_session("t5").clean_session
        await edge.context.broadcast_message("a", b"amqtt's")
        async with connected(edge.port, "t5", FOR_A_DAY, clean=False, present=True) as client:
            assert {(await receive_publish(client)).payload for _ in range(2)} == {b"ours", b"amqtt's"}


@pytest.mark.parametrize("clean", [True, False])
async def test_a_session_without_expiry_ends_with_its_connection(clean: bool) -> None:
    """3.1.2.11.2, for subscriptions of both sides; amqtt keeps nothing that the next could find."""
    async with running_edge() as edge:
        async with connected(edge.port, "t5", clean=clean) as client:
            client.send(wire5.subscribe(1, ("$aws/n", 1), ("a", 1)))
            await client.expect(wire5.suback(1, 1, 1))
        await eventually(lambda: not edge.front._by_client_id)
        assert (edge.front.stats.sessions, edge.front.stats.subscriptions) == (0, 0)
        async with connected(edge.port, "t5", FOR_A_DAY, clean=False):
            assert edge.broker.subscriptions.get("a", []) == []


async def test_a_clean_start_forgets_what_was() -> None:
    """[MQTT-3.1.2-4]: on both sides."""
    async with running_edge() as edge:
        async with connected(edge.port, "t5", FOR_A_DAY) as client:
            client.send(wire5.subscribe(1, ("$aws/n", 1), ("a", 1)))
            await client.expect(wire5.suback(1, 1, 1))
        await eventually(lambda: not edge.front._by_client_id)
        async with connected(edge.port, "t5", FOR_A_DAY):
            assert edge.say("$aws/n") == 0
            assert edge.broker.subscriptions.get("a", []) == []


async def test_a_session_that_was_resumed_may_be_told_to_end() -> None:
    """3.1.2.11.2: clean start 0 with expiry 0 finds it, and takes it along."""
    async with running_edge() as edge:
        async with connected(edge.port, "t5", FOR_A_DAY) as client:
            client.send(wire5.subscribe(1, ("$aws/n", 1)))
            await client.expect(wire5.suback(1, 1))
        async with connected(edge.port, "t5", clean=False, present=True) as client:
            edge.say("$aws/n")
            await receive_publish(client)
        await eventually(lambda: edge.front.stats.sessions == 0)
        assert edge.context.get_session("t5").clean_session


async def test_a_disconnect_may_change_how_long_the_session_lasts() -> None:
    """3.14.2.2.2."""
    async with running_edge() as edge:
        async with connected(edge.port, "t5", FOR_A_DAY) as client:
            client.send(wire5.disconnect(0, (wire5.EXPIRY, wire5.uint32(0))))
            await client.expect_end()
        await eventually(lambda: edge.front.stats.connections == 0)
        assert edge.front.stats.sessions == 0
        assert edge.context.get_session("t5").clean_session


async def test_sessions_expire_each_in_its_time() -> None:
    """3.1.2.11.2: whatever the order of leaving; none longer than the front keeps any, which is said."""
    async with running_edge(session_expiry_seconds=1000) as edge:
        for client_id, seconds in (("short", 10), ("long", 100), ("shorter", 5), ("for-ever", 0xFFFFFFFF)):
            async with Wire.dial(edge.port) as client:
                client.send(wire5.connect(client_id, (wire5.EXPIRY, wire5.uint32(seconds))))
                found = wire5.parse_connack(await client.receive()).properties
                assert found.get(0x11) == (1000 if client_id == "for-ever" else None)
        await eventually(lambda: edge.front.stats.connections == 0)
        now = edge.front.loop.time()
        kept = []
        for seconds in (0, 7, 50, 500, 1001):
            edge.front.sweep(now + seconds)
            kept.append(sorted(edge.front.store._sessions))
        assert kept == [
            ["for-ever", "long", "short", "shorter"],
            ["for-ever", "long", "short"],
            ["for-ever", "long"],
            ["for-ever"],
            [],
        ]
        assert edge.context.get_session("short").clean_session


# Leaving.


@pytest.mark.parametrize(("reason_code", "is_sent"), [(0x00, False), (0x04, True)])
async def test_a_client_chooses_whether_its_will_is_sent(reason_code: int, is_sent: bool) -> None:
    """3.14.2.1: Disconnect with Will Message. The will's own properties are dropped."""
    async with running_edge() as edge, Wire.connect(edge.port, "watcher") as watcher:
        watcher.send(wire.subscribe(1, ("wills", 0)))
        await watcher.expect(wire.suback(1, 0))
        delay = ((0x18, wire5.uint32(60)),)
        async with connected(edge.port, "t5", will=("wills", b"gone"), will_properties=delay) as client:
            client.send(wire5.disconnect(reason_code))
            await client.expect_end()
        await eventually(lambda: len(edge.front._by_client_id) == 1)
        if is_sent:
            assert (await watcher.receive_publish()).payload == b"gone"
        await watcher.expect_silence()


async def test_clients_hear_why_they_are_dropped() -> None:
    """3.14.2.1: keep alive, an operator's wish, the end of the broker; nobody who has gone is spoken to."""
    async with running_edge() as edge:
        async with connected(edge.port, "t5") as client:
            now = edge.front.loop.time()
            edge.front.sweep(now)
            edge.front.sweep(now + 91)
            await client.expect(wire5.disconnect(0x8D))
        async with connected(edge.port, "t5") as client:
            edge.front.disconnect(edge.endpoint.opened_[1])
            await client.expect(wire5.disconnect(0x98))
        async with connected(edge.port, "t5") as client:
            client.send(wire5.disconnect())
            assert await client.reader.read() == b""
        async with connected(edge.port, "t5") as client:
            await edge.front.close()
            await client.expect(wire5.disconnect(0x8B))
            await client.expect_end()


async def test_pings_are_answered() -> None:
    """By amqtt, whose PINGRESP is the same in both versions."""
    async with running_edge() as edge, connected(edge.port, "t5") as client:
        client.send(wire.PINGREQ)
        await client.expect(wire.PINGRESP)


async def test_frames_pipelined_behind_a_connect_are_read_as_mqtt_5() -> None:
    """A client may send on without waiting (3.1.4)."""
    async with running_edge(Echo()) as edge, Wire.dial(edge.port) as client:
        client.send(
            wire5.connect("t1")
            + wire5.subscribe(9, ("$aws/r/accepted", 0))
            + wire5.publish("$aws/r", b"1", (0x01, b"\1"), qos=1, packet_id=7)
        )
        assert wire5.parse_connack(await client.receive()).reason_code == 0
        await client.expect(wire5.suback(9, 0), wire.puback(7))
        assert (await receive_publish(client)).payload == b"1"


# Answers on the response topic.


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("topic", ["$aws/answers/7", "answers/7"])
async def test_an_answer_goes_to_the_client_that_asked_if_it_is_subscribed(topic: str, qos: int) -> None:
    """4.10: with its correlation data, under the root and outside; to nobody else."""
    async with (
        running_edge() as edge,
        connected(edge.port, "t5") as client,
        connected(edge.port, "t6") as other,
    ):
        (asking, _) = edge.endpoint.opened_
        edge.front.respond(asking, ReplyTo(topic, b"7"), b"nobody listens")
        for one in (client, other):
            one.send(wire5.subscribe(1, (f"{topic.rpartition('/')[0]}/+", qos), ("else/where", 1)))
            await one.expect(wire5.suback(1, qos, 1))
        for correlation in (b"\0\1", None):
            edge.front.respond(asking, ReplyTo(topic, correlation), b"answer")
            edge.front.flush()
            message = await receive_publish(client)
            assert message[:3] == (topic, b"answer", qos)
            wanted = b"" if correlation is None else b"\x09" + wire.string(correlation)
            assert message.properties == wanted
        await other.expect_silence()
        assert edge.context.get_session("t6") is not None


async def test_an_answer_for_somebody_who_has_gone_is_dropped() -> None:
    """A reconnect is another client, and one of 3.1.1 has no response topic."""
    async with running_edge() as edge:
        async with connected(edge.port, "t5"):
            pass
        async with Wire.connect(edge.port, "t5") as client:
            client.send(wire.subscribe(1, ("$aws/a", 1)))
            await client.expect(wire.suback(1, 1))
            for asking in edge.endpoint.opened_:
                edge.front.respond(asking, ReplyTo("$aws/a", b"7"), b"answer")
            edge.front.flush()
            await client.expect_silence()


async def test_an_unacknowledged_answer_is_sent_again_with_its_correlation_data() -> None:
    """[MQTT-4.4.0-1]: the session keeps it whole; a client that comes back in 3.1.1 gets it without."""
    async with running_edge() as edge:
        async with connected(edge.port, "t5", FOR_EVER) as client:
            client.send(wire5.subscribe(1, ("$aws/a", 1)))
            await client.expect(wire5.suback(1, 1))
            edge.front.respond(edge.endpoint.opened_[0], ReplyTo("$aws/a", b"7"), b"answer")
            edge.front.flush()
            assert (await receive_publish(client)).properties == b"\x09\0\x017"
        async with connected(edge.port, "t5", FOR_EVER, clean=False, present=True) as client:
            message = await receive_publish(client)
            assert (message.properties, message.dup) == (b"\x09\0\x017", True)
        async with Wire.connect(edge.port, "t5", clean=False, present=True) as old:
            assert (await old.receive_publish()).payload == b"answer"
