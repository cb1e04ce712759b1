"""Clients of MQTT 5 on the front, byte by byte; amqtt behind knows 3.1.1 alone. Clauses of MQTT 5.0."""

import asyncio

import pytest

from tests.broker.front import wire, wire5
from tests.broker.front.harness import Recorder, running_edge
from tests.broker.front.wire import Wire
from tests.broker.front.wire5 import connack_of, connected, receive_publish
from thingjobs_broker.front import Client, ReplyTo

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]

FOR_A_DAY = (wire5.EXPIRY, wire5.uint32(86_400))
FOR_EVER = (wire5.EXPIRY, wire5.uint32(0xFFFFFFFF))


# Getting in.


async def test_a_connack_says_what_is_offered() -> None:
    """3.2.2.3: limits, no topic aliases, no subscription identifiers, no shared subscriptions."""
    async with running_edge() as edge:
        connack = await connack_of(edge.port, wire5.connect("t1"))
        assert connack == (0, False, {0x21: 1000, 0x27: 1 << 20, 0x22: 0, 0x25: 1, 0x28: 1, 0x29: 0, 0x2A: 0})
        assert edge.endpoint.opened_[0].client_id == "t1"


async def test_a_client_without_an_id_is_told_the_one_it_got() -> None:
    """3.2.2.3.7, also with a session that is to last."""
    async with running_edge() as edge:
        connack = await connack_of(edge.port, wire5.connect("", FOR_A_DAY, clean=False))
        assert connack.properties[0x12] == edge.endpoint.opened_[0].client_id != ""


async def test_refusals_have_codes_of_mqtt_5() -> None:
    """3.2.2.2: amqtt's return code 5 or 4 for a wrong password, and an authentication method nobody knows."""
    async with running_edge() as edge:
        refused = await connack_of(edge.port, wire5.connect("t1", user="ada", password="wrong"))
        assert refused == (0x87, False, {})
        assert (
            await connack_of(edge.port, wire5.connect("t1", (0x15, wire.string("SCRAM"))))
        ).reason_code == 0x8C
        assert edge.endpoint.opened_ == []


async def test_a_later_version_is_refused_and_a_broken_connect_ends_the_connection() -> None:
    """Level 6 as any that is unknown; a CONNECT that cannot be read gets no answer."""
    async with running_edge() as edge:
        async with Wire.dial(edge.port) as client:
            client.send(wire5.connect("t1", level=6))
            await client.expect(wire.connack(1))
        async with Wire.dial(edge.port) as client:
            client.send(wire5.connect("t1", (0x7E, b"\0")))
            assert await client.reader.read() == b""


async def test_versions_take_over_each_others_sessions() -> None:
    """3.1.4: one client id is one client, whatever it speaks; the elder is told by DISCONNECT."""
    async with (
        running_edge() as edge,
        connected(edge.port, "t1") as elder,
        Wire.connect(edge.port, "t1") as younger,
    ):
        await elder.expect(wire5.disconnect(0x8E))
        await elder.expect_end()
        await younger.expect_silence()


# Publishing.


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_requests_are_handed_over_and_acknowledged(qos: int) -> None:
    """Properties are tolerated; a PUBACK without a reason code means success (3.4.2.1)."""
    async with running_edge() as edge, connected(edge.port, "t1") as client:
        found = [(0x01, b"\1"), (wire5.USER, wire.string("k") * 2)]
        client.send(wire5.publish("$aws/x", b"{}", *found, qos=qos, packet_id=7))
        if qos == 1:
            await client.expect(wire.puback(7))
        if qos == 2:
            await client.expect(wire.pubrec(7))
            client.send(wire5.acknowledgment(0x62, 7, 0))
            await client.expect(wire.pubcomp(7))
        await client.expect_silence()
        (received,) = edge.endpoint.received_
        assert received[1:4] == ("$aws/x", b"{}", False)
        assert received.reply_to is None


async def test_response_topic_and_correlation_data_reach_the_endpoint() -> None:
    """4.10; and not those of the request before."""
    async with running_edge() as edge, connected(edge.port, "t1") as client:
        both = [(wire5.RESPONSE_TOPIC, wire.string("a")), (wire5.CORRELATION, wire.string(b"\0\1"))]
        client.send(
            wire5.publish("$aws/x", b"", *both),
            wire5.publish("$aws/x", b"", both[0]),
            wire5.publish("$aws/x", b"", both[1]),
        )
        await client.expect_silence()
        wanted = [ReplyTo("a", b"\0\1"), ReplyTo("a", None), None]
        assert [received.reply_to for received in edge.endpoint.received_] == wanted


