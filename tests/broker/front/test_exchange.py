"""Traffic under the topic root: acknowledgments, QoS 2, subscriptions, order, back-pressure."""

import asyncio
import socket

import pytest

from tests.broker.front import wire
from tests.broker.front.harness import Echo, Recorder, eventually, running_edge
from tests.broker.front.wire import Published, Wire
from thingjobs_broker.front import CloseReason

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]


async def test_publishes_reach_the_endpoint_again_and_again() -> None:
    """Without the front, the first publish to a `$` topic makes amqtt deaf to the client."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        for n in range(1, 51):
            client.send(wire.publish("$aws/things/t1/jobs/get", b"%d" % n, qos=1, packet_id=n))
            await client.expect(wire.puback(n))
        client.send(wire.publish("$aws", b"root itself"), wire.publish("$aws/q", b"", retain=True))
        await client.expect_silence()
        received = edge.endpoint.received_
        assert [message.payload for message in received[:50]] == [b"%d" % n for n in range(1, 51)]
        assert [message[1:4] for message in received[50:]] == [
            ("$aws", b"root itself", False),
            ("$aws/q", b"", True),
        ]
        assert {message.client for message in received} == set(edge.endpoint.opened_)


async def test_acknowledgments_wait_until_settled() -> None:
    """PUBACK and PUBREC follow `settled`, so that they can promise durability; QoS 0 gets none."""
    async with running_edge(Recorder(settles_at_once=False)) as edge, Wire.connect(edge.port, "t1") as client:
        client.send(
            wire.publish("$aws/x", qos=1, packet_id=1),
            wire.publish("$aws/x", qos=0),
            wire.publish("$aws/x", qos=2, packet_id=2),
            wire.publish("$aws/x", qos=1, packet_id=3),
        )
        await client.expect_silence()
        for message in edge.endpoint.received_:
            message.settled()
        edge.front.flush()
        await client.expect(wire.puback(1), wire.pubrec(2), wire.puback(3))
        client.send(wire.pubrel(2))
        await client.expect(wire.pubcomp(2))
        await client.expect_silence()


async def test_acknowledgments_come_in_the_order_of_the_publishes() -> None:
    """[MQTT-4.6.0-2], whatever is settled first: a refusal overtakes no request, nor does a plain topic's."""
    async with running_edge(Recorder(settles_at_once=False)) as edge, Wire.connect(edge.port, "t1") as client:
        client.send(
            wire.publish("$aws/a", qos=1, packet_id=1),
            wire.publish("$aws/b", qos=2, packet_id=2),
            wire.publish("plain", qos=1, packet_id=3),
            wire.publish("$aws/c", qos=1, packet_id=4),
            wire.publish("$aws/d", qos=1, packet_id=5),
            wire.publish("plain", qos=1, packet_id=6),
        )
        await client.expect_silence()
        first, second, third, fourth = edge.endpoint.received_
        for message in (fourth, second):
            message.settled()
        edge.front.flush()
        await client.expect_silence()
        first.settled()
        edge.front.flush()
        await client.expect(wire.puback(1), wire.pubrec(2), wire.puback(3))
        await client.expect_silence()
        third.settled()
        edge.front.flush()
        await client.expect(wire.puback(4), wire.puback(5), wire.puback(6))
        client.send(wire.publish("$aws/e", qos=1, packet_id=7), wire.publish("plain", qos=0))
        await eventually(lambda: len(edge.endpoint.received_) == 5)
        edge.endpoint.received_[4].settled()
        edge.front.flush()
        await client.expect(wire.puback(7))


async def test_settling_after_the_end_of_a_connection_is_harmless() -> None:
    """The commit of a request may outlive its client."""
    async with running_edge(Recorder(settles_at_once=False)) as edge:
        async with Wire.connect(edge.port, "t1") as client:
            client.send(*(wire.publish("$aws/x", qos=qos, packet_id=1 + qos) for qos in (0, 1, 2)))
            await client.expect_silence()
        await eventually(lambda: edge.front.stats.connections == 0)
        for message in edge.endpoint.received_:
            message.settled()
        edge.front.flush()


