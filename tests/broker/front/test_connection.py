"""The life of a connection: getting in, limits of time and size, take-over, the end."""

import asyncio
import socket

import pytest
import structlog

from tests.broker.front import wire
from tests.broker.front.harness import Echo, Recorder, eventually, running_edge
from tests.broker.front.wire import Wire
from thingjobs_broker.front import Client, CloseReason, Front

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]


async def test_client_gets_in_and_leaves() -> None:
    """The endpoint hears of a client after its CONNACK and of its end; amqtt answers the PINGREQ between."""
    async with running_edge() as edge:
        async with Wire.connect(edge.port, "t1", user="alice") as client:
            (opened,) = edge.endpoint.opened_
            assert (opened.client_id, opened.user_name, opened.certificate_name) == ("t1", "alice", None)
            assert opened.peer == "127.0.0.1:{}".format(client.writer.get_extra_info("sockname")[1])
            client.send(wire.PINGREQ)
            await client.expect(wire.PINGRESP)
            assert (edge.front.stats.connections, edge.front.stats.clients) == (1, 1)
            client.send(wire.DISCONNECT)
            await client.expect_end()
        await eventually(lambda: edge.front.stats.connections == 0)
        assert edge.endpoint.closed_ == [opened]
        assert edge.front.stats.connections_closed == {CloseReason.ENDED: 1}
        assert edge.front.stats.sessions == 0


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (None, None),
        ("alice", "alice"),
        ("alice?SDK=Python&Version=1.6.2", "alice"),
        ("?SDK=JavaScript", None),
    ],
)
async def test_sdk_suffix_is_no_part_of_the_user_name(user: str | None, expected: str | None) -> None:
    """Two AWS SDKs append their name (client quirks)."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1", user=user):
        assert edge.endpoint.opened_[0].user_name == expected


async def test_nagle_is_off() -> None:
    """A reply behind a PUBACK must not wait for the client's delayed acknowledgment."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1"):
        (connection,) = edge.front._connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(("name", "level"), [("MQTT", 6), ("MQTT", 3), ("MQIsdp", 3)])
async def test_other_protocol_levels_are_answered_with_code_1(name: str, level: int) -> None:
    """[MQTT-3.1.2-2]; what an MQTT 5 client sends after the level does not matter."""
    async with running_edge() as edge, Wire.dial(edge.port) as client:
        client.send(wire.connect("t1", name=name, level=level, user="u" * 300))
        await client.expect(wire.connack(1))
        await client.expect_end()
        assert edge.endpoint.opened_ == []


async def test_empty_client_id_gets_one_made() -> None:
    """[MQTT-3.1.3-6]; front and amqtt agree on it, or packet ids could not be shared."""
    async with running_edge() as edge, Wire.connect(edge.port, ""), Wire.connect(edge.port, "") as client:
        first, second = (client.client_id for client in edge.endpoint.opened_)
        assert first != second
        assert {session.client_id for session in edge.context.sessions} == {first, second}
        client.send(wire.subscribe(1, ("$aws/a", 1)))
        await client.expect(wire.suback(1, 1))
        edge.say("$aws/a", b"x")
        assert (await client.receive_publish()).payload == b"x"


async def test_empty_client_id_without_clean_session_is_rejected() -> None:
    """[MQTT-3.1.3-8]."""
    async with running_edge() as edge, Wire.dial(edge.port) as client:
        client.send(wire.connect("", clean=False))
        await client.expect(wire.connack(2))
        await client.expect_end()


async def test_wrong_password_is_refused_by_amqtt() -> None:
    """Authentication is the auth plugins'; nothing the client sent along with CONNECT is handled."""
    async with running_edge() as edge, Wire.dial(edge.port) as client:
        client.send(wire.connect("t1", user="u", password="wrong"), wire.publish("$aws/x", qos=1))
        await client.expect(wire.connack(5))
        await client.expect_end()
        assert (edge.endpoint.opened_, edge.endpoint.received_) == ([], [])
        await eventually(lambda: edge.front.stats.connections_closed == {CloseReason.REFUSED: 1})
        # amqtt itself would keep this session as a connected one for ever.
        await eventually(lambda: all(s.transitions.state == "disconnected" for s in edge.context.sessions))


async def test_frames_pipelined_before_the_connack_are_handled_in_order() -> None:
    """A client may send on without waiting (3.1.4); amqtt alone would lose these publishes."""
    async with running_edge(Echo()) as edge, Wire.dial(edge.port) as client:
        requests = b"".join(wire.publish("$aws/r", b"%d" % n, qos=1, packet_id=n) for n in range(1, 201))
        client.send(wire.connect("t1"), wire.subscribe(9, ("$aws/r/accepted", 0)), requests)
        await client.expect(wire.connack(), wire.suback(9, 0))
        for n in range(1, 201):
            await client.expect(wire.puback(n))
            assert (await client.receive_publish()).payload == b"%d" % n


