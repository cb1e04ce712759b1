"""Cancels executions that nobody has started for too long (spec: control plane B19, B20). Off as AWS has it.

A pass over all jobs in bounded slices, every so often (`Rules.expiry_interval_ms`); when an execution
expires is decided in `timeouts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from thingjobs_broker.core import execution, lifecycle, timeouts
from thingjobs_broker.core.state import BY_SERVICE
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import TargetSelection

if TYPE_CHECKING:
    from thingjobs_broker.core.entities import Execution, Job
    from thingjobs_broker.core.step import Step

LOOKS_SLICE: Final = 2000
EXPIRED: Final = "expired"


class Cursor(NamedTuple):
    """How far a pass has come: places in `State.job_order` and `Job.executions`."""

    job_index: int = 0
    execution_index: int = 0


def sweep(step: Step, cursor: Cursor, expiry_minutes: int) -> Cursor | None:
    """Cancel what has expired among the next executions; return where to go on, None at the end."""
    job_order = step.state.job_order
    job_index, execution_index = cursor
    left = LOOKS_SLICE
    while job_index < len(job_order):
        if left <= 0 or step.size >= lifecycle.SWEEP_SLICE:
            return Cursor(job_index, execution_index)
        job = job_order[job_index]
        left -= 1
        if job is not None and job.counts[Status.QUEUED]:
            end = min(execution_index + min(left, lifecycle.SWEEP_SLICE) + 1, len(job.executions))
            for current in job.executions[execution_index:end]:
                if current is not None and current.status is Status.QUEUED:
                    _look(step, job, current, expiry_minutes)
            left -= end - execution_index
            if end < len(job.executions):
                execution_index = end
                continue
        job_index, execution_index = job_index + 1, 0
    return None


def _look(step: Step, job: Job, current: Execution, expiry_minutes: int) -> None:
    expires_at_ms = timeouts.expires_at_ms(
        expiry_minutes,
        job_created_at_ms=job.created_at_ms,
        queued_at_ms=current.queued_at_ms,
        # In a CONTINUOUS job whoever joined late looks like all others.
        is_own_clock=current.execution_number > 1 or job.target_selection is TargetSelection.CONTINUOUS,
    )
    if not timeouts.is_expired(current.status, expires_at_ms, step.now_ms):
        return
    status = execution.next_status(current.status, execution.Input.CANCEL)
    assert status is not None, current
    lifecycle.transition(
        step,
        step.state.things[current.thing_name],
        current,
        status,
        by=BY_SERVICE,
        status_details=timeouts.expiry_details(expiry_minutes),
        cause=EXPIRED,
    )
