"""The index of filters against the rules of 4.7, told by a matcher that cannot be wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingjobs_broker.front.subscriptions import SubscriptionIndex, is_valid_filter

LEVELS = ["$aws", "a", "b", ""]
topics = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(st.sampled_from([*LEVELS, "+", "+"]), max_size=4), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)
steps = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove"]), filters, st.integers(1, 3), st.integers(0, 1)),
    max_size=25,
)


def matches(topic_filter: str, topic: str) -> bool:
    """4.7.1 and 4.7.2, level by level."""
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, there = topic_filter.split("/"), topic.split("/")
    while wanted:
        level = wanted.pop(0)
        if level == "#":
            return True
        if not there or level not in {"+", there.pop(0)}:
            return False
    return not there


@given(steps, st.lists(topics, min_size=1, max_size=5))
def test_index_agrees_with_the_rules(done: list[tuple[str, str, int, int]], asked: list[str]) -> None:
    """After any subscriptions and unsubscriptions: everyone once, with the highest QoS."""
    index: SubscriptionIndex[int] = SubscriptionIndex()
    held: dict[tuple[str, int], int] = {}
    for step, topic_filter, subscriber, qos in done:
        if step == "add":
            index.add(topic_filter, subscriber, qos)
            held[topic_filter, subscriber] = qos
        else:
            index.remove(topic_filter, subscriber)
            held.pop((topic_filter, subscriber), None)
    assert len(index) == len(held)
    for topic in asked:
        expected: dict[int, int] = {}
        for (topic_filter, subscriber), qos in held.items():
            if matches(topic_filter, topic):
                expected[subscriber] = max(qos, expected.get(subscriber, 0))
        assert dict(index.match(topic)) == expected
    for topic_filter, subscriber in held:
        index.remove(topic_filter, subscriber)
    assert (len(index), index.shapes) == (0, 0)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("+/+", "/a", True),
        ("+", "/a", False),
        ("#", "$aws/x", False),
        ("+/x", "$aws/x", False),
        ("$aws/#", "$aws/x", True),
        ("a/+/c/#", "a/b/c", True),
    ],
)
def test_examples_of_the_standard(topic_filter: str, topic: str, expected: bool) -> None:
    """4.7.1.2, 4.7.1.3, 4.7.2."""
    index: SubscriptionIndex[str] = SubscriptionIndex()
    index.add(topic_filter, "me", 1)
    assert bool(index.match(topic)) is expected


@pytest.mark.parametrize(
    ("topic_filter", "valid"),
    [
        *(("a", True), ("a/b", True), ("/", True), ("+", True), ("#", True), ("a/+/#", True), ("+/+", True)),
        *(("", False), ("a#", False), ("#/a", False), ("a/#/b", False), ("a+", False), ("+a/b", False)),
        *(("a/b+", False), ("a/++", False), ("##", False)),
    ],
)
def test_filters_are_checked(topic_filter: str, valid: bool) -> None:
    """4.7.1, [MQTT-4.7.3-1]."""
    assert is_valid_filter(topic_filter) is valid


def test_lookup_does_not_grow_with_the_devices() -> None:
    """Two thousand devices with three wildcard filters each: three shapes, so three probes."""
    index: SubscriptionIndex[int] = SubscriptionIndex()
    for device in range(2000):
        for suffix in ("jobs/+/accepted", "jobs/#", "+/notify"):
            index.add(f"$aws/things/t{device}/{suffix}", device, 1)
    assert (index.shapes, len(index)) == (3, 6000)
    assert dict(index.match("$aws/things/t7/jobs/notify")) == {7: 1}
    assert index.has_shape_of("$aws/things/t9999/jobs/#")
    assert index.has_shape_of("exact")
    assert not index.has_shape_of("$aws/+/t9999/jobs/#")
    for suffix in ("jobs/+/accepted", "jobs/#", "+/notify"):
        for device in range(1, 2000):
            index.remove(f"$aws/things/t{device}/{suffix}", device)
    assert (index.shapes, len(index)) == (3, 3)
