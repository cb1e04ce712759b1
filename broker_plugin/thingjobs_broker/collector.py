"""The garbage collector, which looks at what is new and no more at what has stayed.

A full collection looks at every object with parts, 180 for each connection of amqtt: of 2,000 devices that
connect, half a second in which nobody is served. Whatever a full collection finds in use is therefore left
alone from then on; what is let go is freed all the same, but for what points in circles. Connections do not
(tests/broker/front/test_departed.py); for what else may, a collection looks at everything now and then.
"""

import gc
import time
from collections.abc import Callable
from typing import Final

EVERYTHING_AFTER_SECONDS: Final = 24 * 3600.0
"""The pause is that of 0.2 ms for each connection."""

_OLD_AFTER: Final = 1
"""Collections of the middle generation for each full one. Python's 10 make its pause five times as long."""

_USUAL: Final = gc.get_threshold()


class Collector:
    """The way the collector goes between `start` and `stop`; more than one in a process are as one."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._thawed_at = now()

    def start(self) -> None:
        """Leave alone what there is."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_USUAL[:2], _OLD_AFTER)
        gc.callbacks.append(self._collected)

    def stop(self) -> None:
        """Let the collector look at everything again, if it was started."""
        if self._collected not in gc.callbacks:
            return
        gc.callbacks.remove(self._collected)
        gc.set_threshold(*_USUAL)
        gc.unfreeze()

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase != "stop" or info["generation"] != 2:
            return
        now = self._now()
        if now - self._thawed_at < EVERYTHING_AFTER_SECONDS:
            gc.freeze()
        else:
            # The next full one.
            gc.unfreeze()
            self._thawed_at = now
