"""A connection of the service on the simulated network, in the place of `transport.Connection`: late
acknowledgment, and a session that the broker keeps.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.simulation.network import SERVICE, TO_BROKER, TO_CLIENT, Network
from tests.simulation.process import Process
from thingjobs_broker.data_packets import QOS, Received
from thingjobs_broker.paho_link import Accepted, ConnectionLost
from thingjobs_broker.transport import Access

ANSWER_SECONDS_MAX = 10.0


class ServiceLink:
    """Packets between the service and the broker: a `Link` of the outbox, and the broker's `Endpoint`."""

    user = SERVICE

    def __init__(
        self,
        network: Network,
        process: Process,
        client_id: str,
        *,
        received: Callable[[Received], None],
        confirmed: Callable[[int, int], None],
        ended: Callable[[], None],
        is_unwanted: Callable[[bytes], object] | None,
    ) -> None:
        self.client_id = client_id
        self.is_dropping = False
        """Whether what is being received is dropped."""
        self.requests: dict[int, tuple[str, bytes]] = {}
        """By packet id, what was received and not acknowledged."""
        self.connection = network.connection()
        self._schedule = network.schedule
        self._broker = network.broker
        self._process = process
        self._received = received
        self._confirmed = confirmed
        self._ended = ended
        self._is_unwanted = is_unwanted
        self._is_paused = False
        self._held: list[Received] = []

    def call(self, work: Callable[[], Any], answered: Callable[[Any], None]) -> None:
        """Ask the broker something and bring the answer back."""

        def arrive() -> None:
            result = work()
            answer = partial(self._process.enter, partial(answered, result))
            if self.connection.is_up:
                self.connection.carry(TO_CLIENT, answer)
            else:
                # Nobody listens: the refusal of a connection takes no connection.
                self._schedule.after(0.01, answer)

        self.connection.carry(TO_BROKER, arrive)

    def cut(self) -> None:
        """End the connection; the broker notices soon."""
        if self.connection.is_up:
            self.connection.is_up = False
            self._schedule.after(0.05, lambda: self._broker.disconnected(self, self.connection))

    # network.Endpoint

    def received(self, packet_id: int, topic: str, payload: bytes, *, is_repeated: bool) -> None:
        if self._is_unwanted is not None and self._is_unwanted(topic.encode()):
            return
        message = Received(topic, payload, packet_id, dup=is_repeated, retain=False)
        if self._is_paused:
            self._held.append(message)
        else:
            self._process.enter(partial(self._take, message))

    def confirmed(self, packet_id: int) -> None:
        self._process.enter(partial(self._confirmed, packet_id, 0))

    def lost(self) -> None:
        self._process.enter(self._ended)

    # outbox.Link, and what else the sidecar asks of it

    def publish(self, packet_id: int, topic: str, payload: bytes, _correlation: bytes | None) -> None:
        """Send a message."""
        self.connection.carry(TO_BROKER, lambda: self._broker.publish(self, packet_id, topic, payload))

    def acknowledge(self, packet_id: int) -> None:
        """Acknowledge a request."""
        self.requests.pop(packet_id, None)
        self.connection.carry(TO_BROKER, lambda: self._broker.acknowledge(self, packet_id))

    def flush(self) -> None:
        """Nothing is held back."""

    def dropped(self) -> None:
        """Nothing is gained by listening less often: time is virtual."""
        self.is_dropping = True

    def pause(self) -> None:
        """Listen no more for a while."""
        self._is_paused = True

    def resume(self) -> None:
        """Listen again."""
        self._is_paused = False
        held, self._held = self._held, []
        for message in held:
            self._take(message)

    def _take(self, message: Received) -> None:
        self.is_dropping = False
        if message.packet_id:
            self.requests[message.packet_id] = message.topic, message.payload
        self._received(message)


class ServiceConnection:
    """See `transport.Connection`."""

    def __init__(
        self,
        network: Network,
        process: Process,
        access: Access,
        received: Callable[[Received], None],
        confirmed: Callable[[int, int], None],
        *,
        keeps_session: bool = True,
        is_unwanted: Callable[[bytes], object] | None = None,
    ) -> None:
        self.lost: asyncio.Future[ConnectionLost] = process.create_future()
        self.link = ServiceLink(
            network,
            process,
            access.client_id,
            received=received,
            confirmed=confirmed,
            ended=self._ended,
            is_unwanted=is_unwanted,
        )
        self._keeps_session = keeps_session
        self._broker = network.broker
        self._process = process

    async def open(self) -> Accepted:
        """Connect. Raises ConnectionLost."""
        link = self.link
        is_present = await self._answer(
            lambda: self._broker.accept(link, link.connection, is_persistent=self._keeps_session)
        )
        if is_present is None:
            raise ConnectionLost("nobody answers")
        return Accepted(session_present=is_present)

    async def subscribe(self, topic_filters: list[str], qos: int = QOS) -> None:
        """Subscribe. Raises ConnectionLost."""
        await self._answer(lambda: self._broker.subscribe(self.link, topic_filters, qos))

    async def unsubscribe(self, topic_filters: list[str]) -> None:
        """Unsubscribe. Raises ConnectionLost."""
        await self._answer(lambda: self._broker.unsubscribe(self.link, topic_filters))

    async def close(self) -> None:
        """Let go."""
        self.link.cut()

    async def _answer(self, work: Callable[[], Any]) -> Any:
        answer: asyncio.Future[Any] = self._process.create_future()

        def answered(result: Any) -> None:
            if not answer.done():
                answer.set_result(result)

        self.link.call(work, answered)
        await asyncio.wait({answer, self.lost}, timeout=ANSWER_SECONDS_MAX)
        if not answer.done():
            self.link.cut()
            raise ConnectionLost("no answer")
        return answer.result()

    def _ended(self) -> None:
        if not self.lost.done():
            self.lost.set_result(ConnectionLost("the connection is gone"))
