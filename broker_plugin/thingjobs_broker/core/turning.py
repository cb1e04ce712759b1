"""What a device may see of a job whose maintenance window has just opened or closed: its executions follow in
slices, and each is shown as before until its device is told (spec: data plane 5.2, control plane 6.3).

Who was told is not on record. After a restart everyone in question is told once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from thingjobs_protocol.status import JobExecutionStatus as Status

if TYPE_CHECKING:
    from collections.abc import Collection

    from thingjobs_broker.core.entities import Execution, Job, Queue
    from thingjobs_broker.core.state import State


class Turning(msgspec.Struct):
    """How far the executions of a job have followed, by their places in `Job.executions`."""

    hides: bool
    """What those that have followed are: hidden, or shown."""
    before: list[tuple[int, bool]]
    """Up to which place the others are hidden or not; a window may turn again before all have followed."""
    position: int = 0
    ahead: set[int] = set()
    """Those behind `position` that have followed because their device has asked."""
    apart: dict[int, bool] = {}
    """The same of an earlier turn, and whether they are hidden since."""
    is_doubtful: bool = False
    """The service was restarted meanwhile: anyone may have been told, or not."""

    def has_followed(self, execution: Execution) -> bool:
        """Tell whether its device knows; of what was queued meanwhile it was told then."""
        place = execution.index_in_job
        return place < self.position or place in self.ahead or place >= self.before[-1][0]

    def is_hidden(self, execution: Execution) -> bool:
        """Tell whether its device must not see it while it is QUEUED."""
        if self.has_followed(execution):
            return self.hides
        if execution.index_in_job in self.apart:
            return self.apart[execution.index_in_job]
        return next(hidden for end, hidden in self.before if execution.index_in_job < end)

    def reach(self, position: int) -> None:
        """All before that place have followed."""
        self.ahead.difference_update(range(self.position, position))
        self.position = position


def begin(state: State, job: Job, *, was_hidden: bool, hides: bool) -> None:
    """A window opens or closes."""
    count = len(job.executions)
    present = state.turnings.get(job.job_id)
    its = Turning(hides, [(count, was_hidden)])
    if present is not None:
        its.before = [(present.position, present.hides), *present.before, (count, present.hides)]
        its.apart = present.apart | dict.fromkeys(present.ahead, present.hides)
        its.is_doubtful = present.is_doubtful
    state.turnings[job.job_id] = its


def resume(state: State) -> None:
    """Carry on after a restart."""
    state.turnings.clear()
    for job in state.jobs.values():
        if job.turns:
            hides = job.job_id in state.closed_jobs
            before = [(len(job.executions), hides)]
            state.turnings[job.job_id] = Turning(hides, before, is_doubtful=True)


def hidden(state: State, queue: Queue) -> Collection[str]:
    """Return the jobs of which the device does not see what is QUEUED."""
    if not state.turnings:
        return state.closed_jobs
    return {job_id for job_id, current in queue.pending.items() if _is_hidden(state, current)}


def _is_hidden(state: State, current: Execution) -> bool:
    its = state.turnings.get(current.job_id)
    return current.job_id in state.closed_jobs if its is None else its.is_hidden(current)


def late(state: State, queue: Queue) -> list[tuple[Turning, Execution]]:
    """Return what has not followed yet of a queue; only what is QUEUED has to."""
    found = (
        (its, current)
        for job_id, current in queue.pending.items()
        if current.status is Status.QUEUED and (its := state.turnings.get(job_id)) is not None
    )
    return [(its, current) for its, current in found if not its.has_followed(current)]
