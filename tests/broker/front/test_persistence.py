"""What a client with clean session off finds again: subscriptions, messages in flight, messages waiting."""

import pytest

from tests.broker.front import wire
from tests.broker.front.harness import Edge, eventually, running_edge
from tests.broker.front.wire import Wire
from thingjobs_broker.front import CloseReason

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]


async def subscribed(edge: Edge, client_id: str, *wanted: tuple[str, int], user: str | None = None) -> None:
    """A client connects with clean session off, subscribes and goes."""
    async with Wire.connect(edge.port, client_id, clean=False, user=user) as client:
        client.send(wire.subscribe(1, *wanted))
        await client.expect(wire.suback(1, *(qos for _, qos in wanted)))
    await eventually(lambda: edge.front.stats.connections == 0)


async def test_messages_in_flight_come_again_then_those_that_waited() -> None:
    """[MQTT-4.4.0-1]: in order, with their packet ids and DUP; acknowledged ones do not come again."""
    async with running_edge() as edge:
        async with Wire.connect(edge.port, "t1", clean=False) as client:
            client.send(wire.subscribe(1, ("$aws/n", 1)))
            await client.expect(wire.suback(1, 1))
            for n in range(4):
                edge.say("$aws/n", b"%d" % n)
            sent = [await client.receive_publish() for _ in range(4)]
            client.send(wire.puback(sent[1].packet_id))
            await client.expect_silence()
        await eventually(lambda: edge.front.stats.connections == 0)
        assert [edge.say("$aws/n", payload) for payload in (b"4", b"5")] == [1, 1]
        for _ in range(2):  # Unacknowledged ones come with every reconnect.
            async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
                again = [await client.receive_publish() for _ in range(5)]
                assert [message.payload for message in again] == [b"0", b"2", b"3", b"4", b"5"]
                assert again[:3] == [sent[n]._replace(dup=True) for n in (0, 2, 3)]
                assert len({message.packet_id for message in again}) == 5
            await eventually(lambda: edge.front.stats.connections == 0)
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
            for _ in range(5):
                client.send(wire.puback((await client.receive_publish()).packet_id))
            await client.expect_silence()
            # Nothing of ours is left in amqtt's session, and amqtt sent none of it itself.
            assert edge.context.get_session("t1").inflight_out_count == 0


async def test_held_packet_ids_are_not_redelivered_by_amqtt() -> None:
    """On a reconnect amqtt sends again what its session has in flight; ours must pass it by in silence."""
    async with running_edge() as edge:
        failures: list[object] = []
        edge.front.loop.set_exception_handler(lambda _, context: failures.append(context))
        await subscribed(edge, "t1", ("$aws/n", 1), ("foreign", 1))
        edge.say("$aws/n", b"ours")
        for n in range(2):
            async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
                message = await client.receive_publish()
                assert (message.payload, message.dup) == (b"ours", n == 1)
                assert edge.context.get_session("t1").inflight_out_count == 1
                await edge.context.broadcast_message("foreign", b"theirs")
                theirs = await client.receive_publish()
                assert (theirs.payload, theirs.packet_id != message.packet_id) == (b"theirs", True)
                client.send(wire.puback(theirs.packet_id))
                await client.expect_silence()
            await eventually(lambda: edge.front.stats.connections == 0)
            await eventually(lambda: edge.context.get_session("t1").inflight_out_count == 0)
        assert failures == []


async def test_queue_of_an_absent_client_is_bounded() -> None:
    """The oldest message makes room and is counted; QoS 0 is not kept."""
    async with running_edge(messages_queued_max=3) as edge:
        await subscribed(edge, "t1", ("$aws/n", 1), ("$aws/q0", 0))
        for n in range(5):
            assert edge.say("$aws/n", b"%d" % n) == 1
            assert edge.say("$aws/q0") == 0
        assert edge.front.stats.messages_dropped == 2
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
            assert [(await client.receive_publish()).payload for _ in range(3)] == [b"2", b"3", b"4"]
            await client.expect_silence()


async def test_clean_session_forgets_everything() -> None:
    """[MQTT-3.1.2-6]; before, and after."""
    async with running_edge() as edge:
        await subscribed(edge, "t1", ("$aws/n", 1))
        async with Wire.connect(edge.port, "t1", clean=True):
            assert edge.say("$aws/n") == 0
        await eventually(lambda: edge.front.stats.sessions == 0)
        async with Wire.connect(edge.port, "t1", clean=False) as client:
            assert edge.front.stats.subscriptions == 0
            await client.expect_silence()


async def test_session_that_amqtt_lost_is_dropped() -> None:
    """CONNACK says session present for both or for none, so that the client subscribes again."""
    async with running_edge() as edge:
        await subscribed(edge, "t1", ("$aws/n", 1))
        del edge.broker.sessions["t1"]
        async with Wire.connect(edge.port, "t1", clean=False, present=False):
            assert edge.front.stats.subscriptions == 0


async def test_session_that_expired_is_not_said_to_be_present() -> None:
    """After seven days; amqtt, which keeps its part for ever, would have said so."""
    async with running_edge() as edge:
        await subscribed(edge, "t1", ("$aws/n", 1))
        now = edge.front.loop.time()
        edge.front.sweep(now + 7 * 24 * 3600 - 1)
        assert edge.say("$aws/n") == 1
        edge.front.sweep(now + 7 * 24 * 3600 + 1)
        assert (edge.say("$aws/n"), edge.front.stats.sessions) == (0, 0)
        async with Wire.connect(edge.port, "t1", clean=False, present=False) as client:
            await client.expect_silence()


async def test_another_user_does_not_inherit_the_session() -> None:
    """Neither filters nor waiting messages of one user go to another who knows the client id."""
    async with running_edge() as edge:
        await subscribed(edge, "t1", ("$aws/n", 1), user="alice")
        edge.say("$aws/n", b"for alice")
        async with Wire.connect(edge.port, "t1", clean=False, present=False, user="bob") as client:
            await client.expect_silence()
            assert edge.say("$aws/n") == 0


async def test_session_of_a_dropped_slow_client_survives() -> None:
    """Dropping a connection loses nothing that was promised."""
    async with running_edge(messages_unacknowledged_max=2) as edge:
        async with Wire.connect(edge.port, "t1", clean=False) as client:
            client.send(wire.subscribe(1, ("$aws/n", 1)))
            await client.expect(wire.suback(1, 1))
            for n in range(4):
                assert edge.say("$aws/n", b"%d" % n) == 1
            await client.expect_end()
        assert edge.front.stats.connections_closed == {CloseReason.UNACKNOWLEDGED: 1}
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as client:
            # As much is in flight as before: more must wait, and not drop the client before it can answer.
            assert edge.say("$aws/n", b"4") == 1
            for n in range(5):
                message = await client.receive_publish()
                assert message.payload == b"%d" % n
                client.send(wire.puback(message.packet_id))
            await client.expect_silence()
