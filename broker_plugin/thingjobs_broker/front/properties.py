"""The properties of MQTT 5 packets (2.2.2): read and written. Pure.

User properties are read and dropped. What a client may not send raises MalformedFrame or ProtocolError.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from thingjobs_broker.front.frames import MalformedFrame
from thingjobs_broker.front.packets import (
    byte_at,
    encode_length,
    encode_string,
    skip_binary,
    string_at,
    uint16_at,
)

USER_PROPERTY: Final = 0x26


class Name(IntEnum):
    """The properties that mean something to the front."""

    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    AUTHENTICATION_METHOD = 0x15
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    RETAIN_AVAILABLE = 0x25
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIERS_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


_BYTE, _UINT16, _UINT32, _VARIABLE, _STRING, _BINARY, _PAIR = range(1, 8)
_TYPES: Final = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), _BYTE),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), _UINT16),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), _UINT32),
    **dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F), _STRING),
    **dict.fromkeys((0x09, 0x16), _BINARY),
    0x0B: _VARIABLE,
    USER_PROPERTY: _PAIR,
}
Value = int | str | bytes
Properties = Mapping[int, Value]
"""By identifier."""


class ProtocolError(MalformedFrame):
    """The packet can be read, but says what it must not, or what is not offered here."""

    def __init__(self, message: str, reason_code: int = 0x82) -> None:
        super().__init__(message)
        self.reason_code = reason_code


def parse(frame: bytes, position: int, allowed: set[int]) -> tuple[dict[int, Value], int]:
    """Properties by their identifier, without user properties, and where the field behind them begins.

    Raises:
        MalformedFrame: they do not fit in the frame, or one is unknown.
        ProtocolError: one has no place in this packet, or stands there twice.
    """
    length, position = _variable(frame, position)
    end = position + length
    if end > len(frame):
        raise MalformedFrame("properties go on after the frame")
    properties: dict[int, Value] = {}
    while position < end:
        name, position = _variable(frame, position)
        if name not in _TYPES:
            raise MalformedFrame(f"unknown property 0x{name:02x} (2.2.2.2)")
        if name not in allowed or name in properties:
            raise ProtocolError(f"property 0x{name:02x} in a packet of type {frame[0] >> 4} (2.2.2.2)")
        value, position = _value(frame, position, _TYPES[name])
        if value is not None:
            properties[name] = value
    if position != end:
        raise MalformedFrame("the last property goes on after the properties")
    return properties, position


def build(properties: Properties) -> bytes:
    """Properties with their length."""
    encoded = b"".join(bytes((name,)) + _encoded(name, value) for name, value in properties.items())
    return encode_length(len(encoded)) + encoded


def _value(frame: bytes, position: int, kind: int) -> tuple[Value | None, int]:
    if kind == _BYTE:
        return byte_at(frame, position), position + 1
    if kind == _UINT16:
        return uint16_at(frame, position), position + 2
    if kind == _UINT32:
        return uint16_at(frame, position) << 16 | uint16_at(frame, position + 2), position + 4
    if kind == _VARIABLE:
        return _variable(frame, position)
    if kind == _STRING:
        return string_at(frame, position)
    if kind == _PAIR:
        _, position = string_at(frame, position)
        return None, string_at(frame, position)[1]
    end = skip_binary(frame, position)
    return frame[position + 2 : end], end


def _variable(frame: bytes, position: int) -> tuple[int, int]:
    """A variable byte integer (1.5.5)."""
    value = 0
    for shift in (0, 7, 14, 21):
        byte = byte_at(frame, position)
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise MalformedFrame("variable byte integer of more than four bytes (1.5.5)")


def _encoded(name: int, value: Value) -> bytes:
    if isinstance(value, str):
        return encode_string(value)
    if isinstance(value, bytes):
        return len(value).to_bytes(2, "big") + value
    kind = _TYPES[name]
    if kind == _VARIABLE:
        return encode_length(value)
    return value.to_bytes({_BYTE: 1, _UINT16: 2, _UINT32: 4}[kind], "big")


def number_of(properties: Properties, name: Name, default: int) -> int:
    """A property that is a number."""
    value = properties.get(name, default)
    assert isinstance(value, int)
    return value


def text_of(properties: Properties, name: Name) -> str | None:
    """A property that is a string."""
    value = properties.get(name)
    assert value is None or isinstance(value, str)
    return value
