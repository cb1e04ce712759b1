"""amqtt behind the front: reader and writer of a connection as amqtt wants them, and the shared packet ids.

Everything the front relies on in amqtt beyond its documented external listener is in this file.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Protocol

import amqtt
from amqtt.adapters import BufferReader, ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.errors import AMQTTError
from amqtt.mqtt.connect import ConnectPacket
from amqtt.session import OutgoingApplicationMessage, Session

from thingjobs_broker.front.frames import PINGREQ, PUBLISH, SUBSCRIBE, UNSUBSCRIBE
from thingjobs_broker.front.pace import Pace

AMQTT_VERSIONS_TESTED: Final = ("0.12.1",)


def untested_amqtt_version() -> str | None:
    """The version of amqtt in use if the front was not tested with it, else None."""
    version: str = amqtt.__version__
    return None if version in AMQTT_VERSIONS_TESTED else version


# Packets that make work by themselves; acknowledgments only end what amqtt has begun.
_ASKING: Final = {PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PINGREQ}


class NoFreePacketId(Exception):
    """All 65,535 packet ids of a client are in flight."""


def _ignore(*_: object) -> None:
    """Stand in for a connection that is over."""


class BridgeReader(ReaderAdapter):  # type: ignore[misc]  # amqtt ships no types
    """What amqtt reads: whole frames, as the front lets them through.

    amqtt queues whatever it gets and takes its time, so each client's frames come at a bounded rate.
    """

    def __init__(
        self,
        full_bytes: int,
        on_space: Callable[[], None],
        *,
        pace: Pace,
        hold: Callable[[float], None],
    ) -> None:
        self._pace = pace
        self._hold = hold
        self._buffer = bytearray()
        self._full_bytes = full_bytes
        self._on_space = on_space
        self._eof = False
        self._needed = 0
        self._waiter: asyncio.Future[None] | None = None
        self.full = False

    def feed(self, frame: bytes) -> None:
        """Append a frame; a client that asks for too much is held."""
        if frame[0] >> 4 in _ASKING:
            now = asyncio.get_running_loop().time()
            self._pace.count(now)
            if seconds := self._pace.wait_seconds(now):
                self._hold(seconds)
        self._buffer += frame
        if len(self._buffer) > self._full_bytes:
            self.full = True
        if len(self._buffer) >= self._needed:
            self._wake()

    def feed_eof(self) -> None:
        """Nothing follows; a read that still waits gets what there is."""
        self._eof = True
        self._wake()

    def detach(self) -> None:
        """The connection is over."""
        self._on_space = self._hold = _ignore

    async def read(self, n: int = -1) -> bytes:
        """Exactly `n` bytes, or all until the end with -1; fewer only at the end. Safe to cancel."""
        while not self._eof and (n < 0 or len(self._buffer) < n):
            self._needed = n if n > 0 else 1
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = bytes(self._buffer if n < 0 else self._buffer[:n])
        del self._buffer[: len(data)]
        if self.full and len(self._buffer) <= self._full_bytes // 2:
            self.full = False
            self._on_space()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Outlet(Protocol):
    """The connection, as its writer sees it."""

    peer: tuple[str, int]
    ssl_object: ssl.SSLObject | None

    def amqtt_wrote(self, frame: bytes) -> None:
        """Amqtt 0.12.1 writes each packet with one call."""

    async def drained(self) -> None:
        """Return when the write buffer is below its high-water mark."""

    def close_gently(self) -> None:
        """Close after what was written is sent."""


class _Gone:
    """Stands in for a connection that is over."""

    peer = ("unknown", 0)
    ssl_object: ssl.SSLObject | None = None

    def amqtt_wrote(self, frame: bytes) -> None:
        """Lose it."""

    async def drained(self) -> None:
        """Nothing is waited for."""

    def close_gently(self) -> None:
        """It is closed."""


class BridgeWriter(WriterAdapter):  # type: ignore[misc]  # amqtt ships no types
    """What amqtt writes to."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    def write(self, data: bytes) -> None:
        """Hand a packet to the connection."""
        self._outlet.amqtt_wrote(bytes(data))

    async def drain(self) -> None:
        """Wait for a slow reader."""
        await self._outlet.drained()

    def get_peer_info(self) -> tuple[str, int]:
        """Address and port of the client."""
        return self._outlet.peer

    def get_ssl_info(self) -> ssl.SSLObject | None:
        """The TLS object, for plugins that look at certificates."""
        return self._outlet.ssl_object

    async def close(self) -> None:
        """Close the connection."""
        self._outlet.close_gently()

    def detach(self) -> None:
        """The connection is over."""
        self._outlet = _Gone()