async def test_qos_2_is_handed_over_exactly_once() -> None:
    """A repetition before PUBREL gets its PUBREC again, nothing else [MQTT-4.3.3-2]; then the id is free."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.publish("$aws/x", b"1", qos=2, packet_id=5))
        client.send(wire.publish("$aws/x", b"1", qos=2, packet_id=5, dup=True))
        await client.expect(wire.pubrec(5), wire.pubrec(5))
        client.send(wire.pubrel(5), wire.pubrel(5))
        await client.expect(wire.pubcomp(5), wire.pubcomp(5))
        client.send(wire.publish("$aws/x", b"2", qos=2, packet_id=5))
        await client.expect(wire.pubrec(5))
        assert [message.payload for message in edge.endpoint.received_] == [b"1", b"2"]


async def test_qos_2_is_exactly_once_across_a_reconnect() -> None:
    """The received ids belong to the session; a PUBREC due meanwhile goes to the new connection."""
    async with running_edge(Recorder(settles_at_once=False)) as edge:
        async with Wire.connect(edge.port, "t1", clean=False) as client:
            client.send(wire.publish("$aws/x", qos=2, packet_id=5))
            await client.expect_silence()
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
            client.send(wire.publish("$aws/x", qos=2, packet_id=5, dup=True))
            await client.expect_silence()
            (message,) = edge.endpoint.received_
            message.settled()
            edge.front.flush()
            await client.expect(wire.pubrec(5))
            client.send(wire.publish("$aws/x", qos=2, packet_id=5, dup=True))
            await client.expect(wire.pubrec(5))
        assert len(edge.endpoint.received_) == 1


async def test_unreleased_qos_2_ids_are_bounded() -> None:
    """Over messages_unacknowledged_max the connection is dropped."""
    async with running_edge(messages_unacknowledged_max=3) as edge, Wire.connect(edge.port, "t1") as client:
        client.send(*(wire.publish("$aws/x", qos=2, packet_id=n) for n in range(1, 5)))
        await client.expect_end()
        assert len(edge.endpoint.received_) == 3
        assert edge.front.stats.connections_closed == {CloseReason.UNACKNOWLEDGED: 1}


async def test_ten_thousand_pipelined_requests_are_answered_in_order() -> None:
    """One connection may send without waiting; every PUBACK and every reply comes, in order."""
    count = 10_000
    async with running_edge(Echo()) as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(1, ("$aws/r/accepted", 1)))
        await client.expect(wire.suback(1, 1))
        client.send(*(wire.publish("$aws/r", b"%d" % n, qos=1, packet_id=n) for n in range(1, count + 1)))
        acknowledged: list[int] = []
        answers: list[int] = []
        while len(answers) < count:
            frame = await client.receive()
            if frame[0] == 0x40:
                acknowledged.append(int.from_bytes(frame[2:4]))
            else:
                answer = wire.parse_publish(frame)
                answers.append(int(answer.payload))
                client.send(wire.puback(answer.packet_id))
        assert acknowledged == answers == list(range(1, count + 1))


async def test_flooder_does_not_hold_the_loop() -> None:
    """While one client's 5,000 requests are worked off in turns, another one's is answered among them."""
    async with (
        running_edge() as edge,
        Wire.connect(edge.port, "flooder") as flooder,
        Wire.connect(edge.port, "t1") as client,
    ):
        flooder.send(*(wire.publish("$aws/flood", qos=1, packet_id=n) for n in range(1, 5001)))
        await eventually(lambda: edge.endpoint.received_)
        client.send(wire.publish("$aws/one", qos=1))
        await client.expect(wire.puback(1))
        topics = [message.topic for message in edge.endpoint.received_]
        assert topics.index("$aws/one") < 4000
        await flooder.expect(*(wire.puback(n) for n in range(1, 5001)))


async def test_requests_in_progress_are_bounded() -> None:
    """With too many unsettled requests a client is not read; settling them lets it go on."""
    endpoint = Recorder(settles_at_once=False)
    async with (
        running_edge(endpoint, requests_in_progress_max=10, frames_per_turn_max=4) as edge,
        Wire.connect(edge.port, "other") as other,
        Wire.connect(edge.port, "t1", keep_alive=10) as client,
    ):
        client.send(*(wire.publish("$aws/x", b"p" * 50_000, qos=1, packet_id=n) for n in range(1, 101)))
        await eventually(lambda: len(endpoint.received_) >= 10)
        await other.expect_silence()
        await other.expect_silence()
        assert 10 <= len(endpoint.received_) < 14
        (connection,) = (each for each in edge.front._connections if each.client is endpoint.opened_[1])
        assert connection._splitter.unread_bytes < 1_000_000
        # A client that is not read is not silent.
        now = edge.front.loop.time()
        for seconds in (0, 100, 200):
            edge.front._by_client_id["other"]._heard = True
            edge.front.sweep(now + seconds)
        for done in range(100):
            await eventually(lambda: len(endpoint.received_) > done)  # noqa: B023
            endpoint.received_[done].settled()
            edge.front.flush()
            await client.expect(wire.puback(done + 1))
        await client.expect_silence()


async def test_messages_reach_subscribers_once_with_the_lower_qos() -> None:
    """QoS is min(1, granted); overlapping filters give one copy, the highest [MQTT-3.3.5-1]; RETAIN is 0."""
    async with (
        running_edge() as edge,
        Wire.connect(edge.port, "t1") as one,
        Wire.connect(edge.port, "t2") as two,
    ):
        one.send(
            wire.subscribe(1, ("$aws/things/+/jobs/#", 0), ("$aws/things/t1/jobs/notify", 2), ("$aws/#", 0))
        )
        two.send(wire.subscribe(1, ("$aws/things/+/jobs/notify", 0)))
        await one.expect(wire.suback(1, 0, 1, 0))
        await two.expect(wire.suback(1, 0))
        payloads = iter([b"payload", b"never made"])
        assert edge.front.publish("$aws/things/t1/jobs/notify", lambda: next(payloads)) == 2
        assert edge.front.publish("$aws/elsewhere", lambda: b"") == 1
        assert next(payloads) == b"never made"
        edge.front.flush()
        first = await one.receive_publish()
        assert first == Published("$aws/things/t1/jobs/notify", b"payload", 1, first.packet_id, False, False)
        assert (await one.receive_publish()).topic == "$aws/elsewhere"
        assert await two.receive_publish() == Published(
            "$aws/things/t1/jobs/notify", b"payload", 0, 0, False, False
        )
        await one.expect_silence()
        await two.expect_silence()


async def test_payload_is_not_made_for_nobody() -> None:
    """Most notifications have no subscriber; they cost a lookup."""
    async with running_edge() as edge:
        assert edge.front.publish("$aws/x", lambda: pytest.fail("made")) == 0


@pytest.mark.parametrize("topic_filter", ["$aws/a/#/b", "$aws/a#", "$aws/+a", "$aws/a/b+", ""])
async def test_invalid_filter_is_refused_in_the_suback(topic_filter: str) -> None:
    """0x80, and the other filters of the packet are granted (4.7.1)."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(3, ("$aws/ok", 1), (topic_filter, 1), ("$aws/ok2", 0)))
        await client.expect(wire.suback(3, 1, 0x80, 0))
        assert edge.front.stats.subscriptions == 2


