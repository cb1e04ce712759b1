"""Packets read and built: what is well-formed comes back, what is not raises."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.front import wire
from thingjobs_broker.front import packets
from thingjobs_broker.front.frames import MalformedFrame
from thingjobs_broker.front.packets import Connect

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
topics = texts.filter(lambda topic: topic and "+" not in topic and "#" not in topic)
packet_ids = st.integers(1, 65_535)
payloads = st.binary(max_size=300)


@given(topics, payloads, st.integers(0, 2), packet_ids, st.booleans())
def test_publish_is_read_back(topic: str, payload: bytes, qos: int, packet_id: int, retain: bool) -> None:
    """Topic, packet id and payload; with QoS 0 there is no id."""
    frame = wire.publish(topic, payload, qos=qos, packet_id=packet_id, retain=retain)
    found = packets.parse_publish(frame)
    assert found[:2] == (topic, packet_id if qos else 0)
    assert frame[found[2] :] == payload


@given(topics, payloads, packet_ids)
def test_publish_is_built(topic: str, payload: bytes, packet_id: int) -> None:
    """As a client reads it."""
    frame = packets.publish_head(topic, len(payload), 1) + packet_id.to_bytes(2) + payload
    assert wire.parse_publish(frame) == (topic, payload, 1, packet_id, False, False)
    frame = packets.publish_head(topic, len(payload), 0) + payload
    assert wire.parse_publish(frame) == (topic, payload, 0, 0, False, False)


@given(packet_ids, st.lists(st.tuples(texts, st.integers(0, 2)), min_size=1, max_size=5))
def test_subscribe_and_unsubscribe_are_read_back(packet_id: int, wanted: list[tuple[str, int]]) -> None:
    """Building is the inverse of reading; the empty filter is left to the exchange."""
    assert packets.build_subscribe(packet_id, wanted) == wire.subscribe(packet_id, *wanted)
    assert packets.parse_subscribe(wire.subscribe(packet_id, *wanted)) == (packet_id, wanted)
    filters = [topic_filter for topic_filter, _ in wanted]
    assert packets.build_unsubscribe(packet_id, filters) == wire.unsubscribe(packet_id, *filters)
    assert packets.parse_unsubscribe(wire.unsubscribe(packet_id, *filters)) == (packet_id, filters)


@given(
    texts,
    st.booleans(),
    st.integers(0, 65_535),
    st.tuples(st.none() | texts, st.none() | texts),
    st.none() | st.tuples(topics, st.binary(max_size=20)),
)
def test_connect_is_read(
    client_id: str,
    clean: bool,
    keep_alive: int,
    credentials: tuple[str | None, str | None],
    will: tuple[str, bytes] | None,
) -> None:
    """Whatever optional fields it has; a password without a user name is malformed [MQTT-3.1.2-22]."""
    user, password = credentials
    frame = wire.connect(
        client_id, clean=clean, keep_alive=keep_alive, user=user, password=password, will=will
    )
    if user is None and password is not None:
        with pytest.raises(MalformedFrame):
            packets.parse_connect(frame)
    else:
        assert packets.parse_connect(frame) == Connect("MQTT", 4, clean, keep_alive, client_id, user)


@given(st.none() | texts, st.none() | st.tuples(topics, st.binary(max_size=20)), st.integers(1, 200))
def test_client_id_is_put_into_a_connect(
    user: str | None, will: tuple[str, bytes] | None, length: int
) -> None:
    """Nothing else of it changes."""
    name = "n" * length
    rewritten = packets.with_client_id(wire.connect("", user=user, will=will), name)
    assert rewritten == wire.connect(name, user=user, will=will)


PARSERS = {
    0x10: packets.parse_connect,
    0x30: packets.parse_publish,
    0x34: packets.parse_publish,
    0x82: packets.parse_subscribe,
    0xA2: packets.parse_unsubscribe,
    0x40: packets.parse_acknowledgment,
}


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=60), st.booleans())
def test_any_bytes_are_read_or_refused(first: int, body: bytes, like_connect: bool) -> None:
    """No body makes a parser fail in any other way than MalformedFrame."""
    if first == 0x10 and like_connect:
        body = b"\x00\x04MQTT\x04" + body
    if first == 0x40:
        body = (body + b"\0\0")[:2]
    with suppress(MalformedFrame):
        PARSERS[first](wire.packet(first, body))


@given(st.sampled_from(["connect", "publish", "subscribe", "unsubscribe"]), st.data())
def test_truncated_packets_are_refused(kind: str, data: st.DataObject) -> None:
    """A packet that is one or more bytes short is never mistaken for a whole one of another content."""
    whole, parse = {
        "connect": (wire.connect("c", user="u", password="p", will=("w", b"m")), packets.parse_connect),
        "publish": (wire.publish("topic", b"", qos=1), packets.parse_publish),
        "subscribe": (wire.subscribe(1, ("filter", 1)), packets.parse_subscribe),
        "unsubscribe": (wire.unsubscribe(1, "filter"), packets.parse_unsubscribe),
    }[kind]
    length = data.draw(st.integers(0, len(whole) - 3))
    with pytest.raises(MalformedFrame):
        parse(wire.packet(whole[0], whole[2 : 2 + length]))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (0x01, "reserved"),
        (0x08, "will QoS without will"),
        (0x20, "will retain without will"),
        (0x1C, "will QoS 3"),
    ],
)
def test_connect_flags_that_contradict_are_refused(flags: int, reason: str) -> None:
    """3.1.2.3 to 3.1.2.6."""
    body = (
        wire.string("MQTT") + bytes((4, flags, 0, 0)) + wire.string("c") + wire.string("w") + wire.string("m")
    )
    with pytest.raises(MalformedFrame, match="connect flags"):
        packets.parse_connect(wire.packet(0x10, body))


def test_connect_with_something_behind_it_is_refused() -> None:
    """It would be the next packet to amqtt."""
    frame = wire.connect("c")
    with pytest.raises(MalformedFrame, match="goes on"):
        packets.parse_connect(wire.packet(0x10, frame[2:] + b"\xc0\x00"))


@pytest.mark.parametrize("count", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455])
def test_lengths_are_encoded_in_the_fewest_bytes(count: int) -> None:
    """Table 2.4."""
    encoded = packets.encode_length(count)
    assert sum((byte & 127) << 7 * at for at, byte in enumerate(encoded)) == count
    assert [byte >= 128 for byte in encoded] == [True] * (len(encoded) - 1) + [False]
    assert len(encoded) == 1 + (count > 127) + (count > 16_383) + (count > 2_097_151)