async def test_what_is_not_granted_is_refused_with_a_reason() -> None:
    """3.4.2.1: 0x87, Not authorized; with QoS 0 there is no answer; the endpoint hears nothing."""
    endpoint = Recorder(forbidden_topics=frozenset({"$aws/no"}))
    async with running_edge(endpoint) as edge, connected(edge.port, "t1") as client:
        client.send(
            wire5.publish("$aws/no"),
            wire5.publish("$aws/no", qos=1, packet_id=7),
            wire5.publish("$aws/no", qos=2, packet_id=8),
            wire5.publish("$aws/yes", qos=2, packet_id=8),
        )
        await client.expect(
            wire5.acknowledgment(0x40, 7, 0x87), wire5.acknowledgment(0x50, 8, 0x87), wire.pubrec(8)
        )
        assert [received.topic for received in endpoint.received_] == ["$aws/yes"]


async def test_a_refusal_does_not_overtake_what_came_before() -> None:
    """[MQTT-4.6.0-2] of MQTT 5 too: the acknowledgments come in the order of the publishes."""
    endpoint = Recorder(settles_at_once=False, forbidden_topics=frozenset({"$aws/no"}))
    async with running_edge(endpoint) as edge, connected(edge.port, "t1") as client:
        client.send(
            wire5.publish("$aws/yes", qos=1, packet_id=6),
            wire5.publish("$aws/no", qos=1, packet_id=7),
            wire5.publish("$aws/no", qos=2, packet_id=8),
        )
        await client.expect_silence()
        endpoint.received_[0].settled()
        edge.front.flush()
        await client.expect(
            wire.puback(6), wire5.acknowledgment(0x40, 7, 0x87), wire5.acknowledgment(0x50, 8, 0x87)
        )


async def test_a_refusal_may_hold_its_sender() -> None:
    """As for clients of 3.1.1: the next frame waits, although none was handed on."""

    class Stern(Recorder):
        def may_publish(self, client: Client, topic: str) -> bool:
            assert self.front is not None
            self.front.hold(client, 3600)
            return False

    async with running_edge(Stern()) as edge, connected(edge.port, "t1") as client:
        client.send(b"".join(wire5.publish("$aws/no", qos=1, packet_id=n) for n in (1, 2, 3)))
        await client.expect(wire5.acknowledgment(0x40, 1, 0x87))
        edge.say("$aws/nobody")
        for packet_id in (2, 3):
            await asyncio.sleep(0)
            assert edge.front._by_client_id["t1"]._splitter.unread_bytes > 0
            edge.front._by_client_id["t1"]._let_go_on()
            await client.expect(wire5.acknowledgment(0x40, packet_id, 0x87))


@pytest.mark.parametrize(
    ("frame", "reason_code"),
    [
        (wire5.publish("", b"", (0x23, b"\0\1")), 0x94),
        (wire5.publish("$aws/x", b"", (0x23, b"\0\1")), 0x94),
        (wire5.subscribe(1, ("a", 0), found=((0x0B, b"\1"),)), 0xA1),
        (wire5.publish("$aws/x", b"p" * (128 * 1024 + 1)), 0x95),
        (b"\x30\xff\xff\x7f", 0x95),
        (wire.packet(0xF0, b"\0"), 0x82),
        (wire5.connect("t1"), 0x81),
        (wire5.subscribe(1, ("a", 0)) + wire5.subscribe(1, ("b", 0)), 0x91),
        (wire5.unsubscribe(1, "a") + wire5.unsubscribe(1, "a", "b"), 0x91),
        (b"\xff\0", 0x81),
        (wire5.disconnect(0, FOR_A_DAY), 0x82),
    ],
)
async def test_a_client_that_breaks_the_rules_hears_which(frame: bytes, reason_code: int) -> None:
    """4.13.1: topic aliases, subscription identifiers and authentication are not offered here."""
    async with running_edge() as edge, connected(edge.port, "t1") as client:
        client.send(wire5.publish("$aws/x", qos=1, packet_id=7) + frame)
        await client.expect(wire.puback(7), wire5.disconnect(reason_code))
        await client.expect_end()


# Subscribing.


