"""What follows from what: every change of an execution goes through `transition`, and here its consequences
are drawn.

An execution that ends emits its event, may earn a retry, and may settle its job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from thingjobs_broker.core import abort, events, execution, job, pending, retry, schedule, targets
from thingjobs_broker.core.job_records import ACTIVE
from thingjobs_broker.core.records import (
    ExecutionDeleted,
    ExecutionQueued,
    JobChanged,
    TurnChanged,
)
from thingjobs_broker.core.state import BY_SERVICE, Execution, Job, Thing
from thingjobs_protocol.status import TERMINAL, JobStatus, TargetSelection
from thingjobs_protocol.status import JobExecutionStatus as Status

if TYPE_CHECKING:
    from thingjobs_broker.core.entities import Queue
    from thingjobs_broker.core.outcome import Message
    from thingjobs_broker.core.step import Step

SWEEP_SLICE: Final = 250
"""Executions looked at in one slice of a cancellation, so that no step holds the event loop for long."""


def queue_execution(step: Step, thing: Thing, the_job: Job, retry_attempt: int = 0) -> None:
    """Give a thing its next execution of a job, at the end of its queue (A14)."""
    newest = thing.executions.get(the_job.job_id)
    used = the_job.numbers_used.get(thing.thing_name, 0)
    number = max(newest.execution_number if newest else 0, used) + 1
    step.watch(thing, the_job.namespace_id)
    position = step.state.queue_position + 1
    step.apply(
        ExecutionQueued(thing.thing_name, the_job.job_id, number, position, step.now_ms, retry_attempt)
    )


def give_execution(step: Step, thing: Thing, the_job: Job, retry_attempt: int = 0) -> None:
    """Give a thing its next execution now, or when the job's next window opens (spec: control plane 6.3).

    None after endTime (6.2), be it that nobody has looked at the job since, as at a start.
    """
    end = (the_job.options.get("schedulingConfig") or {}).get("endTime")
    if end and schedule.parse_time("endTime", end) <= step.now_ms:
        return
    if the_job.status is JobStatus.IN_PROGRESS:
        queue_execution(step, thing, the_job, retry_attempt)
    else:
        step.apply(TurnChanged(the_job.job_id, thing.thing_name, step.now_ms, "owed", retry_attempt))


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
    notify: bool = True,
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
    if notify:
        step.watch(thing, the_job.namespace_id)
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
    """Apply a timer that has run out before anything else is done to the execution (spec: data plane 6.3).

    While nothing can be stored, what is durable is what is true: the execution shows as running.
    """
    cause = execution.overdue_timer(current, step.now_ms)
    if not cause or step.read_only:
        return
    status = execution.next_status(current.status, execution.Input.TIME_OUT)
    if status is not None:
        transition(step, thing, current, status, by=BY_SERVICE, cause=cause)


def time_out_overdue(step: Step, thing: Thing, queue: Queue) -> None:
    """Apply every timer in a queue of the thing that has run out."""
    if queue.in_progress_count:
        for current in pending.in_progress(queue):
            time_out_if_overdue(step, thing, current)


def delete_execution(step: Step, current: Execution, by: str) -> None:
    """Remove an execution's record; its event carries the status before the deletion (spec: data plane
    8.2).
    """
    thing = step.state.things.get(current.thing_name)
    the_job = step.state.jobs[current.job_id]
    if thing is not None:
        step.watch(thing, the_job.namespace_id)
    event = events.execution_event(current, events.DELETED, step.now_ms, step.new_id(), step.naming)
    step.apply(
        ExecutionDeleted(current.thing_name, current.job_id, current.execution_number, step.now_ms, by)
    )
    step.event(event)
    settle(step, the_job)


def change_job(
    step: Step,
    the_job: Job,
    status: JobStatus,
    by: str,
    *,
    force: bool | None = None,
    reason_code: str | None = None,
    comment: str | None = None,
    ended: bool = False,
    turns: bool = False,
) -> None:
    """Give a job a status; None leaves what it says as it is. The job is then looked at."""
    step.apply(
        JobChanged(
            the_job.job_id,
            status,
            step.now_ms,
            by,
            force=the_job.force_canceled if force is None else force,
            reason_code=the_job.reason_code if reason_code is None else reason_code,
            comment=the_job.comment if comment is None else comment,
            ended=ended,
            turns=turns,
        )
    )
    step.attend(the_job)


def cancel_job(step: Step, the_job: Job, by: str, *, force: bool, reason_code: str, comment: str) -> None:
    """Cancel a job at once; its executions follow in slices (spec: control plane 1.5)."""
    change_job(step, the_job, JobStatus.CANCELED, by, force=force, reason_code=reason_code, comment=comment)
    step.event(_job_event(step, the_job, events.CANCELLATION_IN_PROGRESS))


def canceled(step: Step, the_job: Job) -> None:
    """All executions of a canceled job have followed."""
    step.apply(JobChanged(the_job.job_id, the_job.status, step.now_ms, BY_SERVICE, settled=True))
    step.event(_job_event(step, the_job, events.CANCELED))


def delete_job(step: Step, the_job: Job, by: str) -> None:
    """Delete a job; its executions go first, in slices (spec: control plane 1.5)."""
    change_job(step, the_job, JobStatus.DELETION_IN_PROGRESS, by)
    step.event(_job_event(step, the_job, events.DELETION_IN_PROGRESS))


def deleted_event(step: Step, the_job: Job) -> Message:
    """Return the last event of a job, made before it vanishes."""
    return _job_event(step, the_job, events.DELETED)


def abort_if_met(step: Step, the_job: Job) -> bool:
    """Cancel a job whose failures meet its abort criteria; tell whether they do (spec: control plane 4)."""
    given = the_job.options.get("abortConfig")
    if not given or the_job.status not in ACTIVE:
        return False
    found = abort.decide(msgspec.convert(given, abort.AbortConfig), the_job.counts)
    if found is None:
        return False
    cancel_job(step, the_job, BY_SERVICE, force=False, reason_code=found.reason_code, comment=found.comment)
    return True


def settle(step: Step, the_job: Job) -> None:
    """Complete a job that has nothing left to do."""
    status = job.next_status(the_job, job.JobInput.COMPLETE) if job.is_complete(the_job) else None
    if status is JobStatus.COMPLETED:
        step.apply(JobChanged(the_job.job_id, status, step.now_ms, BY_SERVICE, settled=True))
        step.event(_job_event(step, the_job, events.COMPLETED))


def _job_event(step: Step, the_job: Job, operation: str) -> Message:
    return events.job_event(the_job, operation, step.now_ms, step.new_id(), step.naming)


def _ended(step: Step, thing: Thing, the_job: Job, ended: Execution) -> None:
    operation = ended.status.value.lower()
    step.event(events.execution_event(ended, operation, step.now_ms, step.new_id(), step.naming))
    # An abort comes before the retry that it forbids (V7).
    if ended.status in abort.EXECUTED and abort_if_met(step, the_job):
        return
    if retry.is_owed(the_job, ended) and _is_member(step, thing, the_job):
        give_execution(step, thing, the_job, ended.retry_attempt + 1)
    settle(step, the_job)


def _is_member(step: Step, thing: Thing, the_job: Job) -> bool:
    """Leaving a CONTINUOUS job forfeits its retries (spec: data plane 7)."""
    if the_job.target_selection is TargetSelection.SNAPSHOT:
        return True
    return targets.covers(step, the_job, thing.thing_name)
