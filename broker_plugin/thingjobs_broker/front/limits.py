"""Every limit of the front, with its unit, and the counters that say how often one was reached."""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontLimits:
    """What one client, and all clients together, may cost.

    Raises:
        ValueError: a limit is out of its range; the message names it.
    """

    frame_bytes_max: int = 1024 * 1024
    """A longer MQTT frame closes the connection."""
    payload_bytes_max: int = 128 * 1024
    """A longer payload under the topic root closes the connection (data plane, section 9)."""
    pipelined_bytes_max: int = 64 * 1024
    """Reading pauses when more than this waits for the CONNACK."""
    foreign_bytes_max: int = 256 * 1024
    """Reading pauses when amqtt has left more than this unread."""
    foreign_frames_per_second_max: float = 500.0
    """What amqtt gets from one client in the long run, acknowledgments apart; reading pauses for the rest."""
    foreign_frames_burst_max: int = 500
    """What amqtt gets from one client at once, after a pause."""
    logins_per_second_max: float = 10.0
    """How often one user (or certificate, or client id without either) gets in; who comes sooner waits."""
    logins_burst_max: int = 20
    """How often one user gets in at once, after a pause."""
    frames_per_turn_max: int = 64
    """Frames handled for one connection before the others get their turn."""
    requests_in_progress_max: int = 1000
    """Reading pauses when this many requests of one connection are unsettled."""
    messages_unacknowledged_max: int = 20_000
    """QoS 1 messages sent and not acknowledged (or QoS 2 ids received and not released): over, dropped."""
    messages_queued_max: int = 1000
    """QoS 1 messages kept for one absent client; the oldest makes room."""
    write_buffer_high_bytes: int = 64 * 1024
    """Requests are not read while more than this is unsent."""
    unsent_bytes_max: int = 1024 * 1024
    """A connection that still has more than this unsent when there is more to send is dropped."""
    write_stall_seconds_max: float = 60.0
    """A connection whose write buffer stays high for longer is dropped."""
    connect_seconds_max: float = 10.0
    """From the accepted socket to the CONNECT."""
    admission_seconds_max: float = 60.0
    """From its CONNECT to its CONNACK: how long we may take, with many at once, to let a client in."""
    close_seconds_max: float = 5.0
    """What a closing connection gets to take its last bytes, and amqtt to let go of it."""
    sweep_seconds: float = 1.0
    """How often time limits are looked at; a limit is enforced at most this much late."""
    session_expiry_seconds: float = 7 * 24 * 3600.0
    """How long the session of an absent client with clean session off is kept."""
    sessions_absent_max: int = 100_000
    """Sessions kept for absent clients; the longest absent makes room."""
    subscriptions_per_client_max: int = 1000
    """Filters under the topic root one client may hold; more are refused in the SUBACK."""
    filter_shapes_max: int = 256
    """Distinct wildcard shapes in use at once, since each costs every message one probe; more are refused."""
    connections_max: int = 0
    """Connections at once; a surplus one is closed unread. 0: no limit."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            floor = 0 if name in {"connections_max", "messages_queued_max"} else 1e-9
            if value < floor:
                raise ValueError(
                    f"{name} is {value}; expected {'0 or more' if floor == 0 else 'more than 0'}"
                )
        # Half of the 65,535 packet ids stay free for amqtt's own messages.
        if self.messages_unacknowledged_max > 32_767:
            raise ValueError(
                f"messages_unacknowledged_max is {self.messages_unacknowledged_max}; expected at most 32767"
            )


class CloseReason(StrEnum):
    """Why a connection ended; `ENDED` is the ordinary way, the others are counted against the client."""

    ENDED = "ended"
    MALFORMED = "malformed"
    OVERSIZE = "oversize"
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    KEEP_ALIVE = "keep_alive"
    SLOW_READER = "slow_reader"
    UNACKNOWLEDGED = "unacknowledged"
    TAKEN_OVER = "taken_over"
    SURPLUS = "surplus"
    DISCONNECTED = "disconnected"
    SHUTDOWN = "shutdown"
    BY_AMQTT = "by_amqtt"
    FAULT = "fault"


@dataclass(slots=True)
class FrontStats:
    """A snapshot of the front: what is there now, and counts since its start."""

    connections: int = 0
    """Open sockets, also those not yet past the CONNACK."""
    clients: int = 0
    """Clients past the CONNACK."""
    sessions: int = 0
    """Sessions, of present and of absent clients."""
    subscriptions: int = 0
    messages_dropped: int = 0
    """QoS 1 messages that the full queue of an absent client lost."""
    connections_closed: dict[CloseReason, int] = field(default_factory=dict)