async def test_pipelining_before_the_connack_is_bounded() -> None:
    """Reading pauses, and goes on after the CONNACK."""
    async with running_edge(pipelined_bytes_max=1000) as edge, Wire.dial(edge.port) as client:
        publishes = [wire.publish("$aws/x", b"p" * 1000, qos=1, packet_id=n) for n in range(1, 3001)]
        client.send(wire.connect("t1"), *publishes)
        await client.expect(wire.connack())
        await client.expect(*(wire.puback(n) for n in range(1, 3001)))


MALFORMED = {
    "reserved packet type": b"\xf0\x00",
    "server's packet type": wire.connack(),
    "reserved flags": b"\xc1\x00",
    "QoS 3": b"\x36\x05\x00\x01a\x00\x01",
    "DUP with QoS 0": b"\x38\x04\x00\x01ab",
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "frame over 1 MiB": b"\x30\xff\xff\x7f",
    "PUBACK of three bytes": b"\x40\x03\x00\x01\x00",
    "topic that ends early": b"\x30\x04\x00\x09ab",
    "empty topic": wire.publish(""),
    "topic that is not UTF-8": wire.publish(b"$aws/\xff"),
    "topic with NUL": wire.publish("$aws/\0"),
    "topic with wildcard": wire.publish("$aws/+/x"),
    "foreign topic with wildcard": wire.publish("a/#"),
    "publish with packet id 0": wire.publish("$aws/x", qos=1, packet_id=0),
    "publish without packet id": b"\x32\x03\x00\x01a",
    "subscribe without filters": wire.packet(0x82, b"\x00\x01"),
    "subscribe with packet id 0": wire.subscribe(0, ("a", 0)),
    "subscribe with QoS 3": wire.subscribe(1, ("$aws/a", 3)),
    "subscribe that ends early": wire.packet(0x82, b"\x00\x01\x00\x05a"),
    "subscribe to a filter with NUL": wire.subscribe(1, ("$aws/\0", 1)),
    "unsubscribe without filters": wire.packet(0xA2, b"\x00\x01"),
    "second CONNECT": wire.connect("t1"),
    "payload over 128 KiB": wire.publish("$aws/x", b"p" * (128 * 1024 + 1), qos=1),
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_frame_closes_the_connection_and_nothing_else(frame: bytes) -> None:
    """What came before it is answered; other clients notice nothing."""
    async with running_edge() as edge, Wire.connect(edge.port, "other") as other:
        async with Wire.connect(edge.port, "t1") as client:
            client.send(wire.publish("$aws/x", qos=1, packet_id=7) + frame + wire.publish("$aws/x", qos=0))
            await client.expect(wire.puback(7))
            await client.expect_end()
        assert len(edge.endpoint.received_) == 1
        reason = CloseReason.OVERSIZE if b"p" * 1000 in frame or b"\x7f" in frame else CloseReason.MALFORMED
        assert edge.front.stats.connections_closed == {reason: 1}
        await other.expect_silence()


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        wire.PINGREQ,
        wire.packet(0x10, wire.string("XYZ")),
    ],
    ids=["http", "tls", "ping", "other protocol"],
)
async def test_garbage_instead_of_connect_closes_the_connection(first_bytes: bytes) -> None:
    """[MQTT-3.1.0-1]; amqtt hears nothing of it."""
    async with running_edge() as edge, Wire.dial(edge.port) as client:
        client.send(first_bytes)
        await client.expect_end()
        assert list(edge.context.sessions) == []


async def test_connect_timeout() -> None:
    """A socket on which no CONNECT comes is closed after 10 s."""
    async with running_edge() as edge, Wire.dial(edge.port) as client:
        client.send(wire.connect("t1")[:5])
        await eventually(lambda: edge.front.stats.connections == 1)
        edge.front.sweep(edge.front.loop.time() + 9)
        assert edge.front.stats.connections_closed == {}
        edge.front.sweep(edge.front.loop.time() + 10.1)
        await client.expect_end()
        assert edge.front.stats.connections_closed == {CloseReason.CONNECT_TIMEOUT: 1}


