"""How a socket is read in turns: by virtual clocks, below whatever its bytes mean."""

import asyncio
from typing import cast

import pytest

from tests.broker.http.test_turnstile import Bench
from thingjobs_broker.http.paced_socket import READ_BYTES_MAX, PacedSocket
from thingjobs_broker.http.turnstile import PAUSE_RATIO, QUIET_SECONDS, TURN_SECONDS


class Transport(asyncio.Transport):
    """A socket's transport that is told what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = True
        self.is_ended = False

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return self.is_ended

    def abort(self) -> None:
        self.is_ended = True


class Above(asyncio.Protocol):
    """What is above: it costs something, and keeps what arrives."""

    def __init__(self, bench: Bench, cost_seconds: float = 0.0) -> None:
        self.arrived = b""
        self.is_lost = False
        self._bench = bench
        self._cost_seconds = cost_seconds

    def data_received(self, data: bytes) -> None:
        self._bench.spend(self._cost_seconds)
        self.arrived += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


class BufferedAbove(asyncio.BufferedProtocol):
    """As TLS is: it has a buffer of its own."""

    def __init__(self) -> None:
        self.buffer = bytearray(4 * READ_BYTES_MAX)
        self.count = 0

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.count += nbytes


class Pair:
    """A paced socket between a transport and what is above; `lost` holds the sockets that have told."""

    def __init__(self, above: asyncio.BaseProtocol | None = None, cost_seconds: float = 0.0) -> None:
        self.bench = Bench()
        self.lost: list[PacedSocket] = []
        self.above = above or Above(self.bench, cost_seconds)
        self.transport = Transport()
        self.paced = PacedSocket(self.bench.turnstile, "192.0.2.1", self.lost.append)
        self.paced.connection_made(self.transport)
        assert not self.transport.is_read, "nobody is above yet"
        assert cast("object", self.paced.carry(self.above)) is self.paced

    def arrive(self, data: bytes, cost_seconds: float = 0.0) -> None:
        """The loop reads so much, which costs something."""
        buffer = self.paced.get_buffer(-1)
        buffer[: len(data)] = data
        self.bench.spend(cost_seconds)
        self.paced.buffer_updated(len(data))


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_while_devices_are_silent_a_socket_is_read_on() -> None:
    """No turn of the loop is lost."""
    pair = Pair(cost_seconds=1.0)
    pair.arrive(b"x")
    assert pair.transport.is_read
    assert cast("Above", pair.above).arrived == b"x"


@pytest.mark.asyncio
async def test_while_devices_ask_a_socket_waits_for_its_turn() -> None:
    """It pays for the read and for what is made of it; others may have been before it in line."""
    pair = Pair(cost_seconds=0.002)
    pair.bench.asked += 1
    pair.arrive(b"x", cost_seconds=0.001)
    assert not pair.transport.is_read
    paid_seconds = 0.003 + TURN_SECONDS
    assert pair.bench.turnstile.delay_seconds() == pytest.approx(PAUSE_RATIO * paid_seconds)
    pair.bench.asked += 1
    await asyncio.sleep(2 * QUIET_SECONDS)
    assert not pair.transport.is_read
    pair.bench.now += PAUSE_RATIO * paid_seconds
    while not pair.transport.is_read:
        await asyncio.sleep(QUIET_SECONDS)


@pytest.mark.asyncio
async def test_what_is_above_may_pause_and_resume_meanwhile() -> None:
    """Reading goes on when both want it to."""
    pair = Pair()
    pair.bench.asked += 1
    pair.arrive(b"x", cost_seconds=1.0)
    pair.paced.pause_reading()
    pair.paced.resume_reading()
    assert not pair.transport.is_read, "it is not our turn"
    pair.paced.pause_reading()
    pair.bench.now += QUIET_SECONDS
    await asyncio.sleep(2 * QUIET_SECONDS)
    assert not pair.transport.is_read, "it is not wanted above"
    pair.paced.resume_reading()
    assert pair.transport.is_read


@pytest.mark.asyncio
async def test_who_does_not_need_a_turn_leaves_it_to_the_next() -> None:
    """A socket that was closed while it waited."""
    first, second = Pair(), Pair()
    second.paced._turnstile = first.paced._turnstile
    first.bench.asked += 1
    first.arrive(b"x", cost_seconds=1.0)
    second.arrive(b"x")
    first.paced.abort()
    first.bench.now += QUIET_SECONDS
    await asyncio.sleep(2 * QUIET_SECONDS)
    assert second.transport.is_read
    assert not first.transport.is_read


def test_an_end_before_the_begin_is_kept() -> None:
    """A connection may have to make room before its transport is there; then nobody is above."""
    bench = Bench()
    lost: list[PacedSocket] = []
    paced, transport = PacedSocket(bench.turnstile, "192.0.2.1", lost.append), Transport()
    paced.abort()
    paced.connection_made(transport)
    assert transport.is_ended
    paced.connection_lost(None)
    assert lost == [paced]


def test_the_end_is_told_above_and_to_the_server() -> None:
    """Both forget it."""
    pair = Pair()
    pair.paced.connection_lost(None)
    assert pair.lost == [pair.paced]
    assert cast("Above", pair.above).is_lost


def test_tls_gets_the_bytes_into_its_own_buffer() -> None:
    """At most so many at once, whatever it could take."""
    above = BufferedAbove()
    pair = Pair(above)
    assert len(pair.paced.get_buffer(-1)) == READ_BYTES_MAX
    pair.arrive(b"\x16bc")
    assert above.buffer[: above.count] == b"\x16bc"
