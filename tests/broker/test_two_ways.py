"""The two connections of the sidecar, to a broker that is played byte by byte and to a Mosquitto."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.broker.beside import CONFIG, Mosquitto, base, peer, settings_for, sidecar
from tests.broker.front import wire
from tests.support import free_port
from thingjobs_broker import paho_link
from thingjobs_broker.data_packets import Received
from thingjobs_broker.host import StartError
from thingjobs_broker.paho_link import ConnectionLost
from thingjobs_broker.sidecar import Sidecar
from thingjobs_broker.transport import Access
from thingjobs_broker.two_ways import TwoWays

SECONDS_MAX = 10.0
REQUEST = "$aws/things/press-7/jobs/get"
REFUSED = b"\x20\2\0\3"
SESSION_PRESENT = b"\x20\2\1\0"


class Broker:
    """By client id, the other ends of the connections, and what is answered to their CONNECT."""

    def __init__(self, **greetings: bytes) -> None:
        self.readers: dict[str, asyncio.StreamReader] = {}
        self.writers: dict[str, asyncio.StreamWriter] = {}
        self.flags: dict[str, int] = {}
        self._greetings = greetings

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a CONNECT of MQTT 3.1.1."""
        length = (await reader.readexactly(2))[1]
        body = await reader.readexactly(length)
        name = body[12 : 12 + body[11]].decode()
        self.flags[name] = body[7]
        self.readers[name], self.writers[name] = reader, writer
        writer.write(self._greetings.get(name.partition("-")[2] or "first", wire.connack()))

    async def expect(self, name: str, sent: bytes) -> None:
        """What comes next over one of the connections."""
        assert await asyncio.wait_for(self.readers[name].readexactly(len(sent)), SECONDS_MAX) == sent

    async def is_left(self, name: str) -> bool:
        """Whether the client says goodbye, or only closes, with nothing before that."""
        return await asyncio.wait_for(self.readers[name].read(), SECONDS_MAX) in (b"", b"\xe0\0")


@asynccontextmanager
async def two_ways(
    **greetings: bytes,
) -> AsyncIterator[tuple[TwoWays, Broker, list[Received], list[tuple[int, int]]]]:
    """Not opened; closed at the end."""
    broker = Broker(**greetings)
    received: list[Received] = []
    confirmed: list[tuple[int, int]] = []
    async with await asyncio.start_server(broker.greet, "127.0.0.1", 0) as server:
        access = Access("127.0.0.1", server.sockets[0].getsockname()[1], "one", mqtt_5=False)
        ways = TwoWays(access, "$aws", received.append, lambda *puback: confirmed.append(puback))
        try:
            yield ways, broker, received, confirmed
        finally:
            await ways.close()
            for writer in broker.writers.values():
                writer.close()


async def until(is_so: Callable[[], object]) -> None:
    """Return when something has become true."""
    async with asyncio.timeout(SECONDS_MAX):
        while not is_so():
            await asyncio.sleep(0.001)


@pytest.mark.asyncio
async def test_answers_and_acknowledgments_go_different_ways() -> None:
    """A turn of Mosquitto reads one packet of each connection."""
    async with two_ways() as (ways, broker, _, confirmed):
        await ways.open()
        ways.link.publish(300, REQUEST, b"answer", None)
        ways.link.acknowledge(7)
        ways.link.flush()
        await broker.expect("one", b"\x40\2\0\7")
        await broker.expect("one-answers", wire.publish(REQUEST, b"answer", qos=1, packet_id=300))
        broker.writers["one-answers"].write(b"\x40\2\x01\x2c")
        await until(lambda: confirmed == [(300, 0)])
        await ways.close()
        assert await broker.is_left("one")
        assert await broker.is_left("one-answers")