async def test_keep_alive_is_enforced_at_one_and_a_half_times() -> None:
    """[MQTT-3.1.2-24]; amqtt publishes the will of such a client, and hears nothing of keep alive 0."""
    async with running_edge() as edge, Wire.connect(edge.port, "watcher", keep_alive=0) as watcher:
        watcher.send(wire.subscribe(1, ("wills", 0)))
        await watcher.expect(wire.suback(1, 0))
        async with Wire.connect(edge.port, "t1", keep_alive=10, will=("wills", b"gone")) as client:
            now = edge.front.loop.time()
            edge.front.sweep(now)
            client.send(wire.PINGREQ)
            await client.expect(wire.PINGRESP)
            edge.front.sweep(now + 100)
            edge.front.sweep(now + 114.9)
            assert edge.front.stats.clients == 2
            edge.front.sweep(now + 115.1)
            await client.expect_end()
        assert await watcher.receive_publish() == ("wills", b"gone", 0, 0, False, False)
        assert edge.front.stats.connections_closed == {CloseReason.KEEP_ALIVE: 1}


async def test_disconnect_discards_the_will() -> None:
    """[MQTT-3.14.4-3], also when the client hangs up at once."""
    async with running_edge() as edge, Wire.connect(edge.port, "watcher") as watcher:
        watcher.send(wire.subscribe(1, ("wills", 0)))
        await watcher.expect(wire.suback(1, 0))
        async with Wire.connect(edge.port, "t1", will=("wills", b"gone")) as client:
            client.send(wire.DISCONNECT)
        await eventually(lambda: edge.front.stats.connections == 1)
        await eventually(lambda: edge.context.get_session("t1").transitions.state == "disconnected")
        await watcher.expect_silence()


async def test_surplus_connections_are_closed_unread() -> None:
    """With connections_max reached, the next socket is closed, and let in once there is room."""
    async with running_edge(connections_max=1) as edge:
        async with Wire.connect(edge.port, "t1") as first:
            async with Wire.dial(edge.port) as second:
                await second.expect_end()
            await first.expect_silence()
            assert edge.front.stats.connections_closed == {CloseReason.SURPLUS: 1}
        await eventually(lambda: edge.front.stats.connections == 0)
        async with Wire.connect(edge.port, "t1"):
            pass


async def test_publish_to_another_dollar_topic_ends_the_connection_not_the_session() -> None:
    """Such a client would be left connected and deaf by amqtt; the front closes it."""
    async with running_edge() as edge:
        async with Wire.connect(edge.port, "t1", clean=False) as client:
            client.send(wire.publish("$other/x"))
            await client.expect_end()
        await eventually(lambda: edge.context.get_session("t1").transitions.state == "disconnected")
        assert edge.front.stats.connections_closed == {CloseReason.BY_AMQTT: 1}
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
            await client.expect_silence()


async def test_client_that_amqtt_cannot_serve_is_closed() -> None:
    """Here: the broker has no such listener. The failure is logged; no socket is left hanging."""
    async with running_edge() as edge:
        front = Front(edge.broker, edge.context, edge.endpoint, listener_name="unknown")
        _, port = await front.listen("127.0.0.1", 0)
        async with Wire.dial(port) as client:
            with structlog.testing.capture_logs() as logs:
                client.send(wire.connect("t1"))
                await client.expect_end()
        assert [entry["error"] for entry in logs if entry["action"] == "front_amqtt_failed"] == [
            "BrokerError(\"Invalid listener name 'unknown'\")"
        ]
        await front.close()


async def test_client_that_amqtt_does_not_let_go_is_given_up() -> None:
    """Who leaves while amqtt retries a QoS 2 exchange hangs there for ever; the front ends that."""
    async with running_edge(close_seconds_max=0.1) as edge:
        async with Wire.connect(edge.port, "t1", clean=False) as client:
            client.send(wire.publish("foreign", qos=2, packet_id=3))
            await client.expect(wire.pubrec(3))
        await eventually(lambda: edge.context.get_session("t1").transitions.state == "disconnected")
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
            await client.expect(wire.pubrec(3))
            task = edge.front._by_client_id["t1"].task
        async with Wire.connect(edge.port, "t1", clean=False, present=True):
            assert task is not None
            assert task.done()
        assert edge.front.stats.clients <= 1


async def test_closing_connection_that_does_not_empty_is_aborted() -> None:
    """After close_seconds_max, whether or not the client has read."""
    async with running_edge() as edge, Wire.dial(edge.port, limit=1024) as slow:
        slow.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.send(wire.connect("slow"), wire.subscribe(1, ("$aws/n", 0)))
        await eventually(lambda: edge.front.stats.subscriptions == 1)
        (connection,) = edge.front._connections
        while connection._writable.is_set():
            edge.say("$aws/n", b"n" * 10_000)
        edge.front.disconnect(edge.endpoint.opened_[0])
        now = edge.front.loop.time()
        edge.front.sweep(now + 4.9)
        await asyncio.sleep(0.01)
        assert edge.front.stats.connections == 1
        edge.front.sweep(now + 5.1)
        await asyncio.sleep(0.01)
        assert edge.front.stats.connections == 0
        assert edge.front.stats.connections_closed == {CloseReason.DISCONNECTED: 1}


