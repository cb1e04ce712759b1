"""What a job has to do by itself: one slice at each look, and when to look again.

A job is looked at when a step has changed it, when its time has come, and once after a start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thingjobs_broker.core import execution, lifecycle, rolling_out, scheduling, tags
from thingjobs_broker.core.job_records import ACTIVE
from thingjobs_broker.core.records import JobDeleted, JobTurned
from thingjobs_broker.core.state import BY_SERVICE, FORCED
from thingjobs_protocol.status import JobStatus, TargetSelection

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.state import Execution, Job
    from thingjobs_broker.core.step import Step


def look(step: Step, job: Job) -> int | None:
    """Do one slice of what there is to do; return when to look again: 0 at once, None when all is done."""
    if job.status is JobStatus.DELETION_IN_PROGRESS:
        return _delete(step, job)
    if job.status is JobStatus.CANCELED and not job.settled:
        return _cancel(step, job)
    return _go_on(step, job) if job.status in ACTIVE else None


def has_work(job: Job) -> bool:
    """Tell whether a job must be looked at after a start."""
    return job.status in ACTIVE or not job.settled


def _go_on(step: Step, job: Job) -> int | None:
    look_ms = scheduling.follow(step, job, scheduling.schedule_of(job))
    # What follows is part of this look; a cancellation at the limit has one of its own.
    if job.status in ACTIVE:
        step.attended.pop(job.job_id, None)
    if job.turns:
        is_done = _swept(step, job, lambda current: scheduling.turn(step, job, current))
        if job.settled:
            # What was left had ended before.
            step.state.sweeps.pop(job.job_id, None)
            return None
        if not is_done:
            step.state.turnings[job.job_id].reach(step.state.sweeps[job.job_id])
            return 0
        step.apply(JobTurned(job.job_id, step.now_ms))
    if job.status is not JobStatus.IN_PROGRESS:
        return look_ms
    if job.ended:
        lifecycle.settle(step, job)
        return None
    if job.target_selection is TargetSelection.CONTINUOUS and not scheduling.give_owed(step, job):
        return 0
    rollout_ms = rolling_out.advance(step, job)
    if job.status is not JobStatus.IN_PROGRESS:
        return None
    return min((due_ms for due_ms in (look_ms, rollout_ms) if due_ms is not None), default=None)


def _cancel(step: Step, job: Job) -> int | None:
    event = execution.Input.FORCE_CANCEL if job.force_canceled else execution.Input.CANCEL
    cause = FORCED if job.force_canceled else ""

    def cancel(current: Execution) -> None:
        status = execution.next_status(current.status, event)
        if status is not None:
            thing = step.state.things[current.thing_name]
            lifecycle.transition(step, thing, current, status, by=BY_SERVICE, cause=cause)

    if not _swept(step, job, cancel):
        return 0
    lifecycle.canceled(step, job)
    return None


def _delete(step: Step, job: Job) -> int | None:
    if not _swept(step, job, lambda current: lifecycle.delete_execution(step, current, BY_SERVICE)):
        return 0
    event = lifecycle.deleted_event(step, job)
    tags.forget(step, step.naming.job_arn(job.job_id))
    step.apply(JobDeleted(job.job_id, step.now_ms, BY_SERVICE))
    step.event(event)
    return None


def _swept(step: Step, job: Job, visit: Callable[[Execution], None]) -> bool:
    """Visit the next slice of the job's executions; tell whether it was the last one."""
    start = step.state.sweeps.pop(job.job_id, 0)
    end = start + lifecycle.SWEEP_SLICE
    for current in job.executions[start:end]:
        if current is not None:
            visit(current)
    if end >= len(job.executions):
        return True
    step.state.sweeps[job.job_id] = end
    return False
