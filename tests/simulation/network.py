"""Connections that carry packets in order until they break, and a broker with sessions at QoS 1.

As MQTT allows: what was not acknowledged comes again after a reconnect, marked as such; now and then
something comes twice; between clients nothing is in order; a broker that restarts may have lost its sessions.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from tests.simulation.schedule import SECOND_US, Schedule
from thingjobs_protocol.topics import DEFAULT_ROOT

TO_BROKER, TO_CLIENT = 0, 1
SERVICE = "service"
OPERATOR = "operator"


class Weather:
    """How good the network is at present. Changed by the faults of a world."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.latency_seconds = 0.02
        self.stall_chance = 0.0
        self.repeat_chance = 0.0

    def delay_seconds(self) -> float:
        if self._schedule.chance(self.stall_chance):
            return self._schedule.seconds(1.0, 8.0)
        return self._schedule.seconds(0.0005, self.latency_seconds)

    def clear(self) -> None:
        self.latency_seconds, self.stall_chance, self.repeat_chance = 0.02, 0.0, 0.0


class Connection:
    """One connection. Each direction keeps its order; once it is broken nothing arrives any more."""

    def __init__(self, schedule: Schedule, weather: Weather) -> None:
        self.is_up = True
        self._schedule = schedule
        self._weather = weather
        self._newest_us = [0, 0]

    def carry(self, direction: int, act: Callable[[], object]) -> None:
        """Let a packet arrive."""
        delay_us = round(self._weather.delay_seconds() * SECOND_US)
        when_us = max(self._newest_us[direction], self._schedule.now_us + delay_us)
        self._newest_us[direction] = when_us
        self._schedule.at(when_us, lambda: act() if self.is_up else None)


class Endpoint(Protocol):
    """What the broker needs of a client."""

    client_id: str
    user: str

    def received(self, packet_id: int, topic: str, payload: bytes, *, is_repeated: bool) -> None:
        """A message arrives; to be acknowledged, unless its packet id is 0."""

    def confirmed(self, packet_id: int) -> None:
        """The broker has taken a message."""

    def lost(self) -> None:
        """The connection is gone."""


