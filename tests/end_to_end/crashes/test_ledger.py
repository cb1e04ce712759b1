"""The judge of the crash tests sees every kind of lie, and takes no truth for one."""

from collections.abc import Callable

import pytest

from tests.end_to_end.crashes.ledger import Fact, Key, Ledger

KEY = Key("press-7", "update")
OTHER = Key("press-7", "another")
STARTED = Fact(2, "IN_PROGRESS", "t1")
REPORTED = Fact(3, "IN_PROGRESS", "t2")


def ledger(*, redelivers: bool = False) -> Ledger:
    """An execution that was started, with an update on its way."""
    one = Ledger(redelivers=redelivers)
    one.will_start("press-7", "t1")
    one.told(KEY, STARTED, "a reply", started_at=100)
    one.will_update(KEY, REPORTED)
    return one


def test_the_truth_is_no_difference() -> None:
    """What is on its way may have been handled or not; what was told may be told again, also late."""
    for known in (STARTED, REPORTED):
        one = ledger()
        one.known(KEY, known, at_least=one.newest(KEY), started_at=100)
        one.told(KEY, STARTED, "a late reply", started_at=100)
        one.told(KEY, Fact(1, "QUEUED", ""), "a late notification")
        assert one.differences == []
    assert one.executions() == {KEY}
    assert one.facts == 4


LIES: dict[str, tuple[Callable[[Ledger], None], str]] = {
    "lost": (lambda one: one.known(KEY, None, 2), "it is gone, and version 2 had been told"),
    "gone backward": (
        lambda one: one.known(KEY, Fact(1, "QUEUED", ""), 2),
        "it is at version 1, and version 2",
    ),
    "another's request": (
        lambda one: one.told(KEY, Fact(2, "IN_PROGRESS", "t2"), "a reply"),
        "had been told",
    ),
    "another status": (lambda one: one.told(KEY, Fact(3, "FAILED", "t2"), "a reply"), "nobody has asked for"),
    "a version left out": (
        lambda one: one.told(KEY, Fact(4, "IN_PROGRESS", "t2"), "a reply"),
        "nobody has asked for",
    ),
    "started again": (lambda one: one.told(KEY, STARTED, "a reply", 101), "started at 101, not at 100"),
    "started twice": (lambda one: one.told(OTHER, STARTED, "a reply"), "the same request has started"),
    "ended by itself": (lambda one: one.told(KEY, Fact(1, "SUCCEEDED", ""), "a reply"), "had been told"),
    "a lost job": (lambda one: one.known_job("update", exists=False), "had been accepted and is gone"),
}


@pytest.mark.parametrize(("lie", "complaint"), LIES.values(), ids=LIES)
def test_every_lie_is_a_difference(lie: Callable[[Ledger], None], complaint: str) -> None:
    """Lost, gone backward, told otherwise, made up, started twice."""
    one = ledger()
    lie(one)
    assert len(one.differences) == 1
    assert complaint in one.differences[0]


def test_a_request_that_was_redelivered_may_start_the_next_execution() -> None:
    """QoS 1 says at least once: beside another broker the service may get it again after a crash."""
    one = ledger(redelivers=True)
    one.told(OTHER, STARTED, "a reply")
    assert one.differences == []
    one.told(Key("press-8", "update"), STARTED, "a reply")
    assert len(one.differences) == 1, "another thing's request"
