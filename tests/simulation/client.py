"""An MQTT client of the simulated network, for devices and operators: connects, and connects again."""

from collections.abc import Callable

from tests.simulation.network import TO_BROKER, Connection, Network

RECONNECT_SECONDS = (0.1, 20.0)


class Client:
    """One client. `heard` is called for each message, `connected` and `disconnected` for what they say.

    With `is_persistent` the broker keeps its session, and what was not confirmed is sent again.
    """

    def __init__(
        self,
        network: Network,
        client_id: str,
        user: str,
        filters: list[str],
        *,
        is_persistent: bool,
    ) -> None:
        self.client_id = client_id
        self.user = user
        self.heard: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.connected: Callable[[], None] = lambda: None
        self.disconnected: Callable[[], None] = lambda: None
        self.is_connected = False
        self.is_on = False
        self._network = network
        self._schedule = network.schedule
        self._broker = network.broker
        self._filters = filters
        self._is_persistent = is_persistent
        self._connection: Connection | None = None
        self._newest_id = 0
        self._unconfirmed: dict[int, tuple[str, bytes]] = {}

    def switch_on(self) -> None:
        """Connect, and stay connected."""
        if self.is_on:
            return
        self.is_on = True
        self._connect()

    def switch_off(self) -> None:
        """Vanish without a word; what was under way is forgotten."""
        self.is_on = False
        self._unconfirmed.clear()
        connection, self._connection = self._connection, None
        self.is_connected = False
        if connection is not None and connection.is_up:
            connection.is_up = False
            self._schedule.after(
                self._schedule.seconds(0.01, 30.0), lambda: self._broker.disconnected(self, connection)
            )

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        """Send a message, if there is a connection."""
        connection = self._connection
        if connection is None or not self.is_connected:
            return
        packet_id = 0
        if qos:
            self._newest_id = packet_id = self._newest_id % 65_535 + 1
            self._unconfirmed[packet_id] = topic, payload
        self._carry(connection, packet_id, topic, payload)

    def _carry(self, connection: Connection, packet_id: int, topic: str, payload: bytes) -> None:
        connection.carry(TO_BROKER, lambda: self._broker.publish(self, packet_id, topic, payload))

    def _connect(self) -> None:
        if not self.is_on or self._connection is not None:
            return
        connection = self._connection = self._network.connection()
        self._schedule.after(self._network.weather.delay_seconds(), lambda: self._arrive(connection))

    def _arrive(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        is_present = self._broker.accept(self, connection, is_persistent=self._is_persistent)
        if is_present is None:
            self._connection = None
            self._again()
            return
        self._broker.subscribe(self, self._filters)
        self.is_connected = True
        if self._is_persistent:
            for packet_id, (topic, payload) in self._unconfirmed.items():
                self._carry(connection, packet_id, topic, payload)
        else:
            self._unconfirmed.clear()
        self.connected()

    def _again(self) -> None:
        self._schedule.after(self._schedule.seconds(*RECONNECT_SECONDS), self._connect)

    # network.Endpoint

    def received(self, packet_id: int, topic: str, payload: bytes, *, is_repeated: bool) -> None:
        """A message arrives; it is acknowledged at once."""
        connection = self._connection
        if connection is not None:
            connection.carry(TO_BROKER, lambda: self._broker.acknowledge(self, packet_id))
            self.heard(topic, payload)

    def confirmed(self, packet_id: int) -> None:
        self._unconfirmed.pop(packet_id, None)

    def lost(self) -> None:
        """Notice that the connection is gone."""
        if self._connection is not None and not self._connection.is_up:
            self._connection = None
            self.is_connected = False
            self.disconnected()
            self._again()
