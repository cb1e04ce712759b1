"""The garbage collector, which looks at what is new and no more at what has stayed.

A full collection looks at every object with parts, 180 for each connection of amqtt: of 2,000 devices that
connect, half a second in which nobody is served. Whatever a full collection finds in use is therefore left
alone from then on; what is let go is freed all the same, but for what points in circles. Connections do not
(tests/broker/front/test_departed.py); for what else may, a collection looks at everything now and then.
"""

import asyncio
import gc
from typing import Final

EVERYTHING_AFTER_SECONDS: Final = 24 * 3600.0
"""The pause is that of 0.2 ms for each connection."""

_OLD_AFTER: Final = 1
"""Collections of the middle generation for each full one. Python's 10 make its pause five times as long."""

_USUAL: Final = gc.get_threshold()


class Collector:
    """The way the collector goes between `start` and `stop`; more than one in a process are as one."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave alone what there is."""
        if not _at_work:
            gc.callbacks.append(_collected)
            gc.set_threshold(*_USUAL[:2], _OLD_AFTER)
        _at_work.add(self)
        self._look_at_everything(loop)

    def stop(self) -> None:
        """Let the collector look at everything again, if it was started and is the last."""
        if self._timer is not None:
            self._timer.cancel()
        if self not in _at_work:
            return
        _at_work.remove(self)
        if not _at_work:
            gc.callbacks.remove(_collected)
            gc.set_threshold(*_USUAL)
            gc.unfreeze()

    def _look_at_everything(self, loop: asyncio.AbstractEventLoop) -> None:
        gc.unfreeze()
        gc.collect()
        # Python's next full one comes only after a quarter of what this one has found: nothing.
        gc.collect()
        self._timer = loop.call_later(EVERYTHING_AFTER_SECONDS, self._look_at_everything, loop)


_at_work: Final[set[Collector]] = set()


def _collected(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
