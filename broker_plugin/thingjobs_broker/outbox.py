"""What still has to reach the broker, in order and across connections: messages and acknowledgments.

Pure: it sends over a `Link` that it is given. An acknowledgment waits until the broker has confirmed the
answers published before it, which go another way. So a broker that is slow to take answers waits for
acknowledgments too, and sends no more: back-pressure.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from thingjobs_protocol.topics import ACCEPTED, REJECTED

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger()

IN_FLIGHT_MAX: Final = 2_000
"""Messages sent and not confirmed; a broker may ask for fewer."""

MESSAGES_MAX: Final = 50_000
"""Messages kept. Over it the oldest replies go first, then the oldest of the others."""

REPLY_SECONDS_MAX: Final = 60.0
"""A reply that could not leave for longer is dropped: its device has asked again."""

PACKET_OVERHEAD_BYTES_MAX: Final = 1024
"""More than a PUBLISH packet adds to topic and payload, properties included."""

PACKET_ID_MIN: Final = 16
"""Those below are left to the library, for its SUBSCRIBE."""

PACKET_ID_MAX: Final = 65_535


class Link(Protocol):
    """What the outbox needs of a connection."""

    def publish(self, packet_id: int, topic: str, payload: bytes, correlation: bytes | None) -> None:
        """Queue a message; where the connection is gone, nothing happens."""

    def acknowledge(self, packet_id: int) -> None:
        """Queue the acknowledgment of a received message."""


class Outgoing(NamedTuple):
    """A message on its way."""

    topic: str
    payload: bytes
    correlation: bytes | None = None


class Outbox:
    """Messages and acknowledgments in the order they were given."""

    def __init__(self, in_flight_max: int = IN_FLIGHT_MAX, messages_max: int = MESSAGES_MAX) -> None:
        self.dropped = 0
        self._in_flight_max = in_flight_max
        self._messages_max = messages_max
        self._link: Link | None = None
        self._window = 0
        self._packet_bytes_max = 0
        self._last_packet_id = PACKET_ID_MAX
        self._unconfirmed: dict[int, Outgoing] = {}
        self._waiting: deque[Outgoing | int] = deque()
        self._held: deque[tuple[int, int]] = deque()
        """Acknowledgments, each with the packet id of the message sent last before it."""

    def __len__(self) -> int:
        """Messages that are not confirmed, and acknowledgments that wait behind them."""
        return len(self._unconfirmed) + len(self._waiting) + len(self._held)

    @property
    def is_attached(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None

    def attach(self, link: Link, receive_maximum: int, packet_bytes_max: int, absent_seconds: float) -> None:
        """Go on over a new connection; what was not confirmed on the one before is sent again."""
        if absent_seconds > REPLY_SECONDS_MAX:
            fresh = [entry for entry in self._waiting if not _is_reply(entry)]
            self._drop(
                len(self._waiting) - len(fresh), "The broker was away too long for the replies to devices"
            )
            self._waiting = deque(fresh)
        self._link = link
        self._window = min(receive_maximum, self._in_flight_max)
        self._packet_bytes_max = packet_bytes_max - PACKET_OVERHEAD_BYTES_MAX
        self._send_waiting()

    def detach(self) -> None:
        """Keep everything for the next connection, but for acknowledgments, which mean nothing there."""
        self._link = None
        self._window = 0
        messages: Iterable[Outgoing] = (entry for entry in self._waiting if not isinstance(entry, int))
        self._waiting = deque([*self._unconfirmed.values(), *messages])
        self._unconfirmed = {}
        self._held.clear()

    def publish(self, topic: str, payload: bytes, correlation: bytes | None = None) -> None:
        """Send a message now, or once there is a connection that has confirmed enough of those before."""
        message = Outgoing(topic, payload, correlation)
        if not self._waiting and len(self._unconfirmed) < self._window:
            self._send(message)
            return
        self._waiting.append(message)
        if len(self._waiting) > self._messages_max:
            self._shed()

    def acknowledge(self, packet_id: int) -> None:
        """Acknowledge a received message, after the messages published before."""
        if self._waiting or self._link is None:
            self._waiting.append(packet_id)
        else:
            self._acknowledge(packet_id)

    def confirmed(self, packet_id: int, code: int) -> None:
        """The broker has taken a message, or refuses it: then it would refuse it again."""
        message = self._unconfirmed.pop(packet_id, None)
        if code >= 0x80 and message is not None:
            self.dropped += 1
            log.warning(
                "The broker refuses a message; give the service's user the right to publish it",
                action="publish_refused",
                topic=message.topic,
                reason_code=code,
            )
        self._release()
        if self._waiting:
            self._send_waiting()

    def _acknowledge(self, packet_id: int) -> None:
        assert self._link is not None, "only over a connection"
        if self._unconfirmed:
            self._held.append((packet_id, self._last_packet_id))
        else:
            self._link.acknowledge(packet_id)

    def _release(self) -> None:
        """Let go what no unconfirmed message stands before; brokers confirm in order (MQTT 5, 4.6)."""
        while self._held and self._link is not None and self._held[0][1] not in self._unconfirmed:
            self._link.acknowledge(self._held.popleft()[0])

    def _send_waiting(self) -> None:
        waiting, link = self._waiting, self._link
        while waiting and link is not None:
            entry = waiting[0]
            if isinstance(entry, int):
                self._acknowledge(entry)
            elif len(self._unconfirmed) < self._window:
                self._send(entry)
            else:
                return
            waiting.popleft()

    def _send(self, message: Outgoing) -> None:
        assert self._link is not None, "only an open window lets through"
        topic, payload, correlation = message
        if len(topic) + len(payload) > self._packet_bytes_max:
            self._drop(1, f"The broker takes no message as long as the one on {topic}")
            return
        packet_id = self._last_packet_id
        while True:
            packet_id = packet_id + 1 if packet_id < PACKET_ID_MAX else PACKET_ID_MIN
            if packet_id not in self._unconfirmed:
                break
        self._last_packet_id = packet_id
        self._unconfirmed[packet_id] = message
        self._link.publish(packet_id, topic, payload, correlation)

    def _shed(self) -> None:
        """Make room at once for a tenth, so that it is not to be made again for each message."""
        surplus = len(self._waiting) - self._messages_max * 9 // 10
        for may_go in (_is_reply, _is_message):
            kept: deque[Outgoing | int] = deque()
            gone = 0
            for entry in self._waiting:
                if gone < surplus and may_go(entry):
                    gone += 1
                else:
                    kept.append(entry)
            self._waiting = kept
            surplus -= gone
            self._drop(gone, "The broker has been away too long for all messages to be kept")

    def _drop(self, count: int, why: str) -> None:
        if count:
            self.dropped += count
            log.warning(why, action="messages_dropped", dropped=count, dropped_so_far=self.dropped)


def _is_message(entry: Outgoing | int) -> bool:
    return not isinstance(entry, int)


def _is_reply(entry: Outgoing | int) -> bool:
    """Whether somebody waits for it, but not for long; notifications and events are worth as much later."""
    return not isinstance(entry, int) and entry.topic.rpartition("/")[2] in (ACCEPTED, REJECTED)
