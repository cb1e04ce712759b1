"""The sidecar's outbox: order, the broker's limits, what is sent again and what is dropped."""

from thingjobs_broker.outbox import (
    PACKET_ID_MAX,
    PACKET_ID_MIN,
    PACKET_OVERHEAD_BYTES_MAX,
    REPLY_SECONDS_MAX,
    Outbox,
)

UNLIMITED = 65_535, 268_435_455


class FakeLink:
    """Notes what goes over it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.packet_ids: list[int] = []

    def publish(self, packet_id: int, topic: str, payload: bytes, correlation: bytes | None) -> None:
        self.sent.append(topic)
        self.packet_ids.append(packet_id)

    def acknowledge(self, packet_id: int) -> None:
        self.sent.append(f"ack {packet_id}")


def attached(outbox: Outbox, receive_maximum: int = 65_535, absent_seconds: float = 0.0) -> FakeLink:
    """A new connection."""
    link = FakeLink()
    outbox.attach(link, receive_maximum, UNLIMITED[1], absent_seconds)
    return link


def test_messages_leave_in_order_once_there_is_a_connection() -> None:
    """What was published before comes first."""
    outbox = Outbox()
    outbox.publish("a", b"")
    outbox.publish("b", b"")
    link = attached(outbox)
    outbox.publish("c", b"")
    assert link.sent == ["a", "b", "c"]
    assert len(outbox) == 3


def test_the_brokers_receive_maximum_is_kept() -> None:
    """No more are in flight than it asked for (MQTT 5, 3.3.4)."""
    outbox = Outbox()
    link = attached(outbox, receive_maximum=2)
    for topic in "abcd":
        outbox.publish(topic, b"")
    assert link.sent == ["a", "b"]
    outbox.confirmed(PACKET_ID_MIN, 0)
    assert link.sent == ["a", "b", "c"]


def test_an_acknowledgment_waits_until_the_answers_before_it_are_confirmed() -> None:
    """It goes another way, and a broker that forgets the request must have its answer."""
    outbox = Outbox()
    link = attached(outbox)
    outbox.publish("answer 1", b"")
    outbox.acknowledge(11)
    outbox.publish("answer 2", b"")
    outbox.publish("answer 2, more", b"")
    outbox.acknowledge(12)
    outbox.acknowledge(13)
    answers = ["answer 1", "answer 2", "answer 2, more"]
    assert (link.sent, len(outbox)) == (answers, 6)
    outbox.confirmed(link.packet_ids[0], 0)
    assert link.sent == [*answers, "ack 11"]
    outbox.confirmed(link.packet_ids[1], 0)
    assert link.sent == [*answers, "ack 11"]
    outbox.confirmed(link.packet_ids[2], 0)
    assert (link.sent, len(outbox)) == ([*answers, "ack 11", "ack 12", "ack 13"], 0)


def test_an_acknowledgment_without_an_answer_before_it_leaves_at_once() -> None:
    """Nothing else would let it go later."""
    outbox = Outbox()
    link = attached(outbox)
    outbox.acknowledge(11)
    outbox.publish("answer", b"")
    outbox.confirmed(PACKET_ID_MIN, 0)
    outbox.acknowledge(12)
    assert (link.sent, len(outbox)) == (["ack 11", "answer", "ack 12"], 0)


def test_a_refused_answer_holds_no_acknowledgment_up() -> None:
    """It will not be said, and the request would come again for ever."""
    outbox = Outbox()
    link = attached(outbox)
    outbox.publish("answer", b"")
    outbox.acknowledge(11)
    outbox.confirmed(PACKET_ID_MIN, 0x87)
    assert link.sent == ["answer", "ack 11"]


def test_an_acknowledgment_does_not_overtake_an_answer_that_waits() -> None:
    """So a broker that is slow to take answers gets no further acknowledgments: back-pressure."""
    outbox = Outbox()
    link = attached(outbox, receive_maximum=1)
    outbox.publish("answer 1", b"")
    outbox.acknowledge(11)
    outbox.publish("answer 2", b"")
    outbox.acknowledge(12)
    assert link.sent == ["answer 1"]
    outbox.confirmed(PACKET_ID_MIN, 0)
    assert link.sent == ["answer 1", "ack 11", "answer 2"]
    outbox.confirmed(PACKET_ID_MIN + 1, 0)
    assert link.sent == ["answer 1", "ack 11", "answer 2", "ack 12"]


def test_unconfirmed_messages_are_sent_again_over_the_next_connection() -> None:
    """In their order and before later ones; acknowledgments of the old connection mean nothing there."""
    outbox = Outbox()
    first = attached(outbox, receive_maximum=2)
    for number, topic in enumerate("abc"):
        outbox.publish(topic, b"")
        outbox.acknowledge(number)
    outbox.confirmed(PACKET_ID_MIN, 0)
    outbox.detach()
    outbox.publish("d", b"")
    second = attached(outbox)
    for packet_id in second.packet_ids:
        outbox.confirmed(packet_id, 0)
    assert first.sent == ["a", "b", "ack 0", "c"]
    assert (second.sent, len(outbox)) == (["b", "c", "d"], 0)


def test_a_packet_id_in_use_is_passed_over() -> None:
    """Also after they have all been used once; those of the library are never taken (MQTT 5, 2.2.1)."""
    outbox = Outbox()
    link = attached(outbox)
    outbox.publish("slow", b"")
    for _ in range(PACKET_ID_MAX - PACKET_ID_MIN):
        outbox.publish("quick", b"")
        outbox.confirmed(link.packet_ids[-1], 0)
    outbox.publish("next", b"")
    assert link.packet_ids[-2:] == [PACKET_ID_MAX, PACKET_ID_MIN + 1]
    assert link.packet_ids[:-1] == list(range(PACKET_ID_MIN, PACKET_ID_MAX + 1))


def test_a_refused_message_is_not_sent_again() -> None:
    """The broker's access control list would refuse it again, and the next one must not wait for it."""
    outbox = Outbox()
    attached(outbox, receive_maximum=1)
    outbox.publish("a", b"")
    outbox.publish("b", b"")
    outbox.confirmed(PACKET_ID_MIN, 0x87)
    assert (outbox.dropped, len(outbox)) == (1, 1)


