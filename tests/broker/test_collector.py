"""What the garbage collector looks at while the service runs."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from thingjobs_broker.collector import EVERYTHING_AFTER_SECONDS, Collector


class Circle:
    """Something that nobody but the collector frees."""

    def __init__(self) -> None:
        self.itself = self


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The clock of a collector at work."""
    clock = Clock()
    collector = Collector(clock)
    collector.start()
    yield clock
    collector.stop()


def test_what_was_there_at_a_full_collection_is_not_looked_at_again(clock: Clock) -> None:
    """However much there is, a collection takes no longer for it."""
    circle = Circle()
    gc.collect()
    assert not [one for one in gc.get_objects() if one is circle]
    reference = weakref.ref(circle)
    del circle
    gc.collect()
    assert reference() is not None
    assert clock.seconds == 1000.0


def test_what_is_let_go_before_is_freed(clock: Clock) -> None:
    """As ever."""
    gc.collect()
    reference = weakref.ref(Circle())
    assert reference() is not None
    gc.collect()
    assert reference() is None
    assert clock.seconds == 1000.0


def test_a_collection_of_the_young_leaves_them_to_the_full_one(clock: Clock) -> None:
    """Or what lives for a moment would be kept for a day."""
    circle = Circle()
    gc.collect(1)
    reference = weakref.ref(circle)
    del circle
    gc.collect()
    assert reference() is None
    assert clock.seconds == 1000.0


def test_once_a_day_everything_is_looked_at(clock: Clock) -> None:
    """By the second full collection after it: the first lets it see."""
    for _ in range(2):
        circle = Circle()
        gc.collect()
        reference = weakref.ref(circle)
        del circle
        clock.seconds += EVERYTHING_AFTER_SECONDS
        gc.collect()
        assert reference() is not None
        gc.collect()
        assert reference() is None


def test_once_it_has_stopped_everything_is_as_before() -> None:
    """Twice does no harm."""
    before = (gc.get_threshold(), list(gc.callbacks))
    collector = Collector()
    collector.start()
    assert gc.get_threshold() != before[0]
    assert gc.get_freeze_count()
    collector.stop()
    collector.stop()
    assert (gc.get_threshold(), list(gc.callbacks)) == before
    assert not gc.get_freeze_count()
