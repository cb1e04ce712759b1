"""What passes between one admitted client and the endpoint: MQTT's rules above the socket.

Publishes under the topic root go to the endpoint and are acknowledged when it says so; subscriptions under
the root go to the store; messages for the client get packet ids. All other packets go to amqtt as they came.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import msgspec

from thingjobs_broker.front import packets
from thingjobs_broker.front.bridge import BridgeReader, NoFreePacketId, PacketIds
from thingjobs_broker.front.endpoint import Client
from thingjobs_broker.front.frames import (
    CONNECT,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBSCRIBE,
    UNSUBSCRIBE,
    FrameTooLong,
    MalformedFrame,
)
from thingjobs_broker.front.limits import CloseReason, FrontLimits
from thingjobs_broker.front.session import FrontSession, Message, SessionStore


class Channel(Protocol):
    """The connection, as its exchange sees it."""

    reader: BridgeReader

    def send(self, frame: bytes) -> None:
        """Append a frame to what the next flush writes; nothing happens when the connection is closed."""

    def settled_one(self) -> None:
        """A request is no longer in progress, so reading may go on."""

    def abort(self, reason: CloseReason) -> None:
        """Close at once."""


class Receiver(Protocol):
    """The endpoint, as an exchange sees it."""

    def may_subscribe(self, client: Client, topic_filter: str) -> bool:
        """See Endpoint."""

    def received(
        self,
        client: Client,
        topic: str,
        payload: bytes,
        retain: bool,  # noqa: FBT001  # As in Endpoint.
        settled: Callable[[], None],
    ) -> None:
        """See Endpoint."""


class _Owed(msgspec.Struct, gc=False):
    """The acknowledgment of a publish, which waits for those of earlier ones [MQTT-4.6.0-2]."""

    frame: bytes
    is_due: bool = False
    is_amqtts: bool = False


class Exchange:
    """One connection of one session."""

    __slots__ = (
        *(
            "_channel",
            "_endpoint",
            "_feed_amqtt",
            "_ids",
            "_limits",
            "_mixed",
            "_owed",
            "_root",
            "_root_slash",
            "_send",
        ),
        *("_store", "client", "requests_in_progress", "session"),
    )

    def __init__(
        self,
        channel: Channel,
        endpoint: Receiver,
        store: SessionStore,
        limits: FrontLimits,
        *,
        topic_root: str,
        client: Client,
        session: FrontSession,
        packet_ids: PacketIds,
    ) -> None:
        self.client = client
        self.session = session
        self.requests_in_progress = 0
        self._channel = channel
        self._send = channel.send
        self._feed_amqtt = channel.reader.feed
        self._endpoint = endpoint
        self._store = store
        self._limits = limits
        self._root = topic_root
        self._root_slash = topic_root + "/"
        self._ids = packet_ids
        # SUBSCRIBEs that amqtt has a part of: packet id -> our return codes, None where amqtt's belongs.
        self._mixed: dict[int, list[int | None]] = {}
        # In the order of the publishes.
        self._owed: deque[_Owed] = deque()

    def resume(self) -> None:
        """Send again what is unacknowledged, in order [MQTT-4.4.0-1], then what waits for the client."""
        session = self.session
        session.link = self
        for packet_id, message in session.in_flight.items():
            self._ids.hold(packet_id)
            self._send(message.again(packet_id))
        self._drain_queue()

    def let_go(self) -> None:
        """Give the packet ids in flight back to amqtt, unless a later connection has taken them on."""
        if self.session.link in {None, self}:
            for packet_id in self.session.in_flight:
                self._ids.give_back(packet_id)

    # What the client gets.

    def send(self, frame: bytes) -> None:
        """Append a frame to what the next flush writes."""
        self._send(frame)

    def deliver(self, message: Message) -> None:
        """Send a QoS 1 message and keep it in flight until its PUBACK.

        A client with too much in flight is dropped. When it comes back with as much, new messages wait until
        it has acknowledged some; or it would be dropped again and again, and never get anywhere.
        """
        session, limit = self.session, self._limits.messages_unacknowledged_max
        if session.queue or len(session.in_flight) > limit or not self._transmit(message):
            self._store.enqueue(session, message)
        elif len(session.in_flight) > limit:
            self._channel.abort(CloseReason.UNACKNOWLEDGED)

    def _transmit(self, message: Message) -> bool:
        """Send a message under a new packet id, if there is one; if not, the connection is dropped."""
        try:
            packet_id = self._ids.take()
        except NoFreePacketId:
            self._channel.abort(CloseReason.UNACKNOWLEDGED)
            return False
        self.session.in_flight[packet_id] = message
        self._send(message.head + packet_id.to_bytes(2, "big") + message.payload)
        return True

    def _drain_queue(self) -> None:
        """Send what waits, as far as it may be in flight."""
        queue, in_flight = self.session.queue, self.session.in_flight
        while (
            queue and len(in_flight) < self._limits.messages_unacknowledged_max and self._transmit(queue[0])
        ):
            queue.popleft()

    def complete_suback(self, frame: bytes) -> bytes:
        """A SUBACK of amqtt, with our return codes put in where the client asked for filters of both."""
        if not self._mixed:
            return frame
        packet_id, codes_of_amqtt = packets.parse_suback(frame)
        codes = self._mixed.pop(packet_id, None)
        if codes is None:
            return frame
        rest = iter(codes_of_amqtt)
        return packets.build_suback(
            packet_id, [next(rest, packets.SUBSCRIPTION_REFUSED) if code is None else code for code in codes]
        )

    # What the client sends; one method per packet type, see HANDLERS.

    def _on_publish(self, frame: bytes) -> None:
        topic, packet_id, payload_at = packets.parse_publish(frame)
        first = frame[0]
        if not self.is_own(topic):
            if first & 6 == 2:
                self._owed.append(_Owed(packets.build_acknowledgment(0x40, packet_id), is_amqtts=True))
            self._feed_amqtt(frame)
            return
        if len(frame) - payload_at > self._limits.payload_bytes_max:
            raise FrameTooLong(f"payload of {len(frame) - payload_at} bytes under the topic root")
        settled: Callable[[], None]
        if first & 4:
            if not self._is_new(packet_id):
                return
            owed = _Owed(packets.build_acknowledgment(0x50, packet_id))
            self._owed.append(owed)
            settled = partial(self._settle_exactly_once, packet_id, owed)
        elif first & 2:
            owed = _Owed(b"\x40\x02" + frame[payload_at - 2 : payload_at])
            self._owed.append(owed)
            settled = partial(self._settle, owed)
        else:
            settled = self._settled
        self.requests_in_progress += 1
        self._endpoint.received(self.client, topic, frame[payload_at:], first & 1 == 1, settled)

    def _is_new(self, packet_id: int) -> bool:
        """Take note of a QoS 2 message; a known one gets its PUBREC again if it had one [MQTT-4.3.3-2]."""
        received = self.session.received
        if packet_id in received:
            if received[packet_id]:
                self._send(packets.build_acknowledgment(0x50, packet_id))
            return False
        if len(received) >= self._limits.messages_unacknowledged_max:
            self._channel.abort(CloseReason.UNACKNOWLEDGED)
            return False
        received[packet_id] = False
        return True

    def _settled(self) -> None:
        self.requests_in_progress -= 1
        self._channel.settled_one()

    def _settle(self, owed: _Owed) -> None:
        waiting = self._owed
        if waiting[0] is owed:
            # As nearly always, and on the way of every request.
            waiting.popleft()
            self._send(owed.frame)
            if waiting:
                self._acknowledge()
        else:
            owed.is_due = True
        self.requests_in_progress -= 1
        self._channel.settled_one()

    def _settle_exactly_once(self, packet_id: int, owed: _Owed) -> None:
        received = self.session.received
        if packet_id in received:
            received[packet_id] = True
        else:
            owed.frame = b""
        owed.is_due = True
        self._acknowledge()
        self._settled()

    def _acknowledge(self) -> None:
        """Send what is due and has nothing before it that is not."""
        owed = self._owed
        while owed and owed[0].is_due:
            frame = owed.popleft().frame
            if not frame.startswith(b"\x50"):
                self._send(frame)
            elif self.session.link is not None:
                # The session, not the connection, owes a PUBREC: the client may have reconnected meanwhile.
                self.session.link.send(frame)

    def refuse(self, acknowledgment: bytes) -> None:
        """Say in its turn that a publish is not taken, with a frame of the client's version of MQTT."""
        self._owed.append(_Owed(acknowledgment, is_due=True))
        self._acknowledge()

    def acknowledged_by_amqtt(self, frame: bytes) -> None:
        """Pass a PUBACK of amqtt on, in its turn."""
        for owed in self._owed:
            if owed.is_amqtts and not owed.is_due and owed.frame == frame:
                owed.is_due = True
                self._acknowledge()
                return
        self._send(frame)

    def _on_puback(self, frame: bytes) -> None:
        packet_id = packets.parse_acknowledgment(frame)
        if self.session.in_flight.pop(packet_id, None) is None:
            self._feed_amqtt(frame)
        else:
            self._ids.give_back(packet_id)
            if self.session.queue:
                self._drain_queue()

    def _on_pubrel(self, frame: bytes) -> None:
        packet_id = packets.parse_acknowledgment(frame)
        ours = self.session.received.pop(packet_id, None) is not None
        # A PUBREL that nobody waits for is a repeated one; amqtt would leave it without an answer.
        if ours or not self._ids.is_receiving(packet_id):
            self._send(packets.build_acknowledgment(0x70, packet_id))
        else:
            self._feed_amqtt(frame)

    def _on_subscribe(self, frame: bytes) -> None:
        packet_id, wanted = packets.parse_subscribe(frame)
        # The empty filter is nobody's; amqtt would grant it.
        codes = [
            self._subscribe(topic_filter, qos) if self.is_own(topic_filter) or not topic_filter else None
            for topic_filter, qos in wanted
        ]
        foreign = [pair for pair, code in zip(wanted, codes, strict=True) if code is None]
        if not foreign:
            self._send(packets.build_suback(packet_id, [code for code in codes if code is not None]))
        elif len(foreign) == len(wanted):
            self._feed_amqtt(frame)
        else:
            self._mixed[packet_id] = codes
            self._feed_amqtt(packets.build_subscribe(packet_id, foreign))

    def _subscribe(self, topic_filter: str, qos: int) -> int:
        """Subscribe to a filter under the topic root; its return code."""
        store, session = self._store, self.session
        if not store.may_hold(session, topic_filter):
            return packets.SUBSCRIPTION_REFUSED
        if not self._endpoint.may_subscribe(self.client, topic_filter):
            return packets.SUBSCRIPTION_REFUSED
        store.subscribe(session, topic_filter, min(qos, 1))
        return min(qos, 1)

    def _on_unsubscribe(self, frame: bytes) -> None:
        packet_id, filters = packets.parse_unsubscribe(frame)
        foreign = []
        for topic_filter in filters:
            if self.is_own(topic_filter):
                self._store.unsubscribe(self.session, topic_filter)
            elif topic_filter:
                foreign.append(topic_filter)
        if foreign:
            self._feed_amqtt(packets.build_unsubscribe(packet_id, foreign))
        else:
            self._send(packets.build_acknowledgment(0xB0, packet_id))

    def _on_second_connect(self, _frame: bytes) -> None:
        raise MalformedFrame("second CONNECT [MQTT-3.1.0-2]")

    def _on_foreign(self, frame: bytes) -> None:
        self._feed_amqtt(frame)

    def is_own(self, topic: str) -> bool:
        """Whether a topic or filter is the endpoint's, not amqtt's."""
        return topic.startswith(self._root_slash) or topic == self._root

    HANDLERS: Final[dict[int, Callable[["Exchange", bytes], None]]] = {
        CONNECT: _on_second_connect,
        PUBLISH: _on_publish,
        PUBACK: _on_puback,
        PUBREC: _on_foreign,
        PUBREL: _on_pubrel,
        PUBCOMP: _on_foreign,
        SUBSCRIBE: _on_subscribe,
        UNSUBSCRIBE: _on_unsubscribe,
        PINGREQ: _on_foreign,
    }
