"""The packets of MQTT 3.1.1 that the front reads or writes: parsed from whole frames, built into bytes.

Pure. What a client may not send raises MalformedFrame; what passes can be fed to amqtt without upsetting it.
"""

from typing import Final, NamedTuple

from thingjobs_broker.front.frames import MalformedFrame

ACCEPTED: Final = 0
UNACCEPTABLE_PROTOCOL: Final = 1
IDENTIFIER_REJECTED: Final = 2
NOT_AUTHORIZED: Final = 5
SUBSCRIPTION_REFUSED: Final = 0x80


class Connect(NamedTuple):
    """A CONNECT packet, as far as the front needs it."""

    protocol_name: str
    protocol_level: int
    clean_session: bool
    keep_alive_seconds: int
    client_id: str
    user_name: str | None


def parse_connect(frame: bytes) -> Connect:
    """Read a CONNECT (3.1). Of another protocol level only name and level are read; the rest is left empty.

    Raises:
        MalformedFrame: it is not a CONNECT, or not a well-formed one.
    """
    if frame[0] != 0x10:
        raise MalformedFrame(f"packet type {frame[0] >> 4} where CONNECT is due [MQTT-3.1.0-1]")
    name, position = string_at(frame, body_at(frame))
    level = byte_at(frame, position)
    if name != "MQTT" or level != 4:
        if name not in {"MQTT", "MQIsdp"}:
            raise MalformedFrame("unknown protocol name [MQTT-3.1.2-1]")
        return Connect(name, level, clean_session=True, keep_alive_seconds=0, client_id="", user_name=None)
    flags = byte_at(frame, position + 1)
    keep_alive_seconds = uint16_at(frame, position + 2)
    client_id, position = string_at(frame, position + 4)
    will = flags & 0x04
    if flags & 0x01 or (not will and flags & 0x38) or flags & 0x18 == 0x18 or flags & 0xC0 == 0x40:
        raise MalformedFrame(f"connect flags 0x{flags:02x} (3.1.2.3)")
    if will:
        will_topic, position = string_at(frame, position)
        check_topic(will_topic)
        position = skip_binary(frame, position)
    user_name = None
    if flags & 0x80:
        user_name, position = string_at(frame, position)
    if flags & 0x40:
        position = skip_binary(frame, position)
    if position != len(frame):
        raise MalformedFrame("CONNECT goes on after its last field")
    return Connect(name, level, bool(flags & 0x02), keep_alive_seconds, client_id, user_name)


def with_client_id(connect_frame: bytes, client_id: str) -> bytes:
    """The same CONNECT (level 4, with an empty client id) under a client id."""
    body = connect_frame[body_at(connect_frame) :]
    return build(0x10, body[:10] + encode_string(client_id) + body[12:])


def parse_publish(frame: bytes) -> tuple[str, int, int]:
    """Topic, packet id (0 with QoS 0) and where the payload begins in the frame (3.3).

    Raises:
        MalformedFrame: the topic is empty, has a wildcard or is no MQTT string, or the packet id is 0.
    """
    position = 2
    while frame[position - 1] & 128:
        position += 1
    try:
        topic_at = position + 2
        position = topic_at + (frame[position] << 8 | frame[position + 1])
        topic = str(frame[topic_at:position], "utf-8")
        if not topic or "\0" in topic or "+" in topic or "#" in topic or position > len(frame):
            check_topic(topic)
            raise MalformedFrame("PUBLISH ends within its topic")
        if not frame[0] & 6:
            return topic, 0, position
        packet_id = frame[position] << 8 | frame[position + 1]
    except IndexError:
        raise MalformedFrame("PUBLISH ends before its payload") from None
    except UnicodeDecodeError:
        raise MalformedFrame("topic is not UTF-8 [MQTT-1.5.3-1]") from None
    if not packet_id:
        raise MalformedFrame("packet id 0 [MQTT-2.3.1-1]")
    return topic, packet_id, position + 2


def parse_subscribe(frame: bytes) -> tuple[int, list[tuple[str, int]]]:
    """Packet id and the filters with the QoS asked for (3.8). An empty filter is returned, not refused.

    Raises:
        MalformedFrame: no filter, a reserved QoS, a string that is none, packet id 0.
    """
    packet_id, position = packet_id_at(frame, body_at(frame))
    wanted = []
    while position < len(frame):
        topic_filter, position = string_at(frame, position)
        qos = byte_at(frame, position)
        if qos > 2:
            raise MalformedFrame(f"requested QoS 0x{qos:02x} [MQTT-3.8.3-4]")
        wanted.append((topic_filter, qos))
        position += 1
    if not wanted:
        raise MalformedFrame("SUBSCRIBE without a filter [MQTT-3.8.3-3]")
    return packet_id, wanted


def parse_unsubscribe(frame: bytes) -> tuple[int, list[str]]:
    """Packet id and filters (3.10).

    Raises:
        MalformedFrame: no filter, a string that is none, packet id 0.
    """
    packet_id, position = packet_id_at(frame, body_at(frame))
    filters = []
    while position < len(frame):
        topic_filter, position = string_at(frame, position)
        filters.append(topic_filter)
    if not filters:
        raise MalformedFrame("UNSUBSCRIBE without a filter [MQTT-3.10.3-2]")
    return packet_id, filters