_admitted: Final[ContextVar[tuple[dict[str, Any], dict[str, Any]] | None]] = ContextVar(
    "admitted", default=None
)
"""Of the connection that the current task serves, once it is let in: what the auth plugins have changed in
its session, and the session's `attributes`."""


class Admission:
    """Asks amqtt's auth plugins about a client before amqtt itself hears of it, and only once.

    amqtt asks them after it has deleted or taken over the session of that client id, and at a take-over
    after it has ended the connection: whoever knows a client id could end a device's, with any password.
    """

    def __init__(self, broker: Broker) -> None:
        self._ask = broker._authenticate  # noqa: SLF001
        broker._authenticate = self._recall  # noqa: SLF001

    async def lets_in(self, connect_frame: bytes, writer: BridgeWriter) -> bool:
        """Whether the client of a well-formed CONNECT may come in; to be asked in the task that serves it."""
        session = await _session_of(connect_frame, writer)
        before = dict(vars(session))
        if not await self._ask(session, None):
            return False
        changed = {name: value for name, value in vars(session).items() if value is not before.get(name)}
        _admitted.set((changed, session.attributes))
        return True

    async def _recall(self, session: Session, listener: Any) -> bool:
        """Stand in for amqtt's own question; the clients of its own listeners are asked about as ever."""
        admitted = _admitted.get()
        if admitted is None:
            answer: bool = await self._ask(session, listener)
            return answer
        changed, attributes = admitted
        vars(session).update(changed)
        session.attributes.update(attributes)
        return True


async def _session_of(connect_frame: bytes, writer: BridgeWriter) -> Session:
    """The session that amqtt would ask its plugins about."""
    connect = await ConnectPacket.from_stream(BufferReader(connect_frame))
    session = Session()
    session.client_id = connect.client_id
    session.clean_session = connect.clean_session_flag
    session.username = connect.username
    session.password = connect.password
    session.keep_alive = connect.keep_alive
    session.remote_address, session.remote_port = writer.get_peer_info()
    session.ssl_object = writer.get_ssl_info()
    return session


def _inert_message() -> Any:
    """A message that amqtt, resuming a session, neither sends nor fails on.

    `_retry_deliveries` starts the flow of everything in `inflight_out`; with QoS 0 and a direction that is
    neither in nor out that flow ends at once.
    """
    message = OutgoingApplicationMessage(None, "", 0, b"", retain=False)
    message.direction = -1
    return message


_HELD: Final = _inert_message()


class PacketIds:
    """The packet ids of one client: what the front uses is not taken by amqtt, nor the reverse (2.3.1)."""

    __slots__ = ("_in_flight", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._in_flight = session.inflight_out

    def take(self) -> int:
        """A free id, held until it is given back.

        Raises:
            NoFreePacketId: there is none.
        """
        try:
            packet_id: int = self._session.next_packet_id
        except AMQTTError:
            raise NoFreePacketId from None
        self._in_flight[packet_id] = _HELD
        return packet_id

    def hold(self, packet_id: int) -> None:
        """Hold an id that is still in flight from an earlier connection."""
        self._in_flight[packet_id] = _HELD

    def give_back(self, packet_id: int) -> None:
        """Let go of an id; one that amqtt holds is left alone."""
        if self._in_flight.get(packet_id) is _HELD:
            del self._in_flight[packet_id]

    def is_receiving(self, packet_id: int) -> bool:
        """Whether amqtt waits for the PUBREL of a QoS 2 message with this id."""
        return packet_id in self._session.inflight_in


def end_session(broker: Broker, client_id: str, writer: BridgeWriter) -> None:
    """Tell amqtt's session that the connection it had through a writer is over.

    It is not told so after a publish to a `$` topic, and would stay a connected one for ever. A session that
    another listener has taken over is left alone.
    """
    session, handler = broker.sessions.get(client_id, (None, None))
    if session is not None and handler.writer is writer and session.transitions.state == "connected":
        session.transitions.disconnect()


async def forget_session(broker: Broker, client_id: str) -> None:
    """Delete what amqtt has kept of a client."""
    await broker._delete_session(client_id)  # noqa: SLF001  # Unasked, amqtt does it within a second.


def set_clean(broker: Broker, client_id: str, *, clean: bool) -> None:
    """Tell amqtt whether to forget a session once its client is gone."""
    session, _ = broker.sessions.get(client_id, (None, None))
    if session is not None:
        session.clean_session = clean


def granted_qos(broker: Broker, client_id: str, topic: str) -> int | None:
    """With what QoS amqtt would send a client a message on a topic; None: it is not subscribed."""
    granted = [
        qos
        for topic_filter, subscribers in broker.subscriptions.items()
        for session, qos in subscribers
        if session.client_id == client_id and broker._matches(topic, topic_filter)  # noqa: SLF001
    ]
    return max(granted, default=None)
