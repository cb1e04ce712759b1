"""PUBLISH and PUBACK as the sidecar reads and writes them, against bytes written out here by the standard."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingjobs_broker.data_packets import (
    Received,
    build_puback,
    build_publish,
    parse_puback,
    parse_publish,
)
from thingjobs_broker.front.frames import MalformedFrame
from thingjobs_broker.front.properties import ProtocolError

TOPIC = "$aws/things/press-7/jobs/get"
HEAD = bytes((0, len(TOPIC))) + TOPIC.encode()


def frame(first: int, body: bytes) -> bytes:
    """A packet with a body of less than 128 bytes."""
    return bytes((first, len(body))) + body


@pytest.mark.parametrize("mqtt_5", [False, True])
def test_a_publish_is_read(mqtt_5: bool) -> None:
    """Topic, packet id and payload; MQTT 5 has the length of the properties between them (3.3.2)."""
    none = b"\0" if mqtt_5 else b""
    found = parse_publish(frame(0x32, HEAD + b"\x12\x34" + none + b"{}"), mqtt_5=mqtt_5)
    assert found == Received(TOPIC, b"{}", 0x1234, dup=False, retain=False)


def test_the_flags_of_a_publish_are_read() -> None:
    """DUP, RETAIN, and QoS 0, which has no packet id (3.3.1)."""
    again = parse_publish(frame(0x3A, HEAD + b"\0\1"), mqtt_5=False)
    assert (again.dup, again.retain, again.packet_id) == (True, False, 1)
    kept = parse_publish(frame(0x31, HEAD + b"x"), mqtt_5=False)
    assert kept == Received(TOPIC, b"x", 0, dup=False, retain=True)


def test_a_response_topic_and_correlation_data_are_read() -> None:
    """Other properties are passed over: here a user property and a subscription identifier (3.3.2.3)."""
    inside = b"\x08\0\2in\x26\0\1k\0\1v\x0b\x07\x09\0\3\0\xff1"
    found = parse_publish(frame(0x32, HEAD + b"\0\1" + bytes((len(inside),)) + inside + b"{}"), mqtt_5=True)
    assert (found.response_topic, found.correlation, found.payload) == ("in", b"\0\xff1", b"{}")


def test_a_long_publish_is_read() -> None:
    """The remaining length takes up to four bytes (2.1.4)."""
    body = HEAD + b"\0\1" + b"x" * 20_000
    long = bytes((0x32, len(body) & 127 | 128, len(body) >> 7 & 127 | 128, len(body) >> 14)) + body
    assert parse_publish(long, mqtt_5=False).payload == b"x" * 20_000


def test_a_topic_that_is_not_utf_8_is_empty() -> None:
    """So that it can be acknowledged, and does not come again and again."""
    found = parse_publish(frame(0x32, b"\0\2\xff\xfe\0\7x"), mqtt_5=False)
    assert (found.topic, found.packet_id) == ("", 7)


@pytest.mark.parametrize(
    "packet",
    [
        frame(0x34, HEAD + b"\0\1\0"),
        frame(0x36, HEAD + b"\0\1\0"),
        frame(0x32, HEAD[:-1]),
        frame(0x32, b"\0"),
        frame(0x32, b""),
        frame(0x32, HEAD + b"\0"),
        frame(0x32, HEAD + b"\0\0\0"),
        frame(0x32, HEAD + b"\0\1"),
        frame(0x32, HEAD + b"\0\1\x05\x08\0\2i"),
    ],
)
def test_a_publish_that_is_none_is_refused(packet: bytes) -> None:
    """A QoS that was not asked for, packet id 0, or an end within a field."""
    with pytest.raises(MalformedFrame):
        parse_publish(packet, mqtt_5=True)


def test_a_topic_alias_is_refused() -> None:
    """None was offered (3.3.2.3.4)."""
    with pytest.raises(ProtocolError):
        parse_publish(frame(0x32, HEAD + b"\0\1\3\x23\0\1"), mqtt_5=True)


def test_a_publish_is_written() -> None:
    """QoS 1, neither DUP nor RETAIN; correlation data only where MQTT 5 has a place for it."""
    assert build_publish(0x1234, TOPIC, b"{}", None, mqtt_5=False) == frame(0x32, HEAD + b"\x12\x34{}")
    assert build_publish(1, TOPIC, b"{}", None, mqtt_5=True) == frame(0x32, HEAD + b"\0\1\0{}")
    correlated = build_publish(1, TOPIC, b"{}", b"one", mqtt_5=True)
    assert correlated == frame(0x32, HEAD + b"\0\1\6\x09\0\3one{}")


@given(
    st.text(min_size=1),
    st.binary(max_size=300),
    st.integers(1, 65_535),
    st.none() | st.binary(max_size=200),
    st.booleans(),
)
def test_what_is_written_can_be_read(
    topic: str, payload: bytes, packet_id: int, correlation: bytes | None, mqtt_5: bool
) -> None:
    """Of any length."""
    packet = build_publish(packet_id, topic, payload, correlation, mqtt_5=mqtt_5)
    expected = correlation if mqtt_5 else None
    assert parse_publish(packet, mqtt_5=mqtt_5) == Received(
        topic, payload, packet_id, dup=False, retain=False, correlation=expected
    )


@given(st.binary(max_size=60), st.sampled_from([0x30, 0x31, 0x32, 0x3A, 0x34]), st.booleans())
def test_no_bytes_do_more_than_end_the_connection(body: bytes, first: int, mqtt_5: bool) -> None:
    """Whatever a broker sends is read, or refused with MalformedFrame."""
    with suppress(MalformedFrame):
        parse_publish(frame(first, body), mqtt_5=mqtt_5)


def test_acknowledgments_are_read_and_written() -> None:
    """With and without a reason code and properties (3.4.2)."""
    assert parse_puback(b"\x40\2\x12\x34") == (0x1234, 0)
    assert parse_puback(b"\x40\3\0\1\x87") == (1, 0x87)
    assert parse_puback(b"\x40\x0a\0\1\x87\6\x1f\0\3why") == (1, 0x87)
    assert build_puback(0x1234) == b"\x40\2\x12\x34"
    with pytest.raises(MalformedFrame):
        parse_puback(b"\x40\1\0")
