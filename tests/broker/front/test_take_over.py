"""A second connection with the same client id: the first one ends before amqtt hears of the second."""

import asyncio

import pytest

from tests.broker.front import wire
from tests.broker.front.harness import eventually, running_edge
from tests.broker.front.wire import Wire
from thingjobs_broker.front import CloseReason

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]


@pytest.mark.parametrize("clean", [True, False])
async def test_take_over_closes_the_old_connection_first(clean: bool) -> None:
    """[MQTT-3.1.4-2]; the old one is gone for amqtt too, so its end is not taken for that of the new one."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1", clean=clean) as old:
        old.send(wire.subscribe(1, ("$aws/a", 1), ("foreign", 0)))
        await old.expect(wire.suback(1, 1, 0))
        async with Wire.connect(edge.port, "t1", clean=clean, present=not clean) as new:
            await old.expect_end()
            first, second = edge.endpoint.opened_
            assert edge.endpoint.closed_ == [first]
            assert edge.front.stats.connections_closed == {CloseReason.TAKEN_OVER: 1}
            assert edge.say("$aws/a", b"x") == (0 if clean else 1)
            await edge.context.broadcast_message("foreign", b"y")
            if not clean:
                assert {(await new.receive_publish()).payload for _ in range(2)} == {b"x", b"y"}
            await new.expect_silence()
        await eventually(lambda: edge.endpoint.closed_ == [first, second])


async def test_many_connects_with_one_client_id_leave_exactly_one() -> None:
    """Each waits for the one before it, however quickly they come."""
    async with running_edge() as edge:
        wires = [Wire(*await asyncio.open_connection("127.0.0.1", edge.port)) for _ in range(20)]
        for client in wires:
            client.send(wire.connect("t1", clean=False))
        await eventually(lambda: edge.front.stats.connections == 1 and edge.front.stats.clients == 1)
        (survivor,) = edge.front._connections
        for client in wires:
            if client.writer.get_extra_info("sockname")[1] == survivor.peer[1]:
                await client.receive()
                await client.expect_silence()
            else:
                await client.expect_end()
        assert len(edge.endpoint.opened_) == len(edge.endpoint.closed_) + 1
        for client in wires:
            await client.hang_up()


async def test_refused_take_over_leaves_the_stored_session_alone() -> None:
    """Who does not know the password can disconnect a client, but not take its subscriptions and messages."""
    async with running_edge() as edge:
        async with Wire.connect(edge.port, "t1", clean=False) as victim:
            victim.send(wire.subscribe(1, ("$aws/a", 1)))
            await victim.expect(wire.suback(1, 1))
            async with Wire.dial(edge.port) as stranger:
                stranger.send(wire.connect("t1", clean=False, user="u", password="wrong"))
                await stranger.expect(wire.connack(5))
            await victim.expect_end()
        assert edge.say("$aws/a", b"kept") == 1
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as victim:
            assert (await victim.receive_publish()).payload == b"kept"