async def test_subscriptions_have_codes_of_mqtt_5() -> None:
    """3.9.3, 3.11.3: per filter, for our own and for amqtt's filters in one packet."""
    endpoint = Recorder(forbidden_filters=frozenset({"$aws/no"}))
    async with (
        running_edge(endpoint, subscriptions_per_client_max=2) as edge,
        connected(edge.port, "t1") as client,
    ):
        wanted = [
            "$aws/yes/+",
            "foreign/#",
            "$aws/no",
            "$aws/a+",
            "$share/g/$aws/x",
            "b#",
            "",
            "$aws/yes",
        ]
        client.send(wire5.subscribe(7, *((one, 2) for one in wanted)))
        await client.expect(wire5.suback(7, 1, 2, 0x87, 0x8F, 0x9E, 0x8F, 0x8F, 1))
        client.send(wire5.subscribe(8, ("$aws/too/many", 1)), wire5.subscribe(9, ("foreign/2", 0x2D)))
        await client.expect(wire5.suback(8, 0x97), wire5.suback(9, 1))
        client.send(wire5.unsubscribe(10, "$aws/yes", "$aws/no", "foreign/2"))
        await client.expect(wire5.unsuback(10, 0, 0x11, 0))
        client.send(wire5.unsubscribe(11, "$aws/yes"))
        await client.expect(wire5.unsuback(11, 0x11))


@pytest.mark.parametrize("qos", [0, 1])
async def test_messages_come_as_mqtt_5(qos: int) -> None:
    """3.3.2.3: with an empty list of properties; the same message to a client of 3.1.1 without."""
    async with (
        running_edge() as edge,
        connected(edge.port, "t5") as new,
        Wire.connect(edge.port, "t3") as old,
    ):
        new.send(wire5.subscribe(1, ("$aws/+/notify", qos)))
        await new.expect(wire5.suback(1, qos))
        old.send(wire.subscribe(1, ("$aws/+/notify", qos)))
        await old.expect(wire.suback(1, qos))
        for payload in (b"{}", b"x" * 30_000):
            assert edge.say("$aws/t/notify", payload) == 2
            message = await receive_publish(new)
            assert message[:3] == ("$aws/t/notify", payload, qos)
            assert (message.dup, message.properties) == (False, b"")
            assert (await old.receive_publish())[:3] == ("$aws/t/notify", payload, qos)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_foreign_traffic_is_translated_both_ways(qos: int) -> None:
    """From 5 to 3.1.1 and back through amqtt, and from 5 to 5, in all the steps of each QoS."""
    async with (
        running_edge() as edge,
        connected(edge.port, "t5") as new,
        Wire.connect(edge.port, "t3") as old,
    ):
        new.send(wire5.subscribe(1, ("rooms/#", qos)))
        await new.expect(wire5.suback(1, qos))
        old.send(wire.subscribe(1, ("rooms/#", qos)))
        await old.expect(wire.suback(1, qos))
        new.send(wire5.publish("rooms/1", b"warm", (0x03, wire.string("text")), qos=qos, packet_id=9))
        if qos == 2:
            await new.expect(wire.pubrec(9))
            new.send(wire5.acknowledgment(0x62, 9, 0))
        frames = {(frame := await new.receive())[0] >> 4: frame for _ in range(min(qos, 1) + 1)}
        message = wire5.parse_publish(frames.pop(3))
        assert message[:3] == ("rooms/1", b"warm", qos)
        assert list(frames.values()) == [[], [wire.puback(9)], [wire.pubcomp(9)]][qos]
        if qos:
            new.send(wire5.acknowledgment({1: 0x40, 2: 0x50}[qos], message.packet_id, 0))
        if qos == 2:
            await new.expect(wire.pubrel(message.packet_id))
            new.send(wire5.acknowledgment(0x70, message.packet_id, 0))
        await new.expect_silence()
        assert (await old.receive_publish())[:3] == ("rooms/1", b"warm", qos)


async def test_a_qos_2_message_that_the_client_refuses_is_over() -> None:
    """4.3.3: a PUBREC with a failure ends it for the client; amqtt, which cannot know, goes on to its end."""
    async with running_edge() as edge, connected(edge.port, "t5") as client:
        client.send(wire5.subscribe(1, ("a", 2)), wire5.publish("a", b"x"))
        await client.expect(wire5.suback(1, 2))
        packet_id = (await receive_publish(client)).packet_id
        client.send(wire5.acknowledgment(0x50, packet_id, 0x80))
        await client.expect(wire.pubrel(packet_id))
        client.send(wire5.acknowledgment(0x70, packet_id, 0x92))
        await client.expect_silence()
        assert edge.context.get_session("t5").inflight_out == {}
