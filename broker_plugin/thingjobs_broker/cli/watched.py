"""What a watch sees of a job: how much there is to do, how much is done, how fast it goes. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.cli.output import execution_count

if TYPE_CHECKING:
    from collections.abc import Mapping

PACE_SECONDS: Final = 60.0
"""The rate is that of the last minute."""

PACE_SECONDS_MIN: Final = 2.0
"""Before, nothing can be said."""

_SETTLED: Final = ("COMPLETED", "CANCELED")
_PENDING: Final = ("numberOfQueuedThings", "numberOfInProgressThings")


def pending_count(job: Mapping[str, Any]) -> int:
    """Return the executions that have not ended."""
    counts = job.get("jobProcessDetails", {})
    return sum(counts.get(name, 0) for name in _PENDING)


@dataclass(frozen=True)
class Snapshot:
    """A job as it stood when it was asked for, with some of the executions in progress, and its rollout while
    that goes on.
    """

    job: Mapping[str, Any]
    now: float
    """When it was asked for, by the service's clock, in epoch seconds: the one here may be another time."""
    running: tuple[Mapping[str, Any], ...] = ()
    rollout: Mapping[str, Any] | None = None
    causes: tuple[tuple[str, str, int], ...] = ()
    """States without success, the reasons for them, and how often each."""

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more can happen; a canceled job still waits for devices at work."""
        is_settled = self.job["status"] in _SETTLED and not self.job.get("isConcurrent")
        return is_settled and not pending_count(self.job)

    @property
    def thing_count(self) -> int:
        """Executions there are, and while the rollout goes on those that are to come."""
        count = execution_count(self.job)
        return max(count, self.rollout["things"]) if self.rollout is not None else count

    @property
    def done_count(self) -> int:
        """Executions that have ended."""
        return execution_count(self.job) - pending_count(self.job)


class Pace:
    """How many executions end in a minute, from looks at different times of the service's clock."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def note(self, snapshot: Snapshot) -> None:
        """Add a look."""
        if self._looks and snapshot.now < self._looks[-1][0]:
            # The clock was set back; what was seen before tells nothing any more.
            self._looks.clear()
        self._looks.append((snapshot.now, snapshot.done_count))
        # The last one before the minute tells what the minute began with.
        while len(self._looks) > 1 and self._looks[1][0] <= snapshot.now - PACE_SECONDS:
            self._looks.popleft()

    @property
    def per_minute(self) -> float | None:
        """What ended a minute, None while there is too little to tell."""
        if not self._looks:
            return None
        (first_seconds, first_count), (last_seconds, last_count) = self._looks[0], self._looks[-1]
        passed_seconds = last_seconds - first_seconds
        if passed_seconds < PACE_SECONDS_MIN or last_count <= first_count:
            return None
        return (last_count - first_count) * 60 / passed_seconds

    def seconds_left(self, snapshot: Snapshot) -> float | None:
        """Return when all will be done if it goes on so: not before the rollout; None if nobody can tell."""
        ends_at = snapshot.rollout.get("endsAt") if snapshot.rollout is not None else snapshot.now
        if self.per_minute is None or ends_at is None:
            return None
        left_count = snapshot.thing_count - snapshot.done_count
        return max(left_count * 60 / self.per_minute, ends_at - snapshot.now)