def parse_acknowledgment(frame: bytes) -> int:
    """The packet id of a PUBACK, PUBREC, PUBREL or PUBCOMP.

    Raises:
        MalformedFrame: it is 0.
    """
    return packet_id_at(frame, 2)[0]


def build(first: int, body: bytes) -> bytes:
    """A frame of a first byte and a body."""
    return bytes((first,)) + encode_length(len(body)) + body


def build_acknowledgment(first: int, packet_id: int) -> bytes:
    """A frame that holds a packet id alone: PUBACK 0x40, PUBREC 0x50, PUBCOMP 0x70, UNSUBACK 0xB0."""
    return bytes((first, 2, packet_id >> 8, packet_id & 255))


def build_subscribe(packet_id: int, wanted: list[tuple[str, int]]) -> bytes:
    """A SUBSCRIBE."""
    filters = b"".join(encode_string(topic_filter) + bytes((qos,)) for topic_filter, qos in wanted)
    return build(0x82, packet_id.to_bytes(2, "big") + filters)


def build_unsubscribe(packet_id: int, filters: list[str]) -> bytes:
    """An UNSUBSCRIBE."""
    return build(0xA2, packet_id.to_bytes(2, "big") + b"".join(map(encode_string, filters)))


def build_suback(packet_id: int, codes: list[int]) -> bytes:
    """A SUBACK: per filter the granted QoS or SUBSCRIPTION_REFUSED."""
    return build(0x90, packet_id.to_bytes(2, "big") + bytes(codes))


def parse_suback(frame: bytes) -> tuple[int, list[int]]:
    """Packet id and return codes of a SUBACK that amqtt wrote."""
    begin = body_at(frame)
    return uint16_at(frame, begin), list(frame[begin + 2 :])


def build_connack(return_code: int, *, session_present: bool = False) -> bytes:
    """A CONNACK."""
    return bytes((0x20, 2, session_present, return_code))


def publish_head(topic: str, payload_bytes: int, qos: int) -> bytes:
    """A PUBLISH up to its topic; with QoS 1 the packet id follows, then the payload. RETAIN and DUP are 0."""
    encoded = topic.encode()
    body_bytes = 2 + len(encoded) + (2 if qos else 0) + payload_bytes
    return bytes((0x30 | qos << 1,)) + encode_length(body_bytes) + len(encoded).to_bytes(2, "big") + encoded


def encode_length(count: int) -> bytes:
    """A remaining length in its one to four bytes (2.2.3)."""
    if count < 128:
        return bytes((count,))
    if count < 16_384:
        return bytes((count & 127 | 128, count >> 7))
    if count < 2_097_152:
        return bytes((count & 127 | 128, count >> 7 & 127 | 128, count >> 14))
    return bytes((count & 127 | 128, count >> 7 & 127 | 128, count >> 14 & 127 | 128, count >> 21))


def encode_string(text: str) -> bytes:
    """A string with its length in two bytes (1.5.3)."""
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def body_at(frame: bytes) -> int:
    """Where the body of a frame begins."""
    position = 2
    while frame[position - 1] & 128:
        position += 1
    return position


def byte_at(frame: bytes, position: int) -> int:
    """A byte; raises MalformedFrame where the frame has ended, as all of these do."""
    if position >= len(frame):
        raise MalformedFrame(f"packet type {frame[0] >> 4} ends within a field")
    return frame[position]


def uint16_at(frame: bytes, position: int) -> int:
    """A number of two bytes."""
    return byte_at(frame, position) << 8 | byte_at(frame, position + 1)


def packet_id_at(frame: bytes, position: int) -> tuple[int, int]:
    """A packet id, and where the next field begins."""
    packet_id = uint16_at(frame, position)
    if not packet_id:
        raise MalformedFrame("packet id 0 [MQTT-2.3.1-1]")
    return packet_id, position + 2


def skip_binary(frame: bytes, position: int) -> int:
    """Where the field after a length-prefixed one begins."""
    position += 2 + uint16_at(frame, position)
    if position > len(frame):
        raise MalformedFrame(f"packet type {frame[0] >> 4} ends within a field")
    return position


def string_at(frame: bytes, position: int) -> tuple[str, int]:
    """A string, and where the next field begins (1.5.3)."""
    after = skip_binary(frame, position)
    try:
        text = str(frame[position + 2 : after], "utf-8")
    except UnicodeDecodeError:
        raise MalformedFrame("string is not UTF-8 [MQTT-1.5.3-1]") from None
    if "\0" in text:
        raise MalformedFrame("string with a NUL [MQTT-1.5.3-2]")
    return text, after


def check_topic(topic: str) -> None:
    """Raises MalformedFrame for a topic that nobody may publish to."""
    if not topic:
        raise MalformedFrame("empty topic [MQTT-4.7.3-1]")
    if "\0" in topic:
        raise MalformedFrame("topic with a NUL [MQTT-4.7.3-2]")
    if "+" in topic or "#" in topic:
        raise MalformedFrame("topic with a wildcard [MQTT-3.3.2-2]")