def test_a_message_over_the_brokers_packet_limit_is_dropped() -> None:
    """Sending it would end the connection, again and again (MQTT 5, 3.2.2.3.6)."""
    outbox = Outbox()
    link = FakeLink()
    outbox.attach(link, 10, PACKET_OVERHEAD_BYTES_MAX + 100, 0.0)
    outbox.publish("long", b"x" * 100)
    outbox.publish("short", b"x" * 90)
    assert (link.sent, outbox.dropped) == (["short"], 1)


def test_late_replies_are_dropped_and_notifications_are_not() -> None:
    """After a minute the device has asked again; a notification is news until the next one."""
    outbox = Outbox()
    for topic in ["t/get/accepted", "t/notify", "t/x/update/rejected", "events/job/j/completed"]:
        outbox.publish(topic, b"")
    assert attached(outbox, absent_seconds=REPLY_SECONDS_MAX + 1).sent == [
        "t/notify",
        "events/job/j/completed",
    ]


def test_a_full_outbox_drops_the_oldest_replies_first() -> None:
    """A tenth at once; then, only if no reply is left, the oldest of the others."""
    outbox = Outbox(messages_max=10)
    for number in range(5):
        outbox.publish(f"{number}/notify", b"")
        outbox.publish(f"{number}/accepted", b"")
    outbox.publish("5/notify", b"")
    kept = attached(outbox).sent
    assert kept == [
        "0/notify",
        "1/notify",
        *(f"{n}/{end}" for n in (2, 3, 4) for end in ("notify", "accepted")),
        "5/notify",
    ]

    outbox = Outbox(messages_max=10)
    for number in range(11):
        outbox.publish(f"{number}/notify", b"")
    assert attached(outbox).sent == [f"{number}/notify" for number in range(2, 11)]
