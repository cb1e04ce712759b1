"""The packets of MQTT 5: what is read, what is refused with which reason code, what comes of the rest."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.broker.front import wire, wire5
from thingjobs_broker.front import packets, packets5, properties
from thingjobs_broker.front.frames import FrameSplitter, MalformedFrame
from thingjobs_broker.front.properties import Name

SOME_STRING = wire.string("x")
EVERY_PROPERTY_OF_A_PUBLISH = [
    (0x01, b"\1"),
    (0x02, wire5.uint32(60)),
    (0x03, wire.string("application/json")),
    (0x08, wire.string("answers/7")),
    (0x09, wire.string(b"\0\xff")),
    (0x26, SOME_STRING * 2),
    (0x26, SOME_STRING * 2),
]


def test_a_connect_is_read_and_told_in_the_words_of_311() -> None:
    """3.1: properties, also of the will, are read; what 3.1.1 knows is passed on."""
    found = [
        (wire5.EXPIRY, wire5.uint32(3600)),
        (wire5.RECEIVE_MAXIMUM, b"\0\5"),
        (wire5.PACKET_BYTES_MAX, wire5.uint32(1000)),
        (0x22, b"\0\7"),
        (0x19, b"\1"),
        (0x17, b"\1"),
        (wire5.USER, SOME_STRING * 2),
    ]
    will_properties = ((0x18, wire5.uint32(5)), (0x01, b"\1"), (0x26, SOME_STRING * 2))
    fields: dict[str, Any] = {"user": "ada", "password": "secret", "will": ("wills", b"gone")}
    frame = wire5.connect("t1", *found, clean=False, will_properties=will_properties, **fields)
    connect = packets5.parse_connect(frame)
    assert connect[:7] == (False, 60, "t1", 3600, 5, 1000, None)
    assert packets5.connect_311(connect, "t2") == wire.connect("t2", clean=False, **fields)


@pytest.mark.parametrize("will", [None, ("wills", b"gone")])
def test_a_password_without_a_user_name_gets_an_empty_one(will: tuple[str, bytes] | None) -> None:
    """3.1.2.9 allows it, [MQTT-3.1.2-22] of 3.1.1 does not."""
    connect = packets5.parse_connect(wire5.connect("t1", password="secret", will=will))
    frame = packets5.connect_311(connect, "t1")
    assert frame == wire.connect("t1", user="", password="secret", will=will)
    assert packets.parse_connect(frame).user_name == ""


def test_a_connect_without_properties_has_the_defaults_of_the_standard() -> None:
    """3.1.2.11: the session ends with the connection, and there are no limits."""
    assert packets5.parse_connect(wire5.connect(""))[:7] == (True, 60, "", 0, 65_535, 0, None)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_publish_is_read_and_told_in_the_words_of_311(qos: int) -> None:
    """3.3: response topic and correlation data are kept, all other properties tolerated."""
    frame = wire5.publish("a/b", b"{}", *EVERY_PROPERTY_OF_A_PUBLISH, qos=qos, packet_id=7)
    publish = packets5.parse_publish(frame)
    assert publish[:4] == ("a/b", 7 if qos else 0, "answers/7", b"\0\xff")
    assert publish.frame == wire.publish("a/b", b"{}", qos=qos, packet_id=7)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_publish_of_311_becomes_one_of_5(qos: int) -> None:
    """With no properties, or with those that are given; lengths over 127 bytes included."""
    for payload in (b"", b"{}", b"x" * 200, b"x" * 20_000):
        frame = wire.publish("a/b", payload, qos=qos, packet_id=7)
        assert packets5.publish_of_311(frame, {}) == wire5.publish("a/b", payload, qos=qos, packet_id=7)
        wanted = wire5.publish("a/b", payload, (0x09, wire.string(b"\1")), qos=qos, packet_id=7)
        assert packets5.publish_of_311(frame, {Name.CORRELATION_DATA: b"\1"}) == wanted


@pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70])
def test_acknowledgments_come_in_three_lengths(first: int) -> None:
    """3.4.2.1: without a reason code, with one, and with properties."""
    assert packets5.parse_acknowledgment(wire5.acknowledgment(first, 7)) == (7, 0)
    assert packets5.parse_acknowledgment(wire5.acknowledgment(first, 7, 0x92)) == (7, 0x92)
    reason = wire.packet(first, b"\0\7\x10" + wire5.properties((0x1F, SOME_STRING)))
    assert packets5.parse_acknowledgment(reason) == (7, 0x10)


def test_a_disconnect_comes_in_three_lengths() -> None:
    """3.14.2: it may change the session expiry interval."""
    assert packets5.parse_disconnect(wire.DISCONNECT) == (0, None)
    assert packets5.parse_disconnect(wire5.disconnect(4)) == (4, None)
    assert packets5.parse_disconnect(wire5.disconnect(0, (wire5.EXPIRY, wire5.uint32(9)))) == (0, 9)


def test_subscription_options_are_read() -> None:
    """3.8.3.1: no local, retain as published and retain handling beside the QoS."""
    frame = wire5.subscribe(7, ("a", 0x2D), ("b/#", 0x12), found=((0x26, SOME_STRING * 2),))
    assert packets5.parse_subscribe(frame) == (7, [("a", 1), ("b/#", 2)])
    assert packets5.parse_unsubscribe(wire5.unsubscribe(7, "a", "b/#")) == (7, ["a", "b/#"])


REFUSED: dict[str, tuple[Callable[[bytes], object], bytes, int]] = {
    "unknown property": (packets5.parse_publish, wire5.publish("a", b"", (0x7E, b"\0")), 0x81),
    "property of another packet": (packets5.parse_publish, wire5.publish("a", b"", (0x21, b"\0\1")), 0x82),
    "property twice": (packets5.parse_publish, wire5.publish("a", b"", (0x01, b"\1"), (0x01, b"\1")), 0x82),
    "property cut off": (packets5.parse_publish, wire5.publish("a", b"\0\0\0\0", (0x02, b"\0\0")), 0x81),
    "properties cut off": (packets5.parse_publish, wire.packet(0x30, wire.string("a") + b"\x7f"), 0x81),
    "length of five bytes": (packets5.parse_publish, wire.packet(0x30, wire.string("a") + b"\xff" * 5), 0x81),
    "topic alias": (packets5.parse_publish, wire5.publish("", b"", (0x23, b"\0\1")), 0x94),
    "empty topic": (packets5.parse_publish, wire5.publish(""), 0x81),
    "wildcard in a topic": (packets5.parse_publish, wire5.publish("a/+"), 0x81),
    "wildcard in a response topic": (
        packets5.parse_publish,
        wire5.publish("a", b"", (8, wire.string("#"))),
        0x81,
    ),
    "subscription id from a client": (packets5.parse_publish, wire5.publish("a", b"", (0x0B, b"\1")), 0x82),
    "packet id 0": (packets5.parse_publish, wire5.publish("a", qos=1, packet_id=0), 0x81),
    "subscription id": (packets5.parse_subscribe, wire5.subscribe(1, ("a", 0), found=((0x0B, b"\1"),)), 0xA1),
    "QoS 3": (packets5.parse_subscribe, wire5.subscribe(1, ("a", 3)), 0x81),
    "retain handling 3": (packets5.parse_subscribe, wire5.subscribe(1, ("a", 0x30)), 0x81),
    "reserved options": (packets5.parse_subscribe, wire5.subscribe(1, ("a", 0x40)), 0x81),
    "no filter": (packets5.parse_subscribe, wire5.subscribe(1), 0x82),
    "no filter to unsubscribe": (packets5.parse_unsubscribe, wire5.unsubscribe(1), 0x82),
    "acknowledgment of nothing": (packets5.parse_acknowledgment, wire.packet(0x40), 0x81),
    "acknowledgment too long": (packets5.parse_acknowledgment, wire.packet(0x40, b"\0\1\0\0x"), 0x81),
    "receive maximum 0": (packets5.parse_connect, wire5.connect("t", (0x21, b"\0\0")), 0x82),
    "packet size 0": (packets5.parse_connect, wire5.connect("t", (0x27, wire5.uint32(0))), 0x82),
    "connect that goes on": (
        packets5.parse_connect,
        wire5.connect("t")[:1] + b"\x0f" + wire5.connect("t")[2:] + b"x",
        0x81,
    ),
}


@pytest.mark.parametrize(("parse", "frame", "reason_code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_client_may_not_send_has_a_reason_code(
    parse: Callable[[bytes], object], frame: bytes, reason_code: int
) -> None:
    """4.13: malformed packets and protocol errors; the client hears which."""
    with pytest.raises(MalformedFrame) as error:
        parse(frame)
    assert error.value.reason_code == reason_code


PARSERS = {
    0x10: packets5.parse_connect,
    0x30: packets5.parse_publish,
    0x32: packets5.parse_publish,
    0x40: packets5.parse_acknowledgment,
    0x82: packets5.parse_subscribe,
    0xA2: packets5.parse_unsubscribe,
    0xE0: packets5.parse_disconnect,
}


@given(st.sampled_from(list(PARSERS)), st.binary(max_size=60))
@example(0x10, wire.string("MQTT"))
@example(0x10, wire.string("MQTT") + b"\5\xc0\0\0\0")
def test_garbage_is_malformed_and_nothing_else(first: int, body: bytes) -> None:
    """Whatever a client sends, no other exception comes out."""
    prefix = wire.string("MQTT") + b"\5" if first == 0x10 else b""
    try:
        parsed = PARSERS[first](wire.packet(first, prefix + body))
    except MalformedFrame:
        return
    if isinstance(parsed, packets5.Publish):
        # What passes can be fed to what knows 3.1.1 alone.
        assert packets.parse_publish(parsed.frame)[:2] == parsed[:2]
    if isinstance(parsed, packets5.Connect):
        packets.parse_connect(packets5.connect_311(parsed, "t"))


VALUES: dict[int, st.SearchStrategy[Any]] = {
    Name.RESPONSE_TOPIC: st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50
    ),
    Name.CORRELATION_DATA: st.binary(max_size=300),
    Name.SUBSCRIPTION_IDENTIFIER: st.integers(1, 268_435_455),
    Name.SESSION_EXPIRY_INTERVAL: st.integers(0, 2**32 - 1),
    Name.RECEIVE_MAXIMUM: st.integers(0, 65_535),
    Name.RETAIN_AVAILABLE: st.integers(0, 255),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_properties_survive_being_written_and_read(found: dict[int, Any]) -> None:
    """2.2.2, all types."""
    frame = b"\x30\0" + properties.build(found)
    assert properties.parse(frame, 2, set(VALUES)) == (found, len(frame))


def test_a_splitter_goes_by_the_table_of_frames() -> None:
    """Long acknowledgments, DISCONNECT with a body and AUTH are of MQTT 5; reserved bits of neither."""
    frames = [
        wire5.acknowledgment(0x40, 7, 0x92),
        wire5.disconnect(4),
        wire.packet(0xF0, b"\0"),
        wire.PINGREQ,
    ]
    for frame in frames[:3]:
        splitter = FrameSplitter(1000)
        splitter.feed(frame)
        with pytest.raises(MalformedFrame):
            splitter.take(1)
    splitter = FrameSplitter(1000)
    splitter.follow(packets5.FRAME_BYTES)
    splitter.feed(b"".join(frames) + b"\x41\2\0\1")
    assert splitter.take(9) == frames
    with pytest.raises(MalformedFrame):
        splitter.take(9)
