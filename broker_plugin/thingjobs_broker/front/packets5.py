"""The packets of MQTT 5 as far as they differ from MQTT 3.1.1: parsed from whole frames, built into bytes.

Pure. Clauses are of MQTT 5.0. What a client may not send raises MalformedFrame or ProtocolError, which carry
the reason code for the client. User properties, and others that change nothing here, are read and dropped.
"""

from typing import Final, NamedTuple

from thingjobs_broker.front import properties
from thingjobs_broker.front.frames import ANY_BYTES, MalformedFrame, frame_bytes_by_first_byte
from thingjobs_broker.front.packets import (
    body_at,
    build,
    byte_at,
    check_topic,
    encode_string,
    packet_id_at,
    skip_binary,
    string_at,
    uint16_at,
)
from thingjobs_broker.front.properties import (
    USER_PROPERTY,
    Name,
    Properties,
    ProtocolError,
    number_of,
    text_of,
)

PROTOCOL_LEVEL: Final = 5
FRAME_BYTES: Final = frame_bytes_by_first_byte(acknowledgment_bytes=ANY_BYTES, ends=(0xE0, 0xF0))
"""As in MQTT 3.1.1, but acknowledgments may be longer, and there is AUTH."""

# Reason codes (2.4).
SUCCESS: Final = 0x00
DISCONNECT_WITH_WILL: Final = 0x04
NO_SUBSCRIPTION_EXISTED: Final = 0x11
PROTOCOL_ERROR: Final = 0x82
NOT_AUTHORIZED: Final = 0x87
BAD_AUTHENTICATION_METHOD: Final = 0x8C
TOPIC_FILTER_INVALID: Final = 0x8F
PACKET_IDENTIFIER_IN_USE: Final = 0x91
TOPIC_ALIAS_INVALID: Final = 0x94
QUOTA_EXCEEDED: Final = 0x97
SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: Final = 0x9E
SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: Final = 0xA1
FAILURE: Final = 0x80
"""Codes from here on are failures."""

# What a client may put where.
_OF_CONNECT: Final = {0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, USER_PROPERTY, 0x27}
_OF_WILL: Final = {0x01, 0x02, 0x03, 0x08, 0x09, 0x18, USER_PROPERTY}
_OF_PUBLISH: Final = {0x01, 0x02, 0x03, 0x08, 0x09, 0x23, USER_PROPERTY}
_OF_ACKNOWLEDGMENT: Final = {0x1F, USER_PROPERTY}
_OF_SUBSCRIBE: Final = {0x0B, USER_PROPERTY}
_OF_UNSUBSCRIBE: Final = {USER_PROPERTY}
_OF_DISCONNECT: Final = {0x11, 0x1F, USER_PROPERTY}


class Connect(NamedTuple):
    """A CONNECT (3.1), but for the properties that change nothing, and for all of the will's."""

    clean_start: bool
    keep_alive_seconds: int
    client_id: str
    session_expiry_seconds: int
    receive_maximum: int
    packet_bytes_max: int
    """0: no limit."""
    authentication_method: str | None
    flags: int
    after_client_id: bytes
    """Will, user name and password, as MQTT 3.1.1 has them."""


class Publish(NamedTuple):
    """What a PUBLISH has that MQTT 3.1.1 lacks, and the frame without it."""

    topic: str
    packet_id: int
    response_topic: str | None
    correlation: bytes | None
    frame: bytes


def parse_connect(frame: bytes) -> Connect:
    """Read a CONNECT of level 5.

    Raises:
        MalformedFrame: it is no well-formed one.
    """
    position = body_at(frame) + 7
    flags = byte_at(frame, position)
    keep_alive_seconds = uint16_at(frame, position + 1)
    found, position = properties.parse(frame, position + 3, _OF_CONNECT)
    client_id, position = string_at(frame, position)
    will = flags & 0x04
    if flags & 0x01 or (not will and flags & 0x38) or flags & 0x18 == 0x18:
        raise MalformedFrame(f"connect flags 0x{flags:02x} (3.1.2.3)")
    rest_at = position
    fields = b""
    if will:
        _, rest_at = properties.parse(frame, position, _OF_WILL)
        _, position = string_at(frame, rest_at)
        position = skip_binary(frame, position)
    if flags & 0x80:
        position = skip_binary(frame, position)
    elif flags & 0x40:
        # A password alone is new; with an empty user name it means the same to MQTT 3.1.1.
        flags |= 0x80
        fields = frame[rest_at:position] + encode_string("")
        rest_at = position
    if flags & 0x40:
        position = skip_binary(frame, position)
    if position != len(frame):
        raise MalformedFrame("CONNECT goes on after its last field")
    for name in (Name.RECEIVE_MAXIMUM, Name.MAXIMUM_PACKET_SIZE):
        if found.get(name) == 0:
            raise ProtocolError(f"property 0x{name:02x} is 0 (3.1.2.11)")
    return Connect(
        bool(flags & 0x02),
        keep_alive_seconds,
        client_id,
        number_of(found, Name.SESSION_EXPIRY_INTERVAL, 0),
        number_of(found, Name.RECEIVE_MAXIMUM, 65_535),
        number_of(found, Name.MAXIMUM_PACKET_SIZE, 0),
        text_of(found, Name.AUTHENTICATION_METHOD),
        flags,
        fields + frame[rest_at:],
    )


def connect_311(connect: Connect, client_id: str) -> bytes:
    """The CONNECT of MQTT 3.1.1 that says what one of MQTT 5 says, but for the end of the session."""
    head = encode_string("MQTT") + bytes((4, connect.flags)) + connect.keep_alive_seconds.to_bytes(2, "big")
    return build(0x10, head + encode_string(client_id) + connect.after_client_id)


