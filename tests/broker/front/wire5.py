"""The packets of MQTT 5 byte by byte, beside those of `wire` that are the same in both versions."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from tests.broker.front.wire import Wire, packet, string

EXPIRY, RECEIVE_MAXIMUM, PACKET_BYTES_MAX = 0x11, 0x21, 0x27
RESPONSE_TOPIC, CORRELATION, USER = 0x08, 0x09, 0x26


def properties(*found: tuple[int, bytes]) -> bytes:
    """Properties, their values encoded already, with their length (one byte is enough for tests)."""
    body = b"".join(bytes((name,)) + value for name, value in found)
    length = len(body)
    return (bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))) + body


def uint32(value: int) -> bytes:
    """Four bytes."""
    return struct.pack("!I", value)


def connect(
    client_id: str,
    *found: tuple[int, bytes],
    clean: bool = True,
    user: str | None = None,
    password: str | None = None,
    will: tuple[str, bytes] | None = None,
    will_properties: tuple[tuple[int, bytes], ...] = (),
    level: int = 5,
) -> bytes:
    """CONNECT."""
    flags = clean << 1 | (will is not None) << 2 | (password is not None) << 6 | (user is not None) << 7
    body = string("MQTT") + struct.pack("!BBH", level, flags, 60) + properties(*found) + string(client_id)
    if will is not None:
        body += properties(*will_properties) + string(will[0]) + string(will[1])
    for field in (user, password):
        if field is not None:
            body += string(field)
    return packet(0x10, body)


def publish(
    topic: str, payload: bytes = b"", *found: tuple[int, bytes], qos: int = 0, packet_id: int = 1
) -> bytes:
    """PUBLISH."""
    head = string(topic) + (struct.pack("!H", packet_id) if qos else b"")
    return packet(0x30 | qos << 1, head + properties(*found) + payload)


def acknowledgment(first: int, packet_id: int, reason_code: int | None = None) -> bytes:
    """PUBACK 0x40, PUBREC 0x50, PUBREL 0x62 or PUBCOMP 0x70."""
    code = b"" if reason_code is None else bytes((reason_code,))
    return packet(first, struct.pack("!H", packet_id) + code)


def subscribe(packet_id: int, *wanted: tuple[str, int], found: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    """SUBSCRIBE."""
    filters = b"".join(string(topic_filter) + bytes((options,)) for topic_filter, options in wanted)
    return packet(0x82, struct.pack("!H", packet_id) + properties(*found) + filters)


def unsubscribe(packet_id: int, *filters: str) -> bytes:
    """UNSUBSCRIBE."""
    return packet(0xA2, struct.pack("!H", packet_id) + b"\0" + b"".join(map(string, filters)))


def suback(packet_id: int, *codes: int) -> bytes:
    """SUBACK."""
    return packet(0x90, struct.pack("!H", packet_id) + b"\0" + bytes(codes))


def unsuback(packet_id: int, *codes: int) -> bytes:
    """UNSUBACK."""
    return packet(0xB0, struct.pack("!H", packet_id) + b"\0" + bytes(codes))


def disconnect(reason_code: int = 0, *found: tuple[int, bytes]) -> bytes:
    """DISCONNECT."""
    return packet(0xE0, bytes((reason_code,)) + (properties(*found) if found else b""))


class Connack(NamedTuple):
    """A CONNACK taken apart."""

    reason_code: int
    present: bool
    properties: dict[int, Any]


def parse_connack(frame: bytes) -> Connack:
    """Take a CONNACK apart."""
    assert frame[0] == 0x20, frame
    found: dict[int, Any] = {}
    at, end = 5, 5 + frame[4]
    assert end == len(frame)
    while at < end:
        name = frame[at]
        length = {0x11: 4, 0x27: 4, 0x21: 2, 0x22: 2, 0x12: 2 + int.from_bytes(frame[at + 1 : at + 3])}.get(
            name, 1
        )
        value = frame[at + 1 : at + 1 + length]
        found[name] = value[2:].decode() if name == 0x12 else int.from_bytes(value)
        at += 1 + length
    return Connack(frame[3], bool(frame[2]), found)


class Published(NamedTuple):
    """A PUBLISH taken apart; its properties as they stand there."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    dup: bool
    properties: bytes


def parse_publish(frame: bytes) -> Published:
    """Take a PUBLISH with less than 128 bytes of properties apart."""
    assert frame[0] >> 4 == 3, frame
    at = 2
    while frame[at - 1] & 128:
        at += 1
    topic_at, at = at + 2, at + 2 + int.from_bytes(frame[at : at + 2])
    topic, qos, packet_id = frame[topic_at:at].decode(), frame[0] >> 1 & 3, 0
    if qos:
        packet_id, at = int.from_bytes(frame[at : at + 2]), at + 2
    payload_at = at + 1 + frame[at]
    return Published(
        topic, frame[payload_at:], qos, packet_id, bool(frame[0] & 8), frame[at + 1 : payload_at]
    )


@asynccontextmanager
async def connected(
    port: int, client_id: str, *found: tuple[int, bytes], present: bool = False, **fields: Any
) -> AsyncIterator[Wire]:
    """An admitted client of MQTT 5."""
    async with Wire.dial(port) as wire:
        wire.send(connect(client_id, *found, **fields))
        connack = parse_connack(await wire.receive())
        assert (connack.reason_code, connack.present) == (0, present)
        yield wire


async def receive_publish(wire: Wire) -> Published:
    """The next frame, a PUBLISH."""
    return parse_publish(await wire.receive())


async def connack_of(port: int, frame: bytes) -> Connack:
    """The answer to a CONNECT."""
    async with Wire.dial(port) as wire:
        wire.send(frame)
        return parse_connack(await wire.receive())
