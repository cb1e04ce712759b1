"""PUBLISH and PUBACK as the sidecar reads and writes them itself, in MQTT 3.1.1 and 5. Pure.

All other packets are paho's. What a broker may not send raises MalformedFrame.
"""

from __future__ import annotations

from typing import Final

import msgspec

from thingjobs_broker.front import packets, packets5, properties
from thingjobs_broker.front.frames import MalformedFrame
from thingjobs_broker.front.properties import Name

QOS: Final = 1

_OF_PUBLISH: Final = {0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, properties.USER_PROPERTY}
"""What a broker may put there: no topic alias, for none was offered."""
_NONE: Final[properties.Properties] = {}


class Received(msgspec.Struct, frozen=True, gc=False):
    """A PUBLISH that has arrived. `packet_id` is 0 with QoS 0; `topic` is empty where it is not UTF-8."""

    topic: str
    payload: bytes
    packet_id: int
    dup: bool
    retain: bool
    response_topic: str | None = None
    correlation: bytes | None = None


def topic_of(frame: bytes) -> bytes:
    """Return the topic of a PUBLISH as it stands there, and read no more of it."""
    begin = packets.body_at(frame) + 2
    return frame[begin : begin + (frame[begin - 2] << 8 | frame[begin - 1])]


def parse_publish(frame: bytes, *, mqtt_5: bool) -> Received:
    """Read a PUBLISH (3.3).

    Raises:
        MalformedFrame: it ends too soon, or has a QoS or a property that was not asked for.

    """
    first, begin = frame[0], packets.body_at(frame)
    if first & 4:
        raise MalformedFrame("PUBLISH of a QoS over 1")
    end = packets.skip_binary(frame, begin)
    packet_id, position = packets.packet_id_at(frame, end) if first & 2 else (0, end)
    found = _NONE
    if mqtt_5 and packets.byte_at(frame, position):
        found, position = properties.parse(frame, position, _OF_PUBLISH)
    elif mqtt_5:
        position += 1
    try:
        topic = str(frame[begin + 2 : end], "utf-8")
    except UnicodeDecodeError:
        topic = ""
    dup, retain = first & 8 != 0, first & 1 != 0
    if not found:
        return Received(topic, frame[position:], packet_id, dup, retain)
    correlation = found.get(Name.CORRELATION_DATA)
    assert correlation is None or isinstance(correlation, bytes)
    response_topic = properties.text_of(found, Name.RESPONSE_TOPIC)
    return Received(topic, frame[position:], packet_id, dup, retain, response_topic, correlation)


def build_publish(
    packet_id: int, topic: str, payload: bytes, correlation: bytes | None, *, mqtt_5: bool
) -> bytes:
    """Return a PUBLISH of QoS 1, neither DUP nor RETAIN. MQTT 3.1.1 has no place for `correlation`."""
    extra = b""
    if mqtt_5:
        extra = b"\0" if correlation is None else properties.build({Name.CORRELATION_DATA: correlation})
    head = packets.publish_head(topic, len(extra) + len(payload), QOS)
    return b"".join((head, packet_id.to_bytes(2, "big"), extra, payload))


def parse_puback(frame: bytes) -> tuple[int, int]:
    """Return packet id and reason code of a PUBACK (3.4); the code is 0 before MQTT 5.

    Raises:
        MalformedFrame: it is no well-formed one.

    """
    if len(frame) == 4:
        return frame[2] << 8 | frame[3], packets5.SUCCESS
    return packets5.parse_acknowledgment(frame)


def build_puback(packet_id: int) -> bytes:
    """Return a PUBACK that says success."""
    return packets.build_acknowledgment(0x40, packet_id)