class Network:
    """Everything between the clients."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.weather = Weather(schedule)
        self.broker = Broker(schedule, self.weather)

    def connection(self) -> Connection:
        return Connection(self.schedule, self.weather)


class Session:
    """What the broker knows of a client."""

    def __init__(self, endpoint: Endpoint, *, is_persistent: bool) -> None:
        self.endpoint = endpoint
        self.is_persistent = is_persistent
        self.filters: dict[str, int] = {}
        """With the QoS asked for, 0 or 1."""
        self.unacknowledged: dict[int, tuple[str, bytes]] = {}
        self.sent: set[int] = set()
        self.connection: Connection | None = None
        self.newest_id = 0


class Broker:
    """A broker that knows who may publish what (architecture, "Who may do what")."""

    def __init__(self, schedule: Schedule, weather: Weather) -> None:
        self.is_up = True
        self.denied = 0
        self._schedule = schedule
        self._weather = weather
        self._sessions: dict[str, Session] = {}
        self._audiences: dict[str, list[tuple[Session, int]]] = {}
        """By topic, who gets it with which QoS; emptied when that may have changed."""

    # Clients

    def accept(self, endpoint: Endpoint, connection: Connection, *, is_persistent: bool) -> bool | None:
        """Let a client in; tell whether it had a session, or None where nobody answers."""
        if not self.is_up:
            connection.is_up = False
            return None
        session = self._sessions.get(endpoint.client_id)
        if session is not None and session.connection is not None:
            self._dropped(session, session.connection)
            session = self._sessions.get(endpoint.client_id)
        is_present = session is not None and is_persistent and session.is_persistent
        if session is None or not is_present:
            session = self._sessions[endpoint.client_id] = Session(endpoint, is_persistent=is_persistent)
        session.endpoint, session.connection = endpoint, connection
        self._audiences.clear()
        for packet_id in list(session.unacknowledged):
            self._send(session, packet_id)
        return is_present

    def subscribe(self, endpoint: Endpoint, filters: list[str], qos: int = 1) -> None:
        session = self._sessions.get(endpoint.client_id)
        if session is not None and session.endpoint is endpoint:
            session.filters |= dict.fromkeys(filters, qos)
            self._audiences.clear()

    def unsubscribe(self, endpoint: Endpoint, filters: list[str]) -> None:
        session = self._sessions.get(endpoint.client_id)
        if session is not None and session.endpoint is endpoint:
            session.filters = {one: qos for one, qos in session.filters.items() if one not in filters}
            self._audiences.clear()

    def publish(self, endpoint: Endpoint, packet_id: int, topic: str, payload: bytes) -> None:
        """A client publishes; packet id 0 is QoS 0, which nobody confirms."""
        session = self._sessions.get(endpoint.client_id)
        if session is None or session.connection is None:
            return
        if packet_id:
            session.connection.carry(TO_CLIENT, lambda: endpoint.confirmed(packet_id))
        if not may_publish(endpoint.user, topic):
            self.denied += 1
            return
        audience = self._audiences.get(topic)
        if audience is None:
            granted = {
                one: [qos for each, qos in one.filters.items() if matches(each, topic)]
                for one in self._sessions.values()
            }
            audience = [(one, max(levels)) for one, levels in granted.items() if levels]
            self._audiences[topic] = audience
        for other, qos in audience:
            # The service has asked not to hear itself (MQTT 5, 3.8.3.1), which goes by the client id.
            if other is session and endpoint.user == SERVICE:
                continue
            if qos:
                self._route(other, topic, payload)
            else:
                self._route_once(other, topic, payload)

    def acknowledge(self, endpoint: Endpoint, packet_id: int) -> None:
        session = self._sessions.get(endpoint.client_id)
        if session is not None and session.endpoint is endpoint:
            session.unacknowledged.pop(packet_id, None)
            session.sent.discard(packet_id)

    def disconnected(self, endpoint: Endpoint, connection: Connection) -> None:
        """The broker notices that a connection is gone."""
        session = self._sessions.get(endpoint.client_id)
        if session is not None and session.connection is connection:
            self._dropped(session, connection)

    def _dropped(self, session: Session, connection: Connection) -> None:
        session.connection = None
        if connection.is_up:
            connection.is_up = False
            self._schedule.after(self._weather.delay_seconds(), session.endpoint.lost)
        if not session.is_persistent:
            self._sessions.pop(session.endpoint.client_id, None)
            self._audiences.clear()

    def _route(self, session: Session, topic: str, payload: bytes) -> None:
        copies = 2 if self._schedule.chance(self._weather.repeat_chance) else 1
        for _ in range(copies):
            session.newest_id = session.newest_id % 65_535 + 1
            session.unacknowledged[session.newest_id] = topic, payload
            self._send(session, session.newest_id)

    def _route_once(self, session: Session, topic: str, payload: bytes) -> None:
        """With QoS 0: now, or not at all."""
        connection, endpoint = session.connection, session.endpoint
        if connection is not None:
            connection.carry(TO_CLIENT, lambda: endpoint.received(0, topic, payload, is_repeated=False))

    def _send(self, session: Session, packet_id: int) -> None:
        connection, endpoint = session.connection, session.endpoint
        if connection is None:
            return
        topic, payload = session.unacknowledged[packet_id]
        is_repeated = packet_id in session.sent
        session.sent.add(packet_id)
        connection.carry(
            TO_CLIENT, lambda: endpoint.received(packet_id, topic, payload, is_repeated=is_repeated)
        )

    # Disasters

    def connections(self) -> list[str]:
        """The clients that are connected."""
        return [one for one, session in self._sessions.items() if session.connection is not None]

    def break_connection(self, client_id: str, *, broker_notices_seconds: float) -> None:
        """Cut the cable: the client notices soon, the broker later."""
        session = self._sessions[client_id]
        connection, endpoint = session.connection, session.endpoint
        if connection is not None and connection.is_up:
            connection.is_up = False
            self._schedule.after(self._weather.delay_seconds(), endpoint.lost)
            self._schedule.after(broker_notices_seconds, lambda: self.disconnected(endpoint, connection))

    def go_down(self, *, keeps_sessions: bool) -> None:
        self.is_up = False
        for session in list(self._sessions.values()):
            if session.connection is not None:
                self._dropped(session, session.connection)
        if not keeps_sessions:
            self._sessions.clear()
            self._audiences.clear()

    def come_up(self) -> None:
        self.is_up = True


@lru_cache(maxsize=100_000)
def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a filter takes a topic (MQTT 3.1.1, 4.7)."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


@lru_cache(maxsize=100_000)
def may_publish(user: str, topic: str) -> bool:
    """Tell whether a user may publish to a topic (architecture, "Who may do what")."""
    if user == SERVICE:
        return True
    if user == OPERATOR:
        return topic.startswith(f"{DEFAULT_ROOT}/control/") and topic.count("/") == 3
    own = f"{DEFAULT_ROOT}/things/{user}/jobs"
    requests = (f"{own}/get", f"{own}/start-next", f"{own}/+/get", f"{own}/+/update")
    return any(matches(one, topic) for one in requests)
