"""A second connection with the same client id: the first one ends before amqtt hears of the second."""

import asyncio
from collections.abc import Callable

import pytest
from amqtt.session import Session

from tests.broker.front import wire, wire5
from tests.broker.front.harness import eventually, running_edge
from tests.broker.front.wire import Wire
from thingjobs_broker.front import CloseReason, packets, packets5

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


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("connect", [wire.connect, wire5.connect], ids=["3.1.1", "5"])
async def test_a_wrong_password_does_nothing_to_the_client_of_that_id(
    clean: bool, connect: Callable[..., bytes]
) -> None:
    """[MQTT-3.1.4-2]: who is refused ends no connection and takes no subscription, session or message."""
    async with running_edge() as edge, Wire.connect(edge.port, "t1", clean=False, user="u") as victim:
        victim.send(wire.subscribe(1, ("$aws/a", 1), ("foreign", 0)))
        await victim.expect(wire.suback(1, 1, 0))
        for _ in range(3):
            async with Wire.dial(edge.port) as stranger:
                stranger.send(connect("t1", clean=clean, user="x", password="wrong"))
                assert (await stranger.receive())[3] in {packets.NOT_AUTHORIZED, packets5.NOT_AUTHORIZED}
                await stranger.expect_end()
        assert edge.say("$aws/a", b"x") == 1
        assert (await victim.receive_publish()).payload == b"x"
        victim.send(wire.puback(1))
        await edge.context.broadcast_message("foreign", b"y")
        assert (await victim.receive_publish()).payload == b"y"
        assert edge.context.get_session("t1").username == "u"
        assert edge.front.stats.connections_closed == {CloseReason.REFUSED: 3}


async def test_a_wrong_password_takes_nothing_from_an_absent_client() -> None:
    """Its filters and what waits for it are there when it comes back."""
    async with running_edge() as edge:
        async with Wire.connect(edge.port, "t1", clean=False) as victim:
            victim.send(wire.subscribe(1, ("$aws/a", 1)))
            await victim.expect(wire.suback(1, 1))
        await eventually(lambda: edge.front.stats.clients == 0)
        for clean in (True, False):
            async with Wire.dial(edge.port) as stranger:
                stranger.send(wire.connect("t1", clean=clean, user="u", password="wrong"))
                await stranger.expect(wire.connack(packets.NOT_AUTHORIZED))
        assert edge.say("$aws/a", b"kept") == 1
        async with Wire.connect(edge.port, "t1", clean=False, present=True) as victim:
            assert (await victim.receive_publish()).payload == b"kept"


async def test_a_client_stays_while_a_newcomer_is_asked_for_its_password() -> None:
    """Only who was let in takes over, however long the auth plugin takes."""
    door = asyncio.Event()

    async def think(session: Session) -> bool:
        await door.wait()
        return bool(session.password == "right")

    async with running_edge() as edge, Wire.connect(edge.port, "t1") as old:
        edge.broker.plugins_manager.get_plugin("Doorkeeper").answer = think
        async with Wire.dial(edge.port) as wrong, Wire.dial(edge.port) as new:
            wrong.send(wire.connect("t1", user="u", password="x"))
            new.send(wire.connect("t1", password="right", user=""))
            await eventually(lambda: len(edge.front._connections) == 3)
            await old.expect_silence()
            door.set()
            await wrong.expect(wire.connack(packets.NOT_AUTHORIZED))
            await new.expect(wire.connack())
            await old.expect_end()
            await new.expect_silence()


async def test_another_user_does_not_take_over_a_connected_client() -> None:
    """A device that names the client id of another is refused as long as that one is connected."""
    async with running_edge() as edge:
        async with Wire.connect(edge.port, "t1", user="alice") as alice, Wire.dial(edge.port) as mallory:
            mallory.send(wire.connect("t1", user="mallory"))
            await mallory.expect(wire.connack(packets.IDENTIFIER_REJECTED))
            await mallory.expect_end()
            await alice.expect_silence()
            async with Wire.connect(edge.port, "t1", user="alice?SDK=Python") as again:
                await alice.expect_end()
                await again.expect_silence()
        await eventually(lambda: edge.front.stats.clients == 0)
        async with Wire.connect(edge.port, "t1", user="mallory") as mallory:
            await mallory.expect_silence()


async def test_plugins_are_asked_once_and_what_they_note_is_kept() -> None:
    """A one-time password would be worthless the second time; topic plugins read what was noted."""
    asked: list[str] = []

    async def note(session: Session) -> bool:
        asked.append(session.username)
        session.username, session.is_anonymous = f"{session.username}-{len(asked)}", True
        session.attributes["role"] = session.username
        return True

    async with running_edge() as edge:
        edge.broker.plugins_manager.get_plugin("Doorkeeper").answer = note
        for name in ("u-1", "u-2"):
            present = name == "u-2"
            async with Wire.connect(edge.port, "t1", user="u", clean=False, present=present) as client:
                await client.expect_silence()
                session = edge.context.get_session("t1")
                assert (session.username, session.is_anonymous) == (name, True)
                assert session.attributes == {"role": name}
            await eventually(lambda: edge.front.stats.clients == 0)
        assert asked == ["u", "u"]


async def test_close_does_not_leave_a_client_behind_that_is_being_asked() -> None:
    """Not let in yet, it is no client id's connection; it is waited for, and ended, all the same."""

    async def think_for_ever(_session: Session) -> bool:
        await asyncio.Event().wait()
        return True

    async with running_edge(close_seconds_max=0.05) as edge, Wire.dial(edge.port) as client:
        edge.broker.plugins_manager.get_plugin("Doorkeeper").answer = think_for_ever
        client.send(wire.connect("t1"))
        await eventually(lambda: [c for c in edge.front._connections if c.task is not None])
        task = next(iter(edge.front._connections)).task
        assert task is not None
        await edge.front.close()
        await client.expect_end()
        assert task.done()


async def test_a_client_is_not_sent_away_for_our_own_slowness() -> None:
    """After its CONNECT it is we who are slow; a login that never ends is ended after a minute."""

    async def think_for_ever(_session: Session) -> bool:
        await asyncio.Event().wait()
        return True

    async with running_edge(close_seconds_max=0.05) as edge, Wire.dial(edge.port) as client:
        edge.broker.plugins_manager.get_plugin("Doorkeeper").answer = think_for_ever
        client.send(wire.connect("t1"))
        await eventually(lambda: [c for c in edge.front._connections if c.task is not None])
        now = edge.front.loop.time()
        edge.front.sweep(now + 59)
        assert edge.front.stats.connections_closed == {}
        edge.front.sweep(now + 61)
        await client.expect_end()
        assert edge.front.stats.connections_closed == {CloseReason.CONNECT_TIMEOUT: 1}
