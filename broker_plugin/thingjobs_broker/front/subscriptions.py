"""Who is subscribed to a topic: exact filters by one dict probe, wildcard filters by one per shape in use.

Pure. Filters of one shape (`+` on the same levels, `#` or not) differ only in their literal levels, so these
levels of a topic are the key of all of them at once: the cost of a lookup does not grow with the devices.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeVar

Subscriber = TypeVar("Subscriber", bound=Hashable)

_NOBODY: Final[Mapping[Any, int]] = MappingProxyType({})


def is_valid_filter(topic_filter: str) -> bool:
    """Whether `#` stands alone and last, and each `+` alone on its level (4.7.1); empty is invalid."""
    if "+" not in topic_filter and "#" not in topic_filter:
        return bool(topic_filter)
    *others, last = topic_filter.split("/")
    if "#" in last and last != "#":
        return False
    return all("#" not in level for level in others) and all(
        level == "+" or "+" not in level for level in (*others, last)
    )


class Shape(NamedTuple):
    """What filters have in common that are looked up together."""

    levels: int
    """Levels before a `#`."""
    literal: tuple[int, ...]
    """Positions of the levels that are not `+`."""
    multi: bool
    """Whether `#` follows."""

    @classmethod
    def of(cls, topic_filter: str) -> "Shape":
        """The shape of a valid filter."""
        levels = topic_filter.split("/")
        multi = levels[-1] == "#"
        if multi:
            levels.pop()
        literal = tuple(position for position, level in enumerate(levels) if level != "+")
        return cls(len(levels), literal, multi)


class _Table(Generic[Subscriber]):
    """The filters of one shape: literal levels -> subscriber -> QoS. It lives as long as it has a filter."""

    __slots__ = ("by_key", "key_of", "shape")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.key_of: Callable[[list[str]], Hashable] = (
            itemgetter(*shape.literal) if shape.literal else lambda _levels: ()
        )
        self.by_key: dict[Hashable, dict[Subscriber, int]] = {}

    def may_match(self, levels: list[str]) -> bool:
        """Whether a topic has the right number of levels; `a/#` matches `a` too [MQTT-4.7.1-2]."""
        if self.shape.multi:
            return len(levels) >= self.shape.levels
        return len(levels) == self.shape.levels


class SubscriptionIndex(Generic[Subscriber]):
    """Filters and their subscribers, each with a granted QoS."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[Subscriber, int]] = {}
        self._tables: dict[Shape, _Table[Subscriber]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def shapes(self) -> int:
        """How many wildcard shapes are in use."""
        return len(self._tables)

    def has_shape_of(self, topic_filter: str) -> bool:
        """Whether a valid filter would add no new wildcard shape."""
        return not _has_wildcard(topic_filter) or Shape.of(topic_filter) in self._tables

    def add(self, topic_filter: str, subscriber: Subscriber, qos: int) -> None:
        """Subscribe, or replace the QoS [MQTT-3.8.4-3]. The filter must be valid."""
        if _has_wildcard(topic_filter):
            shape = Shape.of(topic_filter)
            table = self._tables.get(shape)
            if table is None:
                table = self._tables[shape] = _Table(shape)
            subscribers = table.by_key.setdefault(table.key_of(topic_filter.split("/")), {})
        else:
            subscribers = self._exact.setdefault(topic_filter, {})
        self._count += subscriber not in subscribers
        subscribers[subscriber] = qos

    def remove(self, topic_filter: str, subscriber: Subscriber) -> None:
        """Undo `add` of the same filter; nothing happens when there was none."""
        if not _has_wildcard(topic_filter):
            self._remove(self._exact, topic_filter, subscriber)
            return
        shape = Shape.of(topic_filter)
        table = self._tables.get(shape)
        if table is not None:
            self._remove(table.by_key, table.key_of(topic_filter.split("/")), subscriber)
            if not table.by_key:
                del self._tables[shape]

    def match(self, topic: str) -> Mapping[Subscriber, int]:
        """Everyone subscribed to a topic, once, with the highest QoS granted [MQTT-3.3.5-1].

        What is returned may be the index's own: read it before anything is added or removed.
        """
        if not self._tables:
            return self._exact.get(topic, _NOBODY)
        found = list(self._matching(topic))
        if len(found) < 2:
            return found[0] if found else _NOBODY
        merged: dict[Subscriber, int] = {}
        for subscribers in found:
            for subscriber, qos in subscribers.items():
                if qos >= merged.get(subscriber, 0):
                    merged[subscriber] = qos
        return merged

    def _matching(self, topic: str) -> Iterator[dict[Subscriber, int]]:
        if topic in self._exact:
            yield self._exact[topic]
        levels = topic.split("/")
        for table in self._tables.values():
            if table.may_match(levels):
                subscribers = table.by_key.get(table.key_of(levels))
                # A topic that begins with $ is not for filters that begin with a wildcard [MQTT-4.7.2-1].
                if subscribers and (topic[0] != "$" or 0 in table.shape.literal):
                    yield subscribers

    def _remove(
        self, by_key: dict[Any, dict[Subscriber, int]], key: Hashable, subscriber: Subscriber
    ) -> None:
        subscribers = by_key.get(key)
        if subscribers is not None and subscribers.pop(subscriber, None) is not None:
            self._count -= 1
            if not subscribers:
                del by_key[key]


def _has_wildcard(topic_filter: str) -> bool:
    # "+" and "#" inside a level were refused by is_valid_filter.
    return "+" in topic_filter or "#" in topic_filter