async def test_endpoint_refuses_filters() -> None:
    """Authorization is the endpoint's; a refused filter gets nothing."""
    endpoint = Recorder(forbidden_filters=frozenset({"$aws/secret"}))
    async with running_edge(endpoint) as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(3, ("$aws/secret", 1), ("foreign", 1), ("$aws/mine", 1)))
        await client.expect(wire.suback(3, 0x80, 1, 1))
        assert edge.say("$aws/secret") == 0


async def test_subscriptions_are_bounded() -> None:
    """Filters per client, and wildcard shapes of all clients together; what exists may be renewed."""
    async with (
        running_edge(subscriptions_per_client_max=2, filter_shapes_max=1) as edge,
        Wire.connect(edge.port, "t1") as one,
        Wire.connect(edge.port, "t2") as two,
    ):
        one.send(wire.subscribe(1, ("$aws/+", 1), ("$aws/b", 1), ("$aws/c", 1), ("$aws/b", 0)))
        await one.expect(wire.suback(1, 1, 1, 0x80, 0))
        two.send(wire.subscribe(1, ("$aws/+/+", 1), ("$aws/+", 1)))
        await two.expect(wire.suback(1, 0x80, 1))


async def test_subscribing_again_replaces_the_qos_and_unsubscribing_ends_it() -> None:
    """[MQTT-3.8.4-3], 3.10."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        for qos in (1, 0):
            client.send(wire.subscribe(1, ("$aws/+", qos)))
            await client.expect(wire.suback(1, qos))
            edge.say("$aws/x")
            assert (await client.receive_publish()).qos == qos
        client.send(wire.unsubscribe(2, "$aws/+", "$aws/never"))
        await client.expect(wire.unsuback(2))
        assert edge.say("$aws/x") == 0
        assert edge.front.stats.subscriptions == 0


async def test_mixed_subscribe_and_unsubscribe_are_answered_in_one_packet() -> None:
    """The SUBACK has amqtt's and our codes in the order of the filters; amqtt never sees ours."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(77, ("a/+", 2), ("$aws/x", 2), ("b+", 1), ("$aws/#/x", 1), ("c", 0)))
        client.send(wire.subscribe(78, ("d", 1)), wire.subscribe(79, ("$aws/y", 0), ("e", 1)))
        expected = [wire.suback(77, 2, 1, 0x80, 0x80, 0), wire.suback(78, 1), wire.suback(79, 0, 1)]
        assert sorted([await client.receive() for _ in expected]) == sorted(expected)
        assert sorted(edge.context.subscriptions) == ["a/+", "c", "d", "e"]
        edge.say("$aws/x", b"ours")
        assert (await client.receive_publish()).payload == b"ours"
        await edge.context.broadcast_message("a/b", b"theirs", 0)
        assert (await client.receive_publish()).payload == b"theirs"
        client.send(wire.unsubscribe(80, "a/+", "$aws/x", ""))
        await client.expect(wire.unsuback(80))
        assert edge.say("$aws/x") == 0
        await edge.context.broadcast_message("a/b", b"theirs", 0)
        await edge.context.broadcast_message("c", b"last", 0)
        assert (await client.receive_publish()).payload == b"last"


