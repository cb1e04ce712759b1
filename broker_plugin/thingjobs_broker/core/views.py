"""State as the wire shows it: the objects of replies and notifications. Milliseconds inside, whole seconds
outside.
"""

from __future__ import annotations

import msgspec

from thingjobs_broker.core import pending, turning
from thingjobs_broker.core.entities import Execution, Queue
from thingjobs_broker.core.state import State
from thingjobs_protocol.limits import PENDING_JOBS_SHOWN_MAX, PENDING_JOBS_SHOWN_WINDOWED_MAX
from thingjobs_protocol.messages import (
    GetPendingJobExecutionsResponse,
    JobExecution,
    JobExecutionsChanged,
    JobExecutionState,
    JobExecutionSummary,
)
from thingjobs_protocol.status import JobExecutionStatus as Status


def summary(execution: Execution) -> JobExecutionSummary:
    """Return one entry of a list of pending executions (spec: data plane 2.2)."""
    return JobExecutionSummary(
        execution.job_id,
        execution.queued_at_ms // 1000,
        execution.last_updated_at_ms // 1000,
        execution.version_number,
        execution.execution_number,
        execution.started_at_ms // 1000 or None,
    )


def job_execution(
    execution: Execution, now_ms: int, document: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
) -> JobExecution:
    """Return the whole execution, with its document if that is given (spec: data plane 2.2, 2.7)."""
    return JobExecution(
        job_id=execution.job_id,
        status=execution.status,
        status_details=execution.status_details,
        queued_at=execution.queued_at_ms // 1000,
        started_at=execution.started_at_ms // 1000 or None,
        last_updated_at=execution.last_updated_at_ms // 1000,
        approximate_seconds_before_timed_out=seconds_before_timed_out(execution, now_ms),
        version_number=execution.version_number,
        execution_number=execution.execution_number,
        job_document=document,
    )


def seconds_before_timed_out(execution: Execution, now_ms: int) -> int | None:
    """Return the time left in seconds, None without a timer or when not IN_PROGRESS (spec: data plane
    6.4).
    """
    deadline_ms = execution.deadline_ms
    if execution.status is not Status.IN_PROGRESS or not deadline_ms:
        return None
    return max(0, (deadline_ms - now_ms) // 1000)


def execution_state(execution: Execution) -> JobExecutionState:
    """Return the state part of an update's answer, and of two refusals."""
    return JobExecutionState(execution.status, execution.version_number, execution.status_details)


def shown_max(state: State, queue: Queue) -> int:
    """Return how many pending executions a list holds: more with a job in its window (A4)."""
    windowed, closed = state.windowed_jobs, state.closed_jobs
    if (
        windowed
        and len(queue.pending) > PENDING_JOBS_SHOWN_MAX
        and any(job_id in windowed and job_id not in closed for job_id in queue.pending)
    ):
        return PENDING_JOBS_SHOWN_WINDOWED_MAX
    return PENDING_JOBS_SHOWN_MAX


def pending_lists(
    state: State, queue: Queue, now_ms: int, client_token: str | None
) -> GetPendingJobExecutionsResponse:
    """Return the answer to `get` (spec: data plane 2.3)."""
    running, queued = pending.shown(queue, shown_max(state, queue), turning.hidden(state, queue))
    return GetPendingJobExecutionsResponse(
        timestamp=now_ms // 1000,
        in_progress_jobs=[summary(execution) for execution in running],
        queued_jobs=[summary(execution) for execution in queued],
        client_token=client_token,
    )


def pending_changed(state: State, queue: Queue, now_ms: int) -> JobExecutionsChanged:
    """Return the body of `notify`; a status without entries has no key (spec: data plane 5.1)."""
    running, queued = pending.shown(queue, shown_max(state, queue), turning.hidden(state, queue))
    lists = ((Status.IN_PROGRESS.value, running), (Status.QUEUED.value, queued))
    jobs = {status: [summary(execution) for execution in found] for status, found in lists if found}
    return JobExecutionsChanged(now_ms // 1000, jobs)
