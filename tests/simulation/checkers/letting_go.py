"""What is promised about acknowledgments: a request is the broker's to keep until its answer is."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.checkers.base import Checker
from tests.simulation.checkers.protocol import ENDINGS, token_of
from tests.simulation.schedule import SECOND_US

if TYPE_CHECKING:
    from tests.simulation.world import World

KEPT_SECONDS_MAX = 120.0
"""More than a commit and two ways through the worst weather take."""

Key = tuple[str, Any]
"""(topic of a request, its token)."""


class AnsweredBeforeForgotten(Checker):
    """The broker has the answer before it may forget the request, and may forget it soon.

    Only within a connection: what was on its way when it broke is sent again, and not followed. Nor are
    requests that cannot be told apart.
    """

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._asked: Counter[Key] = Counter()
        self._on_the_way: Counter[Key] = Counter()
        self._brought_us: dict[int, int] = {}

    def restarted(self) -> None:
        self._asked.clear()
        self.reconnected()

    def reconnected(self) -> None:
        self._on_the_way.clear()
        self._brought_us.clear()

    def brought(self, packet_id: int) -> None:
        self._brought_us[packet_id] = self.now_us

    def asked(self, topic: str, body: Any) -> None:
        self._asked[topic, token_of(body)] += 1

    def said(self, topic: str, body: Any, position: int) -> None:
        request, _, ending = topic.rpartition("/")
        if ending in ENDINGS:
            self._on_the_way[request, token_of(body)] += 1

    def arrived(self, topic: str, body: Any) -> None:
        key = topic.rpartition("/")[0], token_of(body)
        if self._on_the_way[key]:
            self._on_the_way[key] -= 1

    def acknowledged(self, packet_id: int, topic: str, body: Any, *, is_dropped: bool) -> None:
        self._brought_us.pop(packet_id, None)
        key = topic, token_of(body)
        if not is_dropped and self._asked[key] == 1 and self._on_the_way[key]:
            self.broken(f"{topic} was acknowledged before its answer had reached the broker: {key[1]}")

    def looked(self) -> None:
        for packet_id, brought_us in self._brought_us.items():
            if self.now_us - brought_us > KEPT_SECONDS_MAX * SECOND_US:
                self.broken(f"the request with packet id {packet_id} is never acknowledged")
