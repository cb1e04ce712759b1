"""A client of the jobs service that watches every byte: what holds for all messages is checked on each.

Built on the byte-level `Wire`, so that a test can say what no library would.
"""

import asyncio
import itertools
import json
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

from tests.broker.front import wire
from tests.broker.front.wire import Wire
from tests.end_to_end.wire_fixtures import new_name

DOCUMENT = '{"operation": "install"}'


class Arrived(NamedTuple):
    """A message that was delivered."""

    topic: str
    body: dict[str, Any]
    qos: int = 1

    @property
    def ending(self) -> str:
        """The last level: accepted, rejected, notify, notify-next, or what an event is about."""
        return self.topic.rpartition("/")[2]


class JobsClient:
    """An admitted client with an empty session. Acknowledges at once whatever it gets."""

    line: Wire

    def __init__(self, port: int, client_id: str) -> None:
        self.client_id = client_id
        self._port = port
        self._filters: list[tuple[str, int]] = []
        self._packet_ids = itertools.count(1)
        self._arrived: deque[Arrived] = deque()
        self._unacknowledged: set[int] = set()
        self._own: Counter[tuple[str, bytes]] = Counter()
        """What a broker hands back to its sender, whose filter covers it too."""
        self._sentinels: Counter[str] = Counter()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, port: int, *filters: str, qos: int = 1, client_id: str = "", **fields: Any
    ) -> AsyncIterator[Self]:
        """A client that is subscribed."""
        client = cls(port, client_id or new_name("client"))
        await client.open(**fields)
        try:
            await client.subscribe(*filters, qos=qos)
            yield client
        finally:
            await client.line.hang_up()

    async def open(self, *, present: bool = False, **fields: Any) -> None:
        """Open the connection."""
        self.line = Wire(*await asyncio.open_connection("127.0.0.1", self._port))
        self.line.send(wire.connect(self.client_id, keep_alive=0, **fields))
        await self.line.expect(wire.connack(present=present))

    async def reconnect(self) -> None:
        """Come back without a session, as after a restart of the broker, and subscribe again."""
        await self.line.hang_up()
        await self.open()
        filters, self._filters = self._filters, []
        for topic_filter, qos in filters:
            await self.subscribe(topic_filter, qos=qos)

    async def subscribe(self, *filters: str, qos: int = 1) -> list[int]:
        """Subscribe and wait for the SUBACK; return its codes."""
        codes: list[int] = []
        for topic_filter in filters:
            packet_id = next(self._packet_ids)
            self.line.send(wire.subscribe(packet_id, (topic_filter, qos)))
            while (frame := await self.line.receive())[0] >> 4 != 9:
                self._take(frame)
            assert frame[2:4] == packet_id.to_bytes(2, "big"), frame
            codes += frame[4:]
            self._filters.append((topic_filter, qos))
        return codes

    def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, **flags: Any) -> int:
        """Publish; an object is sent as JSON. Returns the packet id."""
        data = encoded(payload)
        packet_id = flags.pop("packet_id", None) or next(self._packet_ids)
        self.line.send(wire.publish(topic, data, qos=qos, packet_id=packet_id, **flags))
        self._own[topic, data] += 1
        if qos:
            self._unacknowledged.add(packet_id)
        return packet_id

    async def receive(self) -> Arrived:
        """The next message that is not our own."""
        while not self._arrived:
            self._take(await self.line.receive())
        return self._arrived.popleft()

    async def settle(self, last: str = "get") -> list[Arrived]:
        """All that arrives before the answer to a request sent now: nothing else is under way then.

        Beside a broker what names no operation takes another way than requests: settle with such a `last`.
        """
        self._sentinels[last] += 1
        jobs = f"$aws/things/{self.client_id}/jobs"
        topic = f"{jobs}/sentinel-{self._sentinels[last]}/{last}"
        if self._sentinels[last] == 1:
            await self.subscribe(f"{jobs}/+/{last}/rejected")
        self.publish(topic)
        found = []
        while (message := await self.receive()).topic != f"{topic}/rejected":
            found.append(message)
        return found

    async def ask(self, topic: str, payload: Any = b"", **flags: Any) -> list[Arrived]:
        """Publish, and return what comes of it."""
        self.publish(topic, payload, **flags)
        if flags.get("qos") == 2:
            # A broker may pass it on only when it is released, behind what was published later.
            await self.acknowledged()
        return await self.settle()

    async def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """Carry out a control-plane operation that must succeed; return its answer."""
        topic = f"$aws/control/{self.client_id}/{operation}"
        await self.subscribe(f"{topic}/+")
        answers = [one for one in await self.ask(topic, members) if one.topic.startswith(f"{topic}/")]
        assert [one.ending for one in answers] == ["accepted"], answers
        return answers[0].body

    async def acknowledged(self) -> None:
        """Return once everything that was published is acknowledged."""
        while self._unacknowledged:
            self._take(await self.line.receive())

    async def hear(self, frame: bytes) -> None:
        """Return at the frame; others that come before are left unacknowledged."""
        while await self.line.receive() != frame:
            pass

    def _take(self, frame: bytes) -> None:
        """Deal with a frame, and check what holds for all messages (data plane 1.5)."""
        kind, packet_id = frame[0] >> 4, int.from_bytes(frame[2:4])
        if kind == 5:
            self.line.send(wire.pubrel(packet_id))
        elif kind != 3:
            assert kind in {4, 7}, frame
            self._unacknowledged.remove(packet_id)
        else:
            message = wire.parse_publish(frame)
            if message.qos:
                self.line.send(wire.puback(message.packet_id))
            if self._own[message.topic, message.payload]:
                self._own[message.topic, message.payload] -= 1
                return
            assert (message.retain, message.dup, message.qos > 1) == (False, False, False), message
            self._arrived.append(Arrived(message.topic, json.loads(message.payload), message.qos))


def encoded(payload: Any) -> bytes:
    """The bytes of a payload."""
    if isinstance(payload, bytes):
        return payload
    return payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


def call_once(port: int, operation: str, **members: Any) -> dict[str, Any]:
    """Carry out a control-plane operation that must succeed, for tests without an event loop."""

    async def call() -> dict[str, Any]:
        async with JobsClient.connect(port) as client:
            return await client.call(operation, **members)

    return asyncio.run(call())
