"""MQTT 5 in front of MQTT 3.1.1: stands between one client and its exchange, and translates frame by frame.

What only MQTT 5 has is dealt with here: reason codes, the client's limits on what it is sent, session expiry,
response topics. Behind it, everything is as for a client of 3.1.1, amqtt included. Clauses are of MQTT 5.0.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from thingjobs_broker.front import packets, packets5
from thingjobs_broker.front.endpoint import Client, Endpoint, ReplyTo
from thingjobs_broker.front.exchange import Exchange
from thingjobs_broker.front.frames import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBSCRIBE,
    UNSUBSCRIBE,
)
from thingjobs_broker.front.limits import CloseReason, FrontLimits
from thingjobs_broker.front.properties import Name, Properties, ProtocolError, Value
from thingjobs_broker.front.session import Message
from thingjobs_broker.front.subscriptions import is_valid_filter

if TYPE_CHECKING:
    from thingjobs_broker.front.connection import Connection

SUBACK: Final = 9
UNSUBACK: Final = 11
SHARED: Final = "$share/"
GOODBYE: Final = packets.build(0xE0, b"")

CONNACK_CODES: Final = {0: 0x00, 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
"""What the return codes of MQTT 3.1.1 are in MQTT 5 (3.2.2.2)."""

FAREWELLS: Final = {
    CloseReason.MALFORMED: 0x81,
    CloseReason.OVERSIZE: 0x95,
    CloseReason.KEEP_ALIVE: 0x8D,
    CloseReason.SLOW_READER: packets5.QUOTA_EXCEEDED,
    CloseReason.UNACKNOWLEDGED: packets5.QUOTA_EXCEEDED,
    CloseReason.TAKEN_OVER: 0x8E,
    CloseReason.DISCONNECTED: 0x98,
    CloseReason.SHUTDOWN: 0x8B,
    CloseReason.BY_AMQTT: 0x83,
    CloseReason.FAULT: 0x83,
}
"""The reason code of the DISCONNECT that a client gets; none when the client was first (3.14.2.1)."""


class Refused(Exception):
    """A CONNECT that is not let in; `reason_code` says why."""

    def __init__(self, reason_code: int) -> None:
        super().__init__(f"reason code 0x{reason_code:02x}")
        self.reason_code = reason_code


class Translator:
    """The channel and the endpoint of an exchange with an MQTT 5 client."""

    def __init__(
        self, connection: "Connection", endpoint: Endpoint, limits: FrontLimits, connect: packets5.Connect
    ) -> None:
        self.reader = connection.reader
        self.clean_start = connect.clean_start
        self.expiry_seconds = min(connect.session_expiry_seconds, int(limits.session_expiry_seconds))
        self._connection = connection
        self._endpoint = endpoint
        self._limits = limits
        self._connect = connect
        self._assigned_client_id = ""
        self._exchange: Exchange
        self._reply_to: ReplyTo | None = None
        # What an answer needs that is given later: filters by packet id, and codes by packet id.
        self._subscribing: dict[int, list[str]] = {}
        self._unsubscribing: dict[int, list[int]] = {}
        # QoS 1 and 2 messages that the client has not finished, and those for which it has no room yet (4.9).
        self._in_flight: set[int] = set()
        self._held: deque[tuple[int, bytes]] = deque()
        self._held_bytes = 0

    # Getting in.

    def connect_frame(self, make_client_id: Callable[[], str]) -> bytes:
        """The CONNECT for amqtt.

        Raises:
            Refused: the client wants to authenticate in a way there is not.
        """
        connect = self._connect
        if connect.authentication_method is not None:
            raise Refused(packets5.BAD_AUTHENTICATION_METHOD)
        if not connect.client_id:
            self._assigned_client_id = make_client_id()
        return packets5.connect_311(connect, connect.client_id or self._assigned_client_id)

    def connack(self, return_code: int, *, session_present: bool = False) -> bytes:
        """The CONNACK that says what one of MQTT 3.1.1 says, and what is offered here."""
        if return_code != packets.ACCEPTED:
            return packets5.build_connack(CONNACK_CODES.get(return_code, packets5.FAILURE), {})
        offered: dict[int, Value] = {
            Name.RECEIVE_MAXIMUM: min(self._limits.requests_in_progress_max, 65_535),
            Name.MAXIMUM_PACKET_SIZE: self._limits.frame_bytes_max,
            Name.TOPIC_ALIAS_MAXIMUM: 0,
            Name.RETAIN_AVAILABLE: 1,
            Name.WILDCARD_SUBSCRIPTION_AVAILABLE: 1,
            Name.SUBSCRIPTION_IDENTIFIERS_AVAILABLE: 0,
            Name.SHARED_SUBSCRIPTION_AVAILABLE: 0,
        }
        if self.expiry_seconds != self._connect.session_expiry_seconds:
            offered[Name.SESSION_EXPIRY_INTERVAL] = self.expiry_seconds
        if self._assigned_client_id:
            offered[Name.ASSIGNED_CLIENT_IDENTIFIER] = self._assigned_client_id
        return packets5.build_connack(packets5.SUCCESS, offered, session_present=session_present)

    def admitted(self, exchange: Exchange) -> None:
        """The client is in; this is what it goes on with."""
        self._exchange = exchange

    def left(self) -> None:
        """An admitted client has left: the exchange points here, and no circle may remain."""
        del self._exchange

    # What the client sends.

    def incoming(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        """Frames of MQTT 5, one by one, as frames of MQTT 3.1.1; those with no counterpart are dealt with.

        Raises:
            MalformedFrame, ProtocolError: the client may not send that.
        """
        for frame in frames:
            translate = self._INCOMING.get(frame[0] >> 4)
            if translate is None:
                raise ProtocolError("AUTH; no authentication goes on (3.15)")
            if translated := translate(self, frame):
                yield translated
            if self._connection.turn_is_over:
                return

    def _publish(self, frame: bytes) -> bytes:
        publish = packets5.parse_publish(frame)
        self._reply_to = None
        if self._exchange.is_own(publish.topic):
            qos = frame[0] >> 1 & 3
            if not self._endpoint.may_publish(self._exchange.client, publish.topic):
                if qos:
                    first, refused = 0x40 if qos == 1 else 0x50, packets5.NOT_AUTHORIZED
                    self._exchange.refuse(packets5.build_refused(first, publish.packet_id, refused))
                return b""
            if publish.response_topic is not None:
                self._reply_to = ReplyTo(publish.response_topic, publish.correlation)
        return publish.frame

    def _acknowledgment(self, frame: bytes) -> bytes:
        packet_id, reason_code = packets5.parse_acknowledgment(frame)
        kind = frame[0] >> 4
        if kind in {PUBACK, PUBCOMP} or (kind == PUBREC and reason_code >= packets5.FAILURE):
            self._in_flight.discard(packet_id)
            self._send_held()
        # A PUBREC that refuses makes amqtt send a PUBREL all the same; the client answers that (4.3.3).
        return packets.build_acknowledgment(frame[0], packet_id)

    def _subscribe(self, frame: bytes) -> bytes:
        packet_id, wanted = packets5.parse_subscribe(frame)
        self._check_is_free(packet_id)
        self._subscribing[packet_id] = [topic_filter for topic_filter, _ in wanted]
        # An empty filter is refused without amqtt, which would take a shared one for an ordinary one.
        offered = [
            ("" if topic_filter.startswith(SHARED) else topic_filter, qos) for topic_filter, qos in wanted
        ]
        return packets.build_subscribe(packet_id, offered)

    def _unsubscribe(self, frame: bytes) -> bytes:
        packet_id, filters = packets5.parse_unsubscribe(frame)
        self._check_is_free(packet_id)
        self._unsubscribing[packet_id] = [self._unsubscription_code(one) for one in filters]
        return packets.build_unsubscribe(packet_id, filters)

    def _check_is_free(self, packet_id: int) -> None:
        if packet_id in self._subscribing or packet_id in self._unsubscribing:
            raise ProtocolError("packet id in use (2.2.1)", packets5.PACKET_IDENTIFIER_IN_USE)

    def _unsubscription_code(self, topic_filter: str) -> int:
        """Of filters outside the root only amqtt could tell, and does not."""
        exchange = self._exchange
        if not exchange.is_own(topic_filter) or topic_filter in exchange.session.filters:
            return packets5.SUCCESS
        return packets5.NO_SUBSCRIPTION_EXISTED

    def _disconnect(self, frame: bytes) -> bytes:
        reason_code, expiry_seconds = packets5.parse_disconnect(frame)
        if expiry_seconds is not None:
            if expiry_seconds and not self.expiry_seconds:
                raise ProtocolError("DISCONNECT prolongs a session that was to end with it (3.14.2.2.2)")
            expiry_seconds = min(expiry_seconds, int(self._limits.session_expiry_seconds))
            self._exchange.session.expiry_seconds = expiry_seconds
        if reason_code == packets5.DISCONNECT_WITH_WILL:
            # Without a DISCONNECT amqtt publishes the will.
            self._connection.close(CloseReason.ENDED)
            return b""
        return GOODBYE

    def _as_it_is(self, frame: bytes) -> bytes:
        return frame

    _INCOMING: Final[dict[int, Callable[["Translator", bytes], bytes]]] = {
        CONNECT: _as_it_is,
        PUBLISH: _publish,
        PUBACK: _acknowledgment,
        PUBREC: _acknowledgment,
        PUBREL: _acknowledgment,
        PUBCOMP: _acknowledgment,
        SUBSCRIBE: _subscribe,
        UNSUBSCRIBE: _unsubscribe,
        PINGREQ: _as_it_is,
        DISCONNECT: _disconnect,
    }

    # What the client gets.

    def outgoing(self, frame: bytes) -> bytes:
        """A frame of MQTT 3.1.1 as one of MQTT 5; empty when it is not for now, or never."""
        kind = frame[0] >> 4
        if kind == PUBLISH:
            return self._outgoing_publish(frame)
        if kind == SUBACK:
            packet_id, codes = packets.parse_suback(frame)
            filters = self._subscribing.pop(packet_id, [])
            codes = [
                self._subscription_code(*pair) if pair[1] == packets.SUBSCRIPTION_REFUSED else pair[1]
                for pair in zip(filters, codes, strict=True)
            ]
            return packets5.build_codes(frame[0], packet_id, codes)
        if kind == UNSUBACK:
            packet_id = packets.parse_acknowledgment(frame)
            return packets5.build_codes(frame[0], packet_id, self._unsubscribing.pop(packet_id, []))
        # A successful PUBACK, PUBREC, PUBREL or PUBCOMP, and a PINGRESP, are the same in both.
        return frame

    def _subscription_code(self, topic_filter: str, _refused: int) -> int:
        exchange = self._exchange
        if topic_filter.startswith(SHARED):
            return packets5.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if not is_valid_filter(topic_filter):
            return packets5.TOPIC_FILTER_INVALID
        if exchange.is_own(topic_filter) and self._endpoint.may_subscribe(exchange.client, topic_filter):
            return packets5.QUOTA_EXCEEDED
        return packets5.NOT_AUTHORIZED

    def _outgoing_publish(self, frame: bytes) -> bytes:
        if not frame[0] & 6:
            translated = packets5.publish_of_311(frame, {})
            return b"" if self._is_too_long(translated) else translated
        packet_id = packets.parse_publish(frame)[1]
        message = self._exchange.session.in_flight.get(packet_id)
        correlation = message.correlation if message is not None else None
        translated = packets5.publish_of_311(frame, _with_correlation(correlation))
        if self._is_too_long(translated):
            # It counts as delivered [MQTT-3.1.2-25].
            first = 0x40 if frame[0] & 6 == 2 else 0x50
            acknowledgment = packets.build_acknowledgment(first, packet_id)
            asyncio.get_running_loop().call_soon(self._acknowledge, acknowledgment)
            return b""
        if len(self._in_flight) >= self._connect.receive_maximum:
            self._hold(packet_id, translated)
            return b""
        self._in_flight.add(packet_id)
        return translated

    def _acknowledge(self, acknowledgment: bytes) -> None:
        """What the client would say of a message that it cannot be sent."""
        if not self._connection.is_closed:
            Exchange.HANDLERS[acknowledgment[0] >> 4](self._exchange, acknowledgment)
            self._connection.write_out()

    def _is_too_long(self, frame: bytes) -> bool:
        return 0 < self._connect.packet_bytes_max < len(frame)

    def _hold(self, packet_id: int, frame: bytes) -> None:
        """Keep a message until the client has room for it [MQTT-3.3.4-9]."""
        self._held.append((packet_id, frame))
        self._held_bytes += len(frame)
        if self._held_bytes > self._limits.unsent_bytes_max:
            self._connection.abort(CloseReason.SLOW_READER)

    def _send_held(self) -> None:
        while self._held and len(self._in_flight) < self._connect.receive_maximum:
            packet_id, frame = self._held.popleft()
            self._held_bytes -= len(frame)
            self._in_flight.add(packet_id)
            self._connection.send(frame)

    def farewell(self, reason: CloseReason, code: int | None) -> bytes:
        """What the client is told when it is dropped; nothing when it was first."""
        code = FAREWELLS.get(reason) if code is None else code
        return b"" if code is None else packets5.build_disconnect(code)

    def respond(self, topic: str, correlation: bytes | None, payload: bytes, qos: int) -> None:
        """Send the client an answer on the response topic it gave."""
        head = packets.publish_head(topic, len(payload), min(qos, 1))
        if qos:
            self._exchange.deliver(Message(head, payload, correlation))
            return
        frame = packets5.publish_of_311(head + payload, _with_correlation(correlation))
        if not self._is_too_long(frame):
            self._connection.send(frame)

    # The channel of the exchange.

    def send(self, frame: bytes) -> None:
        """Append a frame of MQTT 3.1.1 to what the next flush writes."""
        if translated := self.outgoing(frame):
            self._connection.send(translated)

    def settled_one(self) -> None:
        """A request is no longer in progress."""
        self._connection.settled_one()

    def abort(self, reason: CloseReason) -> None:
        """Close at once."""
        self._connection.abort(reason)

    # The endpoint of the exchange.

    def may_subscribe(self, client: Client, topic_filter: str) -> bool:
        """Ask the endpoint."""
        return self._endpoint.may_subscribe(client, topic_filter)

    def received(
        self,
        client: Client,
        topic: str,
        payload: bytes,
        retain: bool,  # noqa: FBT001  # As in Endpoint.
        settled: Callable[[], None],
    ) -> None:
        """Hand a publish to the endpoint, with where the answer is wanted."""
        self._endpoint.received(client, topic, payload, retain, settled, reply_to=self._reply_to)


def _with_correlation(correlation: bytes | None) -> Properties:
    return {} if correlation is None else {Name.CORRELATION_DATA: correlation}
