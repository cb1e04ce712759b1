"""An MQTT client of bare packets on asyncio, for dozens of them in one process: requests in, answers out."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

from tests.broker.front import wire

CONNECT_SECONDS_MAX = 10.0


class Client(asyncio.Protocol):
    """One connection, and whatever follows it when it is lost.

    `heard(topic, body)` is called for every message. Everything that waits raises ConnectionError when the
    connection ends.
    """

    def __init__(
        self, client_id: str, filters: list[str], heard: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.client_id = client_id
        self._filters = filters
        self._heard = heard
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._packet_id = 0
        self._waiting: dict[tuple[int, int], asyncio.Future[bytes]] = {}
        """By kind and packet id of what is to come."""

    async def connect(self, port: int) -> None:
        """Connect anew, and return once subscribed; raises ConnectionError."""
        self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await loop.create_connection(lambda: self, "127.0.0.1", port)
                connack = await self._ask(wire.connect(self.client_id), wire.CONNACK, 0)
                if connack[1]:
                    raise ConnectionRefusedError(f"return code {connack[1]}")
                wanted = [(name, 1) for name in self._filters]
                packet_id = self._next_id()
                await self._ask(wire.subscribe(packet_id, *wanted), wire.SUBACK, packet_id)
        except TimeoutError as error:
            raise ConnectionAbortedError("the broker does not answer") from error

    async def publish(self, topic: str, body: dict[str, Any]) -> None:
        """Publish at QoS 1, and return when it is acknowledged."""
        packet_id = self._next_id()
        frame = wire.publish(topic, json.dumps(body).encode(), qos=1, packet_id=packet_id)
        await self._ask(frame, wire.PUBACK, packet_id)

    @property
    def is_connected(self) -> bool:
        """Whether nothing has ended the connection yet."""
        return self._transport is not None

    def close(self) -> None:
        """End the connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()
            self._lose()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def connection_lost(self, _: Exception | None) -> None:
        """Whoever waits learns it; the end of a connection before this one is old news."""
        if self._transport is not None and self._transport.is_closing():
            self._lose()

    def data_received(self, data: bytes) -> None:
        """Take whole frames off the stream."""
        self._buffer += data
        while len(self._buffer) > 1:
            end, length, shift = 1, 0, 0
            while end < len(self._buffer):
                digit = self._buffer[end]
                length |= (digit & 127) << shift
                shift, end = shift + 7, end + 1
                if digit < 128:
                    break
            else:
                return
            if len(self._buffer) < end + length:
                return
            frame, self._buffer = self._buffer[: end + length], self._buffer[end + length :]
            self._arrived(frame, frame[end:])

    # Helpers

    async def _ask(self, frame: bytes, kind: int, packet_id: int) -> bytes:
        if self._transport is None:
            raise ConnectionResetError("not connected")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[kind, packet_id] = answer
        self._transport.write(frame)
        try:
            return await answer
        finally:
            self._waiting.pop((kind, packet_id), None)

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    def _arrived(self, frame: bytes, body: bytes) -> None:
        kind = frame[0] >> 4
        if kind == wire.PUBLISH:
            found = wire.parse_publish(frame)
            # Heard before it is acknowledged, as everybody should.
            self._heard(found.topic, json.loads(found.payload))
            if found.qos and self._transport is not None:
                self._transport.write(wire.puback(found.packet_id))
            return
        packet_id = 0 if kind == wire.CONNACK else int.from_bytes(body[:2])
        waiting = self._waiting.pop((kind, packet_id), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(body)

    def _lose(self) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            if not one.done():
                one.set_exception(ConnectionResetError("the connection was lost"))
                # Nobody may wait for it any more.
                one.exception()
