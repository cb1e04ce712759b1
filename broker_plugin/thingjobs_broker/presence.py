"""Which things are connected to the embedded broker, and since when. A restart begins anew; it decides
nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from thingjobs_broker.core.ports import Presence
from thingjobs_protocol.topics import DEFAULT_ROOT, notify_next_topic, notify_topic

if TYPE_CHECKING:
    from collections.abc import Callable


class Connections:
    """Counts the connections of each name, and remembers when its last one came or went.

    Args:
        now_ms: the service's time.
        is_thing: whether a name is that of a thing; of others nothing is kept once they are gone.
        is_subscribed: whether some connected client is subscribed to a topic.
        topic_root: first level of the reserved topics.
        names_are_things: whether a thing's client has its name; without identities it may have any.

    """

    def __init__(
        self,
        *,
        now_ms: Callable[[], int],
        is_thing: Callable[[str], bool],
        is_subscribed: Callable[[str], bool],
        topic_root: str = DEFAULT_ROOT,
        names_are_things: bool = True,
    ) -> None:
        self._now_ms = now_ms
        self._is_thing = is_thing
        self._is_subscribed = is_subscribed
        self._root = topic_root
        self._names_are_things = names_are_things
        self._open: Counter[str] = Counter()
        self._since_ms: dict[str, int] = {}

    def opened(self, name: str) -> None:
        """A client with this name is connected."""
        self._open[name] += 1
        if self._open[name] == 1:
            self._since_ms[name] = self._now_ms()

    def closed(self, name: str) -> None:
        """A client with this name is gone."""
        self._open[name] -= 1
        if self._open[name]:
            return
        del self._open[name]
        if self._is_thing(name):
            self._since_ms[name] = self._now_ms()
        else:
            del self._since_ms[name]

    def of(self, thing_name: str) -> Presence:
        """Return what is known of a thing."""
        since_ms = self._since_ms.get(thing_name)
        topics = (notify_next_topic(thing_name, self._root), notify_topic(thing_name, self._root))
        is_subscribed = any(map(self._is_subscribed, topics))
        if thing_name in self._open:
            return Presence(is_connected=True, since_ms=since_ms, is_subscribed=is_subscribed)
        if self._names_are_things or since_ms is not None:
            return Presence(is_connected=False, since_ms=since_ms)
        # Only who is subscribed gives itself away.
        return Presence(is_connected=True, is_subscribed=True) if is_subscribed else Presence()
