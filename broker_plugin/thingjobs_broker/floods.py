"""Whose requests are dropped without an answer, beside a broker that lets a client send as fast as it can.

Refusing costs almost as much as answering, so refusals are rationed like answers: who uses up both is not
heard until it may ask again. Then a flood costs little more than reading it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from thingjobs_broker.core.throttle import Throttle
from thingjobs_protocol.topics import thing_of

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

REPORT_SECONDS: Final = 10.0
"""How often a flood is reported."""

THINGS_MAX: Final = 10_000
"""Floods remembered; beyond it all are heard once more."""


class Floods:
    """The things that are not heard at the moment.

    Args:
        root: of the topics.
        refusals_per_second: what a thing gets in the long run, beside its answers; at least 1.
        refusals_burst: what it gets at once after a pause; at least 1.
        seconds: a clock that only goes forward.

    """

    def __init__(
        self,
        root: str,
        refusals_per_second: int,
        refusals_burst: int,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._root = root
        self._refusals = Throttle(refusals_per_second, refusals_burst)
        self._seconds = seconds
        self._unheard_until: dict[str, float] = {}
        self._report_at = 0.0

    def drops(self, topic: str) -> bool:
        """Tell whether a request on `topic` is to be dropped."""
        if not self._unheard_until:
            return False
        thing_name = thing_of(topic, self._root) or ""
        until = self._unheard_until.get(thing_name)
        if until is None:
            return False
        now = self._seconds()
        if now >= until:
            del self._unheard_until[thing_name]
            return False
        self.dropped += 1
        if now >= self._report_at:
            self._report_at = now + REPORT_SECONDS
            log.warning(
                "A thing asks much too fast; its requests are dropped",
                action="flood",
                thing_name=thing_name,
                dropped_so_far=self.dropped,
            )
        return True

    def refused(self, topic: str, wait_ms: int) -> None:
        """A request on `topic` was refused, because its thing may ask again in `wait_ms` only."""
        thing_name, now = thing_of(topic, self._root) or "", self._seconds()
        if self._refusals.take(thing_name, int(now * 1000)):
            if len(self._unheard_until) >= THINGS_MAX:
                self._unheard_until.clear()
            self._unheard_until[thing_name] = now + wait_ms / 1000
