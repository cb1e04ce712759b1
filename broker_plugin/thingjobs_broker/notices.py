"""What no answer tells an operator, so that the log and the metrics do (spec: control plane 1.9).

A group may be built over many things: one line in ten seconds, with how many there were since the last.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

REPORT_SECONDS: Final = 10.0


class LoggedNotices:
    """The core's notices in the log.

    Args:
        seconds: a clock that only goes forward.

    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self.left_out_count = 0
        """Since the start."""
        self._seconds = seconds
        self._report_at = float("-inf")
        self._reported = 0

    def left_out(self, thing_name: str, group_name: str) -> None:
        """A thing that is in too many groups does not join a dynamic one."""
        self.left_out_count += 1
        now = self._seconds()
        if now < self._report_at:
            return
        log.warning(
            "A thing is in too many groups to join a dynamic group whose query it meets",
            action="thing_left_out",
            thing_name=thing_name,
            group_name=group_name,
            times=self.left_out_count - self._reported,
        )
        self._reported, self._report_at = self.left_out_count, now + REPORT_SECONDS
