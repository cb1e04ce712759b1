"""What follows from what: every change of an execution goes through `transition`, and here its consequences
are drawn.

An execution that ends emits its event, may earn a retry, and may settle its job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thingjobs_broker.core import events, execution, job, pending, retry
from thingjobs_broker.core.records import ExecutionDeleted, ExecutionQueued, JobChanged, ThingCreated
from thingjobs_broker.core.state import BY_SERVICE, FORCED, Execution, Job, Thing
from thingjobs_protocol.status import TERMINAL, JobStatus
from thingjobs_protocol.status import JobExecutionStatus as Status

if TYPE_CHECKING:
    from thingjobs_broker.core.step import Step

SWEEP_SLICE: Final = 250
"""Executions looked at in one slice of a cancellation, so that no step holds the event loop for long."""


def create_thing(step: Step, thing_name: str, by: str, attributes: dict[str, str] | None = None) -> Thing:
    """Enter a thing into the registry."""
    step.apply(ThingCreated(thing_name, step.new_id(), step.now_ms, by, attributes or {}))
    return step.state.things[thing_name]


def queue_execution(step: Step, thing: Thing, the_job: Job, retry_attempt: int = 0) -> None:
    """Give a thing its next execution of a job, at the end of its queue (A14)."""
    newest = thing.executions.get(the_job.job_id)
    number = newest.execution_number + 1 if newest else 1
    step.watch(thing)
    position = step.state.queue_position + 1
    step.apply(
        ExecutionQueued(thing.thing_name, the_job.job_id, number, position, step.now_ms, retry_attempt)
    )


def transition(
    step: Step,
    thing: Thing,
    current: Execution,
    status: Status,
    *,
    by: str,
    status_details: dict[str, str] | None = None,
    step_timeout_in_minutes: int | None = None,
    cause: str = "",
) -> None:
    """Carry out a transition that the table allows, and what follows from it."""
    if status is current.status:
        record = execution.changed(
            current,
            status,
            step.now_ms,
            by=by,
            status_details=status_details,
            step_timeout_in_minutes=step_timeout_in_minutes,
        )
        step.apply(record)
        return
    the_job = step.state.jobs[current.job_id]
    step.watch(thing)
    record = execution.changed(
        current,
        status,
        step.now_ms,
        by=by,
        status_details=status_details,
        step_timeout_in_minutes=step_timeout_in_minutes,
        in_progress_timeout_in_minutes=in_progress_timeout_minutes(the_job),
        cause=cause,
    )
    step.apply(record)
    if status in TERMINAL:
        _ended(step, thing, the_job, current)


def in_progress_timeout_minutes(the_job: Job) -> int | None:
    """Return the job's in-progress time-out (spec: data plane 6.1), None without one."""
    config = the_job.options.get("timeoutConfig")
    return config.get("inProgressTimeoutInMinutes") if config else None


def time_out_if_overdue(step: Step, thing: Thing, current: Execution) -> None:
    """Apply a timer that has run out before anything else is done to the execution (spec: data plane 6.3)."""
    cause = execution.overdue_timer(current, step.now_ms)
    if not cause:
        return
    status = execution.next_status(current.status, execution.Input.TIME_OUT)
    if status is not None:
        transition(step, thing, current, status, by=BY_SERVICE, cause=cause)


def time_out_overdue(step: Step, thing: Thing) -> None:
    """Apply every timer of the thing that has run out."""
    if thing.in_progress_count:
        for current in pending.in_progress(thing):
            time_out_if_overdue(step, thing, current)


def delete_execution(step: Step, thing: Thing, current: Execution, by: str) -> None:
    """Remove an execution's record; its event carries the status before the deletion (spec: data plane
    8.2).
    """
    step.watch(thing)
    the_job = step.state.jobs[current.job_id]
    event = events.execution_event(current, events.DELETED, step.now_ms, step.new_id(), step.naming)
    step.apply(
        ExecutionDeleted(current.thing_name, current.job_id, current.execution_number, step.now_ms, by)
    )
    step.event(event)
    settle(step, the_job)


def sweep_canceled(step: Step, the_job: Job, start: int) -> int | None:
    """Cancel one slice of a canceled job's executions; return where the next one starts, None at the end."""
    event = execution.Input.FORCE_CANCEL if the_job.force_canceled else execution.Input.CANCEL
    cause = FORCED if the_job.force_canceled else ""
    end = start + SWEEP_SLICE
    for current in the_job.executions[start:end]:
        status = execution.next_status(current.status, event) if current else None
        if current is not None and status is not None:
            thing = step.state.things[current.thing_name]
            transition(step, thing, current, status, by=BY_SERVICE, cause=cause)
    if end < len(the_job.executions):
        return end
    step.apply(JobChanged(the_job.job_id, the_job.status, step.now_ms, BY_SERVICE, settled=True))
    step.event(events.job_event(the_job, events.CANCELED, step.now_ms, step.new_id(), step.naming))
    return None


def settle(step: Step, the_job: Job) -> None:
    """Complete a job that has nothing left to do."""
    status = job.next_status(the_job, job.JobInput.COMPLETE) if job.is_complete(the_job) else None
    if status is JobStatus.COMPLETED:
        step.apply(JobChanged(the_job.job_id, status, step.now_ms, BY_SERVICE, settled=True))
        step.event(events.job_event(the_job, events.COMPLETED, step.now_ms, step.new_id(), step.naming))


def _ended(step: Step, thing: Thing, the_job: Job, ended: Execution) -> None:
    operation = ended.status.value.lower()
    step.event(events.execution_event(ended, operation, step.now_ms, step.new_id(), step.naming))
    if retry.is_owed(the_job, ended):
        queue_execution(step, thing, the_job, ended.retry_attempt + 1)
    settle(step, the_job)
