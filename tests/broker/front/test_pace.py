"""What a client may do, and how fast; the rest is left in its socket, and others do not pay for it."""

import asyncio

import pytest

from tests.broker.front import wire
from tests.broker.front.harness import Recorder, eventually, running_edge
from tests.broker.front.wire import Wire
from thingjobs_broker.front import Client, CloseReason
from thingjobs_broker.front.pace import Pace


def test_a_pace_grants_a_burst_and_then_the_rate() -> None:
    """Four a second, two at once."""
    pace = Pace(4, 2)
    granted = []
    for now in (100.0, 100.0, 100.0, 100.25, 100.25, 107.0, 107.0, 107.0):
        granted.append(pace.wait_seconds(now) == 0)
        if granted[-1]:
            pace.count(now)
    assert granted == [True, True, False, True, False, True, True, False]
    assert pace.wait_seconds(107.0) == pytest.approx(0.25)
    assert not pace.is_full(107.4)
    assert pace.is_full(107.5)


class Holding(Recorder):
    """Holds a client for each message on a topic that ends in `slow`."""

    seconds = 3600.0

    def received(self, client: Client, topic: str, *rest: object, **more: object) -> None:
        super().received(client, topic, *rest, **more)  # type: ignore[arg-type]
        if topic.endswith("slow") and self.front is not None:
            self.front.hold(client, self.seconds)


@pytest.mark.broker
@pytest.mark.asyncio
async def test_a_held_client_is_not_read_until_its_time_is_over() -> None:
    """Not even what came in the same piece; its acknowledgments and messages still go out; order is kept."""
    endpoint = Holding()
    async with running_edge(endpoint) as edge, Wire.connect(edge.port, "t1") as client:
        client.send(wire.subscribe(1, ("$aws/n", 0)))
        await client.expect(wire.suback(1, 0))
        topics = ["$aws/1", "$aws/slow", "$aws/3", "$aws/slow", "$aws/5"]
        client.send(b"".join(wire.publish(topic, qos=1, packet_id=n) for n, topic in enumerate(topics, 1)))
        await client.expect(wire.puback(1), wire.puback(2))
        edge.say("$aws/n", b"still heard")
        assert (await client.receive_publish()).payload == b"still heard"
        connection = edge.front._by_client_id["t1"]
        for heard, acknowledged in ((4, (3, 4)), (5, (5,))):
            client.send(wire.PINGREQ)
            await asyncio.sleep(0)
            assert [message.topic for message in endpoint.received_] == topics[: heard - len(acknowledged)]
            connection._let_go_on()
            await client.expect(*map(wire.puback, acknowledged))
        await client.expect(wire.PINGRESP, wire.PINGRESP)


@pytest.mark.broker
@pytest.mark.asyncio
async def test_a_held_client_is_let_go_by_itself_and_may_leave_meanwhile() -> None:
    """The hold ends after its time; neither it nor a client of an earlier connection is in anybody's way."""
    endpoint = Holding()
    endpoint.seconds = 0.01
    async with running_edge(endpoint) as edge:
        async with Wire.connect(edge.port, "t1") as client:
            client.send(wire.publish("$aws/slow"), wire.publish("$aws/slow"), wire.publish("$aws/x", qos=1))
            await client.expect(wire.puback(1))
            client.send(wire.publish("$aws/slow"))
        await eventually(lambda: edge.front.stats.connections == 0)
        async with Wire.connect(edge.port, "t1") as client:
            edge.front.hold(endpoint.opened_[0], 3600)
            await client.expect_silence()


@pytest.mark.broker
@pytest.mark.asyncio
async def test_amqtt_gets_no_more_of_one_client_than_its_rate() -> None:
    """It would queue without limit and be slow for all; acknowledgments are not counted."""
    async with (
        running_edge(foreign_frames_per_second_max=0.001, foreign_frames_burst_max=10) as edge,
        Wire.connect(edge.port, "t1") as client,
    ):
        client.send(wire.subscribe(1, ("echo", 1)))
        await client.expect(wire.suback(1, 1))
        client.send(*(wire.publish("echo", b"%d" % n) for n in range(20)))
        for n in range(9):
            message = await client.receive_publish()
            assert message.payload == b"%d" % n
            client.send(wire.puback(message.packet_id))
        connection = edge.front._by_client_id["t1"]
        assert connection._held
        async with Wire.connect(edge.port, "t2") as other:
            await other.expect_silence()


@pytest.mark.broker
@pytest.mark.asyncio
async def test_who_logs_in_too_often_has_to_wait() -> None:
    """By user name, whatever the client id; refused logins do not count, so nobody can lock out another."""
    async with running_edge(logins_per_second_max=0.001, logins_burst_max=2) as edge:
        for _ in range(5):
            async with Wire.dial(edge.port) as client:
                client.send(wire.connect("t", user="ada", password="wrong"))
                await client.expect_end()
        for number in range(2):
            async with Wire.connect(edge.port, f"t{number}", user="ada") as client:
                client.send(b"\xff\0")
                await client.expect_end()
        async with Wire.dial(edge.port) as waiting, Wire.connect(edge.port, "t9", user="bob") as other:
            waiting.send(wire.connect("t3", user="ada"))
            await other.expect_silence()
            assert len(edge.endpoint.opened_) == 3
            edge.front.sweep(edge.front.loop.time() + 60.1)
            await waiting.expect_end()
        assert edge.front.stats.connections_closed[CloseReason.CONNECT_TIMEOUT] == 1
        edge.front.sweep(edge.front.loop.time() + 2001)
        async with Wire.connect(edge.port, "t3", user="ada") as client:
            await client.expect_silence()
