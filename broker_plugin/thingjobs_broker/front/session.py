"""What the front keeps per client id: filters, messages in flight, messages waiting, QoS 2 ids received.

Pure. Decides what survives a disconnect and for how long; knows neither sockets nor amqtt.
"""

import math
from collections import deque
from typing import NamedTuple, Protocol

from thingjobs_broker.front.frames import DUP
from thingjobs_broker.front.limits import FrontLimits
from thingjobs_broker.front.subscriptions import SubscriptionIndex, is_valid_filter


class Message(NamedTuple):
    """A QoS 1 PUBLISH but for its packet id, shared by all its receivers."""

    head: bytes
    payload: bytes
    correlation: bytes | None = None
    """For a client of MQTT 5."""

    def again(self, packet_id: int) -> bytes:
        """The frame of a retransmission [MQTT-3.3.1-1]."""
        return bytes((self.head[0] | DUP,)) + self.head[1:] + packet_id.to_bytes(2, "big") + self.payload


class Link(Protocol):
    """The connection a session is used by, as far as those need it who have only the session."""

    def send(self, frame: bytes) -> None:
        """Append a frame to what the next flush writes."""

    def deliver(self, message: Message) -> None:
        """Send a QoS 1 message and keep it in flight."""


Identity = tuple[str | None, str | None]
"""User name and certificate name."""


class FrontSession:
    """The state of one client id under the topic root (3.1.2.4)."""

    __slots__ = (
        "client_id",
        "expires_at",
        "expiry_seconds",
        "filters",
        "identity",
        "in_flight",
        "link",
        "queue",
        "received",
    )

    def __init__(self, client_id: str, identity: Identity, expiry_seconds: float) -> None:
        self.client_id = client_id
        self.identity = identity
        self.expiry_seconds = expiry_seconds
        self.link: Link | None = None
        self.filters: dict[str, int] = {}
        # Sent and not acknowledged, in the order of sending.
        self.in_flight: dict[int, Message] = {}
        # Not sent yet, because the client is away or has too much in flight.
        self.queue: deque[Message] = deque()
        # QoS 2 ids between PUBLISH and PUBREL -> whether PUBREC is due for a repetition.
        self.received: dict[int, bool] = {}
        self.expires_at = math.inf

    @property
    def clean(self) -> bool:
        """Whether it ends with its connection."""
        return self.expiry_seconds <= 0


class SessionStore:
    """All sessions by client id, and the index of their subscriptions."""

    def __init__(self, limits: FrontLimits) -> None:
        self._limits = limits
        self._sessions: dict[str, FrontSession] = {}
        # In the order in which their clients left.
        self._absent: dict[str, FrontSession] = {}
        self._next_expiry_at = math.inf
        self.index: SubscriptionIndex[FrontSession] = SubscriptionIndex()
        self.messages_dropped = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._sessions

    def open(
        self,
        client_id: str,
        identity: Identity,
        *,
        clean: bool,
        present: bool,
        expiry_seconds: float | None = None,
    ) -> tuple[FrontSession, bool]:
        """The session of a client that was let in, and whether it is a resumed one.

        It is resumed if the client asked for it, amqtt has its part (`present`) and the client is who it was:
        another user under the same client id gets neither the filters nor the messages of the first.
        Without `expiry_seconds` it expires as sessions of MQTT 3.1.1 do.
        """
        if expiry_seconds is None:
            expiry_seconds = 0 if clean else self._limits.session_expiry_seconds
        stored = self._sessions.get(client_id)
        if stored is not None:
            if present and not clean and not stored.clean and stored.identity == identity:
                self._absent.pop(client_id, None)
                stored.expires_at = math.inf
                stored.expiry_seconds = expiry_seconds
                return stored, True
            self.drop(stored)
        session = self._sessions[client_id] = FrontSession(client_id, identity, expiry_seconds)
        return session, False

    def leave(self, session: FrontSession, link: Link, now: float) -> None:
        """The connection of a session ended; one that has gone on to another connection is left alone."""
        if session.link is not None and session.link is not link:
            return
        session.link = None
        if self._sessions.get(session.client_id) is not session:
            return
        if session.clean:
            self.drop(session)
            return
        session.expires_at = now + session.expiry_seconds
        self._next_expiry_at = min(self._next_expiry_at, session.expires_at)
        self._absent[session.client_id] = session
        if len(self._absent) > self._limits.sessions_absent_max:
            self.drop(next(iter(self._absent.values())))

    def expire(self, now: float) -> list[str]:
        """Drop the sessions whose clients have been away for too long; their client ids."""
        if now < self._next_expiry_at:
            return []
        expired = [session for session in self._absent.values() if session.expires_at <= now]
        for session in expired:
            self.drop(session)
        self._next_expiry_at = min(
            (session.expires_at for session in self._absent.values()), default=math.inf
        )
        return [session.client_id for session in expired]

    def drop(self, session: FrontSession) -> None:
        """Forget a session and its subscriptions."""
        for topic_filter in session.filters:
            self.index.remove(topic_filter, session)
        session.filters.clear()
        if self._sessions.get(session.client_id) is session:
            del self._sessions[session.client_id]
            self._absent.pop(session.client_id, None)

    def may_hold(self, session: FrontSession, topic_filter: str) -> bool:
        """Whether a filter is valid and within the limits of the client and of the index."""
        if not is_valid_filter(topic_filter):
            return False
        if topic_filter in session.filters:
            return True
        return len(session.filters) < self._limits.subscriptions_per_client_max and (
            self.index.shapes < self._limits.filter_shapes_max or self.index.has_shape_of(topic_filter)
        )

    def subscribe(self, session: FrontSession, topic_filter: str, qos: int) -> None:
        """Add a filter that `may_hold` let pass, or replace its QoS."""
        session.filters[topic_filter] = qos
        self.index.add(topic_filter, session, qos)

    def unsubscribe(self, session: FrontSession, topic_filter: str) -> None:
        """Remove a filter, if it is there."""
        if session.filters.pop(topic_filter, None) is not None:
            self.index.remove(topic_filter, session)

    def enqueue(self, session: FrontSession, message: Message) -> bool:
        """Keep a QoS 1 message for later, if there is a later for this client; whether it was kept."""
        if session.clean or not self._limits.messages_queued_max:
            return False
        if len(session.queue) >= self._limits.messages_queued_max:
            session.queue.popleft()
            self.messages_dropped += 1
        session.queue.append(message)
        return True
