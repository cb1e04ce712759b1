"""What the garbage collector looks at while the service runs."""

import gc
import weakref
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from thingjobs_broker.collector import EVERYTHING_AFTER_SECONDS, Collector


class Circle:
    """Something that nobody but the collector frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def loop() -> Iterator[Mock]:
    """That of a collector at work."""
    loop = Mock()
    collector = Collector()
    collector.start(loop)
    yield loop
    collector.stop()
    loop.call_later.return_value.cancel.assert_called_with()


def test_what_was_there_at_a_full_collection_is_not_looked_at_again(loop: Mock) -> None:
    """However much there is, a collection takes no longer for it."""
    circle = Circle()
    gc.collect()
    assert not [one for one in gc.get_objects() if one is circle]
    reference = weakref.ref(circle)
    del circle
    gc.collect()
    assert reference() is not None


def test_what_is_let_go_before_is_freed(loop: Mock) -> None:
    """As ever."""
    gc.collect()
    reference = weakref.ref(Circle())
    assert reference() is not None
    gc.collect()
    assert reference() is None


def test_a_collection_of_the_young_leaves_them_to_the_full_one(loop: Mock) -> None:
    """Or what lives for a moment would be kept for a day."""
    circle = Circle()
    gc.collect(1)
    reference = weakref.ref(circle)
    del circle
    gc.collect()
    assert reference() is None


def test_once_a_day_everything_is_looked_at(loop: Mock) -> None:
    """And the next day again."""
    for _ in range(2):
        circle = Circle()
        gc.collect()
        reference = weakref.ref(circle)
        del circle
        gc.collect()
        assert reference() is not None
        ((seconds, look, *arguments), _) = loop.call_later.call_args
        assert seconds == EVERYTHING_AFTER_SECONDS
        look(*arguments)
        assert reference() is None
    assert loop.call_later.call_count == 3


@pytest.mark.parametrize("is_another_day", [False, True])
def test_however_much_there_was_the_next_full_collection_is_a_short_one(is_another_day: bool) -> None:
    """Python's own waits for a quarter of what the last one has found."""
    before = [Circle() for _ in range(100_000)]
    collector, loop = Collector(), Mock()
    collector.start(loop)
    try:
        if is_another_day:
            ((_, look, *arguments), _) = loop.call_later.call_args
            look(*arguments)
        collections = gc.get_stats()[2]["collections"]
        after = [Circle() for _ in range(20_000)]
        assert gc.get_stats()[2]["collections"] > collections
    finally:
        collector.stop()
    assert len(before) > len(after)


def test_once_it_has_stopped_everything_is_as_before() -> None:
    """Twice does no harm, nor does what was never started."""
    before = (gc.get_threshold(), list(gc.callbacks))
    collector, another = Collector(), Collector()
    collector.start(Mock())
    another.start(Mock())
    at_work = (gc.get_threshold(), list(gc.callbacks))
    assert at_work != before
    collector.stop()
    collector.stop()
    Collector().stop()
    assert (gc.get_threshold(), list(gc.callbacks)) == at_work
    assert gc.get_freeze_count()
    another.stop()
    assert (gc.get_threshold(), list(gc.callbacks)) == before
    assert not gc.get_freeze_count()
