"""The front: listens in amqtt's place, holds what all connections share, delivers the endpoint's messages."""

import asyncio
import secrets
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from amqtt.broker import Broker, BrokerContext

from thingjobs_broker.front import packets
from thingjobs_broker.front.bridge import (
    AMQTT_VERSIONS_TESTED,
    Admission,
    BridgeReader,
    BridgeWriter,
    PacketIds,
    end_session,
    forget_session,
    granted_qos,
    set_clean,
    untested_amqtt_version,
)
from thingjobs_broker.front.connection import Connection
from thingjobs_broker.front.endpoint import Client, Endpoint, ReplyTo
from thingjobs_broker.front.exchange import Exchange
from thingjobs_broker.front.flow import Flow
from thingjobs_broker.front.limits import CloseReason, FrontLimits, FrontStats
from thingjobs_broker.front.pace import Pace
from thingjobs_broker.front.session import Message, SessionStore
from thingjobs_broker.front.session_states import use_plain_states
from thingjobs_broker.front.sockets import Later, ServerTls

log: Final = structlog.get_logger(__name__)

_BACKLOG: Final = 1024
_RECEIVE_BYTES: Final = 256 * 1024


class Front:
    """Everything under the topic root is the endpoint's, everything else amqtt's.

    The broker needs a listener of type `external` under `listener_name`; `listen` when it has started, and
    `close` before it shuts down. Make it on the event loop that it is to run on.

    A client that subscribes to `#` gets nothing from under the root, whatever the root is called. A will
    under the root is no message for the endpoint: it is lost.
    """

    def __init__(
        self,
        broker: Broker,
        context: BrokerContext,
        endpoint: Endpoint,
        limits: FrontLimits | None = None,
        *,
        topic_root: str = "$aws",
        listener_name: str = "default",
    ) -> None:
        if not topic_root or any(character in topic_root for character in "/+#\0"):
            raise ValueError(f"topic root {topic_root!r}; expected one level of a topic, like $aws")
        self.endpoint = endpoint
        self.limits = limits or FrontLimits()
        self.topic_root = topic_root
        self.loop = asyncio.get_running_loop()
        self.store = SessionStore(self.limits)
        self.receive_buffer = memoryview(bytearray(_RECEIVE_BYTES))
        # Connections with something to write, for flush().
        self.dirty: list[Flow] = []
        self._broker = broker
        use_plain_states()
        self._admission = Admission(broker)
        self._context = context
        self._listener_name = listener_name
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._by_client_id: dict[str, Connection] = {}
        # How often who has logged in; only those who have done so lately.
        self._logins: dict[str, Pace] = {}
        self._clients = 0
        self._closing = False
        self._closed: Counter[CloseReason] = Counter()
        self._sweeper: asyncio.TimerHandle | None = None
        if (version := untested_amqtt_version()) is not None:
            log.warning(
                "this amqtt was never tested with thingjobs",
                action="front_amqtt_version",
                version=version,
                tested=AMQTT_VERSIONS_TESTED,
            )

    async def listen(
        self, host: str, port: int, ssl_context: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Accept clients at an address (port 0: any free one), too; the address that was bound.

        Raises:
            OSError: the address cannot be bound.
        """

        def accept() -> asyncio.BaseProtocol:
            # TLS counts towards the time a client has to get in.
            connect = partial(Connection, self, accepted_at=self.loop.time())
            if ssl_context is None:
                return connect()
            seconds_max = self.limits.connect_seconds_max
            return ServerTls(Later(connect), ssl_context, handshake_seconds=seconds_max)

        # asyncio sets TCP_NODELAY by itself.
        server = await self.loop.create_server(accept, host, port, backlog=_BACKLOG)
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self.limits.sweep_seconds, self._sweep_again)
        bound: tuple[str, int] = server.sockets[0].getsockname()[:2]
        return bound

    async def close(self) -> None:
        """Stop listening, write what is unwritten, close the connections, wait for amqtt to let them go."""
        self._closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for server in self._servers:
            server.close()
        self.flush()
        # Some are not let in yet, of others only amqtt's part is left.
        every = self._connections.union(self._by_client_id.values())
        tasks = {connection.task for connection in every if connection.task is not None}
        for connection in tuple(self._connections):
            connection.close(CloseReason.SHUTDOWN)
        if tasks:
            await asyncio.wait(tasks, timeout=self.limits.close_seconds_max)
        for connection in tuple(self._connections):
            connection.abort(CloseReason.SHUTDOWN)
        if tasks:
            await asyncio.wait(tasks, timeout=2 * self.limits.close_seconds_max)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        # Sockets that were aborted just now are reported gone in the next turn.
        await asyncio.sleep(0)

    # For the endpoint.

    def publish(self, topic: str, make_payload: Callable[[], bytes]) -> int:
        """Deliver a message to everyone subscribed, absent clients of persistent sessions included.

        The payload is made once, and only for somebody. Each client gets one copy, with QoS 1 if any of its
        matching filters has that. `flush` writes it. Returns the number of receivers.
        """
        receivers = self.store.index.match(topic)
        if not receivers:
            return 0
        payload = make_payload()
        message: Message | None = None
        frame: bytes | None = None
        count = 0
        for session, qos in receivers.items():
            link = session.link
            if qos:
                if message is None:
                    message = Message(packets.publish_head(topic, len(payload), 1), payload)
                if link is not None:
                    link.deliver(message)
                elif not self.store.enqueue(session, message):
                    continue
                count += 1
            elif link is not None:
                if frame is None:
                    frame = packets.publish_head(topic, len(payload), 0) + payload
                link.send(frame)
                count += 1
        return count

    def is_subscribed(self, topic: str) -> bool:
        """Whether some client that is connected would get a message on a topic."""
        return any(session.link is not None for session in self.store.index.match(topic))

    def flush(self) -> None:
        """Write what was published and acknowledged since the last time, with one write per connection."""
        dirty = self.dirty
        self.dirty = []
        for connection in dirty:
            connection.dirty = False
            connection.write_out()

    def respond(self, client: Client, reply_to: ReplyTo, payload: bytes) -> None:
        """Answer a request on its response topic, if its sender is still there and subscribed to it."""
        connection = self._by_client_id.get(client.client_id)
        if connection is None or connection.client is not client:
            return
        exchange, translator = connection.exchange, connection.translator
        if exchange is None or translator is None:
            return
        topic = reply_to.topic
        if exchange.is_own(topic):
            qos = self.store.index.match(topic).get(exchange.session)
        else:
            qos = granted_qos(self._broker, client.client_id, topic)
        if qos is not None:
            translator.respond(topic, reply_to.correlation, payload, qos)

    def hold(self, client: Client, seconds: float) -> None:
        """Take nothing more from a client that asks for too much, for a while; its socket backs up.

        So a client that floods costs what its rate allows, not what it sends.
        """
        connection = self._by_client_id.get(client.client_id)
        if connection is not None and connection.client is client:
            connection.hold(seconds)

    def disconnect(self, client: Client) -> None:
        """Close a client's connection, if it is still there."""
        connection = self._by_client_id.get(client.client_id)
        if connection is not None and connection.client is client:
            connection.close(CloseReason.DISCONNECTED)

    @property
    def stats(self) -> FrontStats:
        """How many of everything there are, and what was dropped and closed since the start."""
        return FrontStats(
            connections=len(self._connections),
            clients=self._clients,
            sessions=len(self.store),
            subscriptions=len(self.store.index),
            messages_dropped=self.store.messages_dropped,
            connections_closed=dict(self._closed),
        )

    def sweep(self, now: float) -> None:
        """Enforce all time limits as of a loop time. The front calls it itself every `sweep_seconds`."""
        for connection in tuple(self._connections):
            connection.sweep(now)
        for client_id in self.store.expire(now):
            set_clean(self._broker, client_id, clean=True)
        self._logins = {name: pace for name, pace in self._logins.items() if not pace.is_full(now)}
        # Lets go of closed connections that the front alone had answers for.
        self.flush()

    # For the connections.

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in, unless there are too many."""
        # A TLS handshake may end after close() began.
        if self._closing or 0 < self.limits.connections_max <= len(self._connections):
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """The socket of a connection is gone."""
        self._connections.discard(connection)

    def make_client_id(self) -> str:
        """A client id for a client that sent an empty one [MQTT-3.1.3-6]."""
        return f"auto-{secrets.token_hex(8)}"

    async def lets_in(self, connect_frame: bytes, writer: BridgeWriter) -> bool:
        """Whether amqtt's auth plugins let a client in; to be asked in the task that will serve it."""
        return await self._admission.lets_in(connect_frame, writer)

    def may_claim(self, client: Client) -> bool:
        """Whether a client that was let in may have its client id: not while another user uses it.

        Else a device could keep another away by naming its client id.
        """
        holder = self._by_client_id.get(client.client_id)
        if holder is None or holder.is_closed or holder.client is None:
            return True
        return _identity(holder.client) == _identity(client)

    def claim(self, client_id: str, connection: Connection) -> Connection | None:
        """Enter a connection as the one of a client id; the one before, if amqtt still has a part in it."""
        predecessor = self._by_client_id.get(client_id)
        self._by_client_id[client_id] = connection
        return predecessor

    def release(self, client_id: str, connection: Connection) -> None:
        """The part that amqtt had in a connection is over."""
        if self._by_client_id.get(client_id) is connection:
            del self._by_client_id[client_id]
        end_session(self._broker, client_id, connection.writer)

    async def serve(self, reader: BridgeReader, writer: BridgeWriter) -> None:
        """Let amqtt serve a connection, until it is over."""
        await self._broker.external_connected(reader, writer, self._listener_name)

    async def await_turn(self, client: Client) -> None:
        """Keep a client waiting that logs in too often: that is what costs most."""
        pace = self._logins.get(_identity(client))
        if pace is not None:
            await asyncio.sleep(pace.wait_seconds(self.loop.time()))

    async def forget_behind(self, client_id: str) -> None:
        """Let amqtt forget the session of an MQTT 5 client that is over: it may not be aware of that yet."""
        if client_id not in self.store:
            await forget_session(self._broker, client_id)

    def enter(
        self, connection: Connection, client: Client, *, clean: bool, session_present: bool
    ) -> tuple[Exchange, bool]:
        """A client was let in: what it goes on with, and whether it found its session again."""
        translator = connection.translator
        session, resumed = self.store.open(
            client.client_id,
            (client.user_name, client.certificate_name),
            clean=clean if translator is None else translator.clean_start,
            present=session_present,
            expiry_seconds=None if translator is None else translator.expiry_seconds,
        )
        session_of_amqtt: Any = self._context.get_session(client.client_id)
        exchange = Exchange(
            translator or connection,
            translator or self.endpoint,
            self.store,
            self.limits,
            topic_root=self.topic_root,
            client=client,
            session=session,
            packet_ids=PacketIds(session_of_amqtt),
        )
        if translator is not None:
            translator.admitted(exchange)
        pace = Pace(self.limits.logins_per_second_max, self.limits.logins_burst_max)
        self._logins.setdefault(_identity(client), pace).count(self.loop.time())
        self._clients += 1
        return exchange, resumed

    def leave(self, exchange: Exchange) -> None:
        """A client is gone."""
        self._clients -= 1
        # amqtt takes a clean start for a session that ends with its connection; in MQTT 5 it need not.
        set_clean(self._broker, exchange.session.client_id, clean=exchange.session.clean)
        self.store.leave(exchange.session, exchange, self.loop.time())
        self.endpoint.closed(exchange.client)

    def count_closed(self, reason: CloseReason) -> None:
        """A connection was closed, for a reason."""
        self._closed[reason] += 1

    def _sweep_again(self) -> None:
        self.sweep(self.loop.time())
        self._sweeper = self.loop.call_later(self.limits.sweep_seconds, self._sweep_again)


def _identity(client: Client) -> str:
    return client.certificate_name or client.user_name or client.client_id