@pytest.mark.asyncio
async def test_only_the_way_of_requests_keeps_a_session() -> None:
    """Nothing waits for the other, whose own session would only be found full of nothing."""
    async with two_ways(first=SESSION_PRESENT) as (ways, broker, _, _):
        assert (await ways.open()).session_present
        assert {name: flags & 2 for name, flags in broker.flags.items()} == {"one": 0, "one-answers": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize(("gone", "other", "tells"), [("one", "one-answers", 1), ("one-answers", "one", 0)])
async def test_both_end_with_either(gone: str, other: str, tells: int) -> None:
    """One without the other helps nobody. A rival takes over that of requests first."""
    async with two_ways() as (ways, broker, _, _):
        await ways.open()
        ways.link.resume()
        broker.writers[gone].close()
        loss = await asyncio.wait_for(ways.lost, SECONDS_MAX)
        assert (str(loss), ways.is_rivalry_possible) == ("the connection broke", bool(tells))
        await ways.close()
        assert await broker.is_left(other)


@pytest.mark.asyncio
async def test_a_second_connection_that_is_refused_is_told_apart() -> None:
    """A broker may allow a user one connection only; the first is let go then."""
    async with two_ways(answers=REFUSED) as (ways, broker, _, _):
        with pytest.raises(ConnectionLost, match="second connection, with the client id 'one-answers'"):
            await ways.open()
        assert not ways.lost.done()
        await ways.close()
        assert await broker.is_left("one")


@pytest.mark.asyncio
async def test_a_first_connection_that_is_refused_opens_no_second() -> None:
    """The reason is the broker's."""
    async with two_ways(first=REFUSED) as (ways, broker, _, _):
        with pytest.raises(ConnectionLost, match="the broker refuses the connection"):
            await ways.open()
        assert list(broker.readers) == ["one"]


@pytest.mark.asyncio
async def test_requests_wait_until_there_is_a_way_for_answers() -> None:
    """Those that a session has kept come at once; their answers could not leave, or would be dropped."""
    requests = wire.publish(REQUEST, b"1", qos=1) + wire.publish(REQUEST, b"2", qos=1)
    async with two_ways(first=SESSION_PRESENT + requests) as (ways, broker, received, _):
        await ways.open()
        broker.writers["one"].write(wire.publish(REQUEST, b"3", qos=1))
        await asyncio.sleep(0.05)
        assert received == []
        subscribing = asyncio.ensure_future(ways.subscribe())
        await until(lambda: len(received) == 3)
        subscribing.cancel()


@pytest.mark.asyncio
async def test_copies_of_requests_are_dropped_unread_and_only_where_they_are_copies() -> None:
    """What the other brings would be answered twice; what names no operation comes here alone (C49)."""
    async with two_ways() as (ways, broker, received, _):
        await ways.open()
        ways.link.resume()
        frob = REQUEST.replace("get", "J1/frob")
        broker.writers["one-answers"].write(wire.publish(REQUEST, b"copy") + wire.publish(frob, b"{}"))
        broker.writers["one"].write(wire.publish(REQUEST, b"request"))
        await until(lambda: len(received) == 2)
        assert {(one.topic, one.payload) for one in received} == {(frob, b"{}"), (REQUEST, b"request")}


@pytest.mark.asyncio
async def test_pausing_stops_reading_of_both() -> None:
    """Otherwise requests that name no operation would come without limit."""
    async with two_ways() as (ways, broker, received, _):
        await ways.open()
        ways.link.resume()
        await asyncio.sleep(0)
        ways.link.pause()
        for writer in broker.writers.values():
            writer.write(wire.publish(f"{REQUEST}/frob"))
            await writer.drain()
        await asyncio.sleep(0.05)
        assert received == []
        ways.link.resume()
        await until(lambda: len(received) == 2)


@pytest.mark.asyncio
async def test_what_is_dropped_on_one_way_rests_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """During a flood to wake up for each request costs the broker its core, whichever way the flood comes."""
    monkeypatch.setattr(paho_link, "REST_SECONDS", 0.2)
    frob = REQUEST.replace("get", "J1/frob")
    async with two_ways() as (ways, broker, received, _):
        await ways.open()
        ways.link.resume()
        broker.writers["one-answers"].write(wire.publish(frob))
        await until(lambda: received)
        ways.link.dropped()
        broker.writers["one"].write(wire.publish(REQUEST, b"1"))
        await until(lambda: len(received) == 2)
        broker.writers["one"].write(wire.publish(REQUEST, b"2"))
        begin = asyncio.get_running_loop().time()
        await until(lambda: len(received) == 3)
        assert asyncio.get_running_loop().time() - begin > 0.1


@pytest.mark.broker
@pytest.mark.asyncio
async def test_a_broker_that_gives_both_one_client_id_ends_the_service(tmp_path: Path) -> None:
    """The second would throw out the first, for ever."""
    both = CONFIG.replace("allow_anon", "use_username_as_clientid true\nallow_anon")
    broker = Mosquitto(tmp_path, free_port(), both).start()
    url = broker.url.replace("mqtt://", "mqtt://service@")
    with pytest.raises(StartError, match="use_username_as_clientid"):
        await asyncio.wait_for(Sidecar(settings_for(url, tmp_path / "data")).run(), 30)
    broker.stop()


@pytest.mark.broker
@pytest.mark.asyncio
async def test_prefixes_of_client_ids_let_both_in(tmp_path: Path) -> None:
    """The second begins like the first."""
    broker = Mosquitto(tmp_path, free_port(), f"clientid_prefixes thingjobs-service\n{CONFIG}").start()
    async with (
        sidecar(broker.url, tmp_path / "data"),
        peer(broker.port, f"{base('press-7')}/+/+", identifier="thingjobs-service2") as device,
    ):
        assert (await device.ask(REQUEST))[0] == "accepted"
    broker.stop()