async def test_nothing_of_a_client_is_left_behind() -> None:
    """Clients that came and went cost no memory."""
    async with running_edge() as edge:
        for n in range(20):
            async with Wire.connect(edge.port, f"t{n}") as client:
                client.send(wire.subscribe(1, (f"$aws/{n}/+", 1), ("foreign", 1)))
                await client.expect(wire.suback(1, 1, 1))
                edge.say(f"$aws/{n}/x")
                await client.receive_publish()
                client.send(wire.publish("$aws/x", qos=1))
                await client.expect(wire.puback(1))
        front = edge.front
        await eventually(lambda: not front._connections and not front._by_client_id)
        assert front.dirty
        front.sweep(front.loop.time())
        assert (front.dirty, len(front.store), len(front.store.index)) == ([], 0, 0)


async def test_endpoint_can_disconnect_a_client() -> None:
    """But not by a Client of an earlier connection."""
    async with running_edge() as edge:
        async with Wire.connect(edge.port, "t1") as client:
            edge.front.disconnect(edge.endpoint.opened_[0])
            await client.expect_end()
        async with Wire.connect(edge.port, "t1") as client:
            edge.front.disconnect(edge.endpoint.opened_[0])
            await client.expect_silence()


async def test_failing_endpoint_closes_the_connection_and_is_reported() -> None:
    """Nothing is swallowed: the loop's exception handler gets it, and the next client is served."""

    class Failing(Recorder):
        def received(self, client: Client, *_: object, **more: object) -> None:
            raise ValueError("endpoint broke")

    reported: list[object] = []
    async with running_edge(Failing()) as edge:
        edge.front.loop.set_exception_handler(lambda _, context: reported.append(context.get("exception")))
        async with Wire.connect(edge.port, "t1") as client:
            client.send(wire.publish("$aws/x"))
            await client.expect_end()
        assert [str(error) for error in reported] == ["endpoint broke"]
        assert edge.front.stats.connections_closed == {CloseReason.FAULT: 1}
        async with Wire.connect(edge.port, "t2") as client:
            await client.expect_silence()


async def test_close_waits_until_amqtt_has_let_go() -> None:
    """After close(), nothing of a client is left to surprise the broker's shutdown."""
    async with (
        running_edge() as edge,
        Wire.connect(edge.port, "t1") as client,
        Wire.dial(edge.port) as silent,
    ):
        client.send(wire.subscribe(1, ("$aws/a", 1)))
        await client.expect(wire.suback(1, 1))
        edge.say("$aws/a", b"last words", flush=False)
        await edge.front.close()
        assert (await client.receive_publish()).payload == b"last words"
        await client.expect_end()
        await silent.expect_end()
        assert edge.front.stats.connections == 0
        assert edge.endpoint.closed_ == edge.endpoint.opened_
        assert [session.transitions.state for session in edge.context.sessions] == ["disconnected"]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", edge.port)


async def test_close_does_not_wait_for_a_client_that_does_not_read() -> None:
    """It gets close_seconds_max to take its last bytes."""
    async with running_edge(close_seconds_max=0.1) as edge, Wire.dial(edge.port, limit=1024) as slow:
        slow.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.send(wire.connect("slow"), wire.subscribe(1, ("$aws/n", 0)))
        await eventually(lambda: edge.front.stats.subscriptions == 1)
        (connection,) = edge.front._connections
        while connection._writable.is_set():
            edge.say("$aws/n", b"n" * 10_000)
        async with asyncio.timeout(5):
            await edge.front.close()
        assert edge.front.stats.connections == 0
        assert edge.endpoint.closed_ == edge.endpoint.opened_


async def test_topic_root_is_a_value() -> None:
    """Some brokers refuse `$` topics; with another root `$aws` means nothing to the front."""
    async with running_edge(topic_root="aws") as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.publish("aws/x", qos=1), wire.publish("awsome/x", qos=1, packet_id=2))
        assert {await client.receive(), await client.receive()} == {wire.puback(1), wire.puback(2)}
        assert [message.topic for message in edge.endpoint.received_] == ["aws/x"]
        with pytest.raises(ValueError, match="topic root 'a/b'; expected one level"):
            type(edge.front)(edge.broker, edge.context, edge.endpoint, topic_root="a/b")