def parse_publish(frame: bytes) -> Publish:
    """Read a PUBLISH (3.3) and make one of MQTT 3.1.1 of it.

    Raises:
        MalformedFrame: it is no well-formed one.
        ProtocolError: it has a topic alias, for which no room was offered (3.2.2.3.8).
    """
    begin = body_at(frame)
    topic, position = string_at(frame, begin)
    packet_id = 0
    if frame[0] & 6:
        packet_id, position = packet_id_at(frame, position)
    found, payload_at = properties.parse(frame, position, _OF_PUBLISH)
    if Name.TOPIC_ALIAS in found:
        raise ProtocolError("topic alias; none are taken", TOPIC_ALIAS_INVALID)
    check_topic(topic)
    response_topic = text_of(found, Name.RESPONSE_TOPIC)
    if response_topic is not None:
        check_topic(response_topic)
    correlation = found.get(Name.CORRELATION_DATA)
    assert correlation is None or isinstance(correlation, bytes)
    return Publish(
        topic,
        packet_id,
        response_topic,
        correlation,
        build(frame[0], frame[begin:position] + frame[payload_at:]),
    )


def parse_acknowledgment(frame: bytes) -> tuple[int, int]:
    """Packet id and reason code of a PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7).

    Raises:
        MalformedFrame: it is no well-formed one.
    """
    packet_id, position = packet_id_at(frame, body_at(frame))
    return packet_id, _reason_and_properties(frame, position, _OF_ACKNOWLEDGMENT)[0]


def parse_disconnect(frame: bytes) -> tuple[int, int | None]:
    """Reason code and session expiry interval of a DISCONNECT (3.14).

    Raises:
        MalformedFrame: it is no well-formed one.
    """
    reason_code, found = _reason_and_properties(frame, body_at(frame), _OF_DISCONNECT)
    expiry = found.get(Name.SESSION_EXPIRY_INTERVAL)
    return reason_code, expiry if isinstance(expiry, int) else None


def parse_subscribe(frame: bytes) -> tuple[int, list[tuple[str, int]]]:
    """Packet id and the filters with the QoS asked for (3.8). Other options are read and dropped.

    Raises:
        MalformedFrame: no filter, reserved bits in the options, a string that is none, packet id 0.
        ProtocolError: it has a subscription identifier, which is not offered.
    """
    packet_id, position = packet_id_at(frame, body_at(frame))
    found, position = properties.parse(frame, position, _OF_SUBSCRIBE)
    if Name.SUBSCRIPTION_IDENTIFIER in found:
        raise ProtocolError("subscription identifier; none are taken", SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED)
    wanted = []
    while position < len(frame):
        topic_filter, position = string_at(frame, position)
        options = byte_at(frame, position)
        if options & 0xC0 or options & 0x03 == 3 or options & 0x30 == 0x30:
            raise MalformedFrame(f"subscription options 0x{options:02x} (3.8.3.1)")
        wanted.append((topic_filter, options & 3))
        position += 1
    if not wanted:
        raise ProtocolError("SUBSCRIBE without a filter (3.8.3)")
    return packet_id, wanted


def parse_unsubscribe(frame: bytes) -> tuple[int, list[str]]:
    """Packet id and filters (3.10).

    Raises:
        MalformedFrame: no filter, a string that is none, packet id 0.
    """
    packet_id, position = packet_id_at(frame, body_at(frame))
    _, position = properties.parse(frame, position, _OF_UNSUBSCRIBE)
    filters = []
    while position < len(frame):
        topic_filter, position = string_at(frame, position)
        filters.append(topic_filter)
    if not filters:
        raise ProtocolError("UNSUBSCRIBE without a filter (3.10.3)")
    return packet_id, filters


def build_connack(reason_code: int, extra: Properties, *, session_present: bool = False) -> bytes:
    """A CONNACK (3.2)."""
    return build(0x20, bytes((session_present, reason_code)) + properties.build(extra))


def publish_of_311(frame: bytes, extra: Properties) -> bytes:
    """A PUBLISH of MQTT 5, made from one of MQTT 3.1.1."""
    begin = body_at(frame)
    end = skip_binary(frame, begin) + (2 if frame[0] & 6 else 0)
    return build(frame[0], frame[begin:end] + properties.build(extra) + frame[end:])


def build_refused(first: int, packet_id: int, reason_code: int) -> bytes:
    """A PUBACK (first byte 0x40) or PUBREC (0x50) with a reason code."""
    return bytes((first, 3, packet_id >> 8, packet_id & 255, reason_code))


def build_codes(first: int, packet_id: int, codes: list[int]) -> bytes:
    """A SUBACK (first byte 0x90) or UNSUBACK (0xB0)."""
    return build(first, packet_id.to_bytes(2, "big") + b"\0" + bytes(codes))


def build_disconnect(reason_code: int) -> bytes:
    """A DISCONNECT (3.14)."""
    return bytes((0xE0, 1, reason_code))


def _reason_and_properties(frame: bytes, position: int, allowed: set[int]) -> tuple[int, Properties]:
    """Both may be left out at the end of a packet."""
    if position == len(frame):
        return SUCCESS, {}
    reason_code = frame[position]
    if position + 1 == len(frame):
        return reason_code, {}
    found, position = properties.parse(frame, position + 1, allowed)
    if position != len(frame):
        raise MalformedFrame(f"packet type {frame[0] >> 4} goes on after its properties")
    return reason_code, found
