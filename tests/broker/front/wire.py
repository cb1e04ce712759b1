"""A client that speaks MQTT 3.1.1 byte by byte, so that tests can say what no library would."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Self

PATIENCE_SECONDS = 10
CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9


def packet(first: int, body: bytes = b"") -> bytes:
    """Any packet."""
    length, encoded = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | 128 if length else digit)
        if not length:
            return bytes((first, *encoded)) + body


def string(text: str | bytes) -> bytes:
    """A length-prefixed string."""
    encoded = text.encode() if isinstance(text, str) else text
    return struct.pack("!H", len(encoded)) + encoded


def connect(
    client_id: str,
    *,
    clean: bool = True,
    keep_alive: int = 60,
    user: str | None = None,
    password: str | None = None,
    will: tuple[str, bytes] | None = None,
    level: int = 4,
    name: str = "MQTT",
) -> bytes:
    """CONNECT."""
    flags = clean << 1 | (will is not None) << 2 | (password is not None) << 6 | (user is not None) << 7
    body = string(name) + struct.pack("!BBH", level, flags, keep_alive) + string(client_id)
    for field in (*(will or ()), user, password):
        if field is not None:
            body += string(field)
    return packet(0x10, body)


def publish(
    topic: str | bytes,
    payload: bytes = b"",
    *,
    qos: int = 0,
    packet_id: int = 1,
    dup: bool = False,
    retain: bool = False,
) -> bytes:
    """PUBLISH."""
    first = 0x30 | dup << 3 | qos << 1 | retain
    return packet(first, string(topic) + (struct.pack("!H", packet_id) if qos else b"") + payload)


def subscribe(packet_id: int, *wanted: tuple[str, int]) -> bytes:
    """SUBSCRIBE."""
    filters = b"".join(string(topic_filter) + bytes((qos,)) for topic_filter, qos in wanted)
    return packet(0x82, struct.pack("!H", packet_id) + filters)


def unsubscribe(packet_id: int, *filters: str) -> bytes:
    """UNSUBSCRIBE."""
    return packet(0xA2, struct.pack("!H", packet_id) + b"".join(map(string, filters)))


def suback(packet_id: int, *codes: int) -> bytes:
    """SUBACK."""
    return packet(0x90, struct.pack("!H", packet_id) + bytes(codes))


def unsuback(packet_id: int) -> bytes:
    """UNSUBACK."""
    return packet(0xB0, struct.pack("!H", packet_id))


def puback(packet_id: int) -> bytes:
    """PUBACK."""
    return packet(0x40, struct.pack("!H", packet_id))


def pubrec(packet_id: int) -> bytes:
    """PUBREC."""
    return packet(0x50, struct.pack("!H", packet_id))


def pubrel(packet_id: int) -> bytes:
    """PUBREL."""
    return packet(0x62, struct.pack("!H", packet_id))


def pubcomp(packet_id: int) -> bytes:
    """PUBCOMP."""
    return packet(0x70, struct.pack("!H", packet_id))


PINGREQ = packet(0xC0)
PINGRESP = packet(0xD0)
DISCONNECT = packet(0xE0)


def connack(code: int = 0, *, present: bool = False) -> bytes:
    """CONNACK."""
    return bytes((0x20, 2, present, code))


class Published(NamedTuple):
    """A PUBLISH taken apart."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    dup: bool
    retain: bool


def parse_publish(frame: bytes) -> Published:
    """Take a PUBLISH apart."""
    assert frame[0] >> 4 == 3, frame
    at = 2
    while frame[at - 1] & 128:
        at += 1
    topic_bytes = int.from_bytes(frame[at : at + 2])
    topic = frame[at + 2 : at + 2 + topic_bytes].decode()
    at += 2 + topic_bytes
    qos, packet_id = frame[0] >> 1 & 3, 0
    if qos:
        packet_id = int.from_bytes(frame[at : at + 2])
        at += 2
    return Published(topic, frame[at:], qos, packet_id, bool(frame[0] & 8), bool(frame[0] & 1))


class Wire:
    """A socket to a broker, with whole frames coming out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def dial(cls, port: int, **options: object) -> AsyncIterator[Self]:
        """A socket, nothing said yet. The options are those of asyncio.open_connection."""
        wire = cls(*await asyncio.open_connection("127.0.0.1", port, **options))  # type: ignore[arg-type]
        try:
            yield wire
        finally:
            await wire.hang_up()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, port: int, client_id: str, *, present: bool = False, **fields: object
    ) -> AsyncIterator[Self]:
        """An admitted client."""
        async with cls.dial(port) as wire:
            wire.send(connect(client_id, **fields))  # type: ignore[arg-type]
            await wire.expect(connack(present=present))
            yield wire

    def send(self, *frames: bytes) -> None:
        """Write."""
        self.writer.write(b"".join(frames))

    async def receive(self) -> bytes:
        """The next frame."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            frame = await self.reader.readexactly(2)
            length, shift = frame[1] & 127, 7
            while frame[-1] & 128:
                frame += await self.reader.readexactly(1)
                length |= (frame[-1] & 127) << shift
                shift += 7
            return frame + await self.reader.readexactly(length)

    async def expect(self, *frames: bytes) -> None:
        """The next frames are these."""
        for frame in frames:
            assert await self.receive() == frame

    async def receive_publish(self) -> Published:
        """The next frame, a PUBLISH."""
        return parse_publish(await self.receive())

    async def expect_silence(self) -> None:
        """Nothing but the answer to a PINGREQ comes, which all that was said before precedes."""
        self.send(PINGREQ)
        await self.expect(PINGRESP)

    async def expect_end(self) -> None:
        """The broker closes; what is left unread is not looked at."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass

    async def hang_up(self) -> None:
        """Close without a goodbye."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()