async def test_hash_does_not_match_the_root() -> None:
    """[MQTT-4.7.2-1]; what begins with a wildcard is amqtt's."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(1, ("#", 1), ("+/x", 1)))
        await client.expect(wire.suback(1, 1, 1))
        assert edge.say("$aws/x") == 0


async def test_one_write_carries_acknowledgment_and_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything appended since the last flush leaves in one piece, in the order of appending."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(1, ("$aws/r", 0)))
        await client.expect(wire.suback(1, 0))
        (connection,) = edge.front._connections
        writes: list[bytes] = []
        monkeypatch.setattr(connection._transport, "write", writes.append)
        edge.endpoint.settles_at_once = False
        client.send(wire.publish("$aws/x", qos=1, packet_id=3))
        await eventually(lambda: edge.endpoint.received_)
        edge.endpoint.received_[0].settled()
        edge.say("$aws/r", b"1", flush=False)
        edge.say("$aws/r", b"2", flush=False)
        assert writes == []
        edge.front.flush()
        edge.front.flush()
        assert writes == [wire.puback(3) + wire.publish("$aws/r", b"1") + wire.publish("$aws/r", b"2")]
        monkeypatch.undo()


async def test_slow_reader_is_dropped_while_others_are_served() -> None:
    """Over unsent_bytes_max it is aborted; its requests were not read any more long before."""
    async with (
        running_edge(Echo(), unsent_bytes_max=200_000) as edge,
        Wire.dial(edge.port, limit=1024) as slow,
        Wire.connect(edge.port, "quick") as quick,
    ):
        sock = slow.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.send(wire.connect("slow"), wire.subscribe(1, ("$aws/n", 0)))
        quick.send(wire.subscribe(1, ("$aws/n", 0)))
        await quick.expect(wire.suback(1, 0))
        await eventually(lambda: edge.front.stats.subscriptions == 2)
        sent = 0
        while edge.front.stats.connections == 2:
            edge.say("$aws/n", b"n" * 10_000)
            sent += 1
            assert (await quick.receive_publish()).payload == b"n" * 10_000
            assert sent < 2000
        assert edge.front.stats.connections_closed == {CloseReason.SLOW_READER: 1}
        await quick.expect_silence()


async def test_write_buffer_that_stays_high_ends_the_connection() -> None:
    """A client that has stopped reading is not kept for ever, even below the hard limit, nor read."""
    async with running_edge(Echo()) as edge, Wire.dial(edge.port, limit=1024) as slow:
        sock = slow.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.send(wire.connect("slow"), wire.subscribe(1, ("$aws/n", 0)))
        await eventually(lambda: edge.front.stats.subscriptions == 1)
        (connection,) = edge.front._connections
        while connection._writable.is_set():
            edge.say("$aws/n", b"n" * 10_000)
        slow.send(wire.publish("$aws/x", qos=1))
        for _ in range(20):
            await asyncio.sleep(0)
        assert edge.endpoint.received_ == []
        now = edge.front.loop.time()
        edge.front.sweep(now + 59)
        assert edge.front.stats.clients == 1
        edge.front.sweep(now + 61)
        assert edge.front.stats.connections_closed == {CloseReason.SLOW_READER: 1}


async def test_unacknowledged_messages_are_bounded() -> None:
    """A client that never sends PUBACK is dropped."""
    async with running_edge(messages_unacknowledged_max=3) as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(1, ("$aws/n", 1)))
        await client.expect(wire.suback(1, 1))
        for _ in range(3):
            edge.say("$aws/n")
            client.send(wire.puback((await client.receive_publish()).packet_id))
        await client.expect_silence()
        for _ in range(4):
            edge.say("$aws/n")
        await client.expect_end()
        assert edge.front.stats.connections_closed == {CloseReason.UNACKNOWLEDGED: 1}
