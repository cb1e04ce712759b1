"""Forgetting what is long over: executions that ended, and jobs that settled, before a given time.

Bounded slices over all jobs in the order of their creation; who drives them decides how often. Nobody is
notified: no pending execution is ever touched (spec: control plane 2.2, data plane 9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from thingjobs_broker.core import tags
from thingjobs_broker.core.entities import Execution, Job
from thingjobs_broker.core.records import ExecutionDeleted, JobDeleted
from thingjobs_broker.core.state import BY_SERVICE, timeline_entries
from thingjobs_protocol.status import TERMINAL

if TYPE_CHECKING:
    from thingjobs_broker.core.step import Step

FORGET_SLICE: Final = 250
"""Jobs and executions looked at in one slice."""


class Cursor(NamedTuple):
    """How far a pass has come: places in `State.job_order` and `Job.executions`."""

    job_index: int = 0
    execution_index: int = 0


def forget(step: Step, cursor: Cursor, before_ms: int) -> Cursor | None:
    """Delete what a slice holds that ended before `before_ms`; return where to go on, None at the end.

    Jobs come in the order of their creation, and nothing is older than its job, so the first job that is
    younger ends the pass.
    """
    job_order = step.state.job_order
    job_index, execution_index = cursor
    left = FORGET_SLICE
    while job_index < len(job_order):
        if left <= 0:
            return Cursor(job_index, execution_index)
        job = job_order[job_index]
        left -= 1
        if job is not None:
            if job.created_at_ms >= before_ms:
                return None
            end = min(execution_index + left, len(job.executions))
            for execution in job.executions[execution_index:end]:
                if execution is not None and _is_over(execution, before_ms):
                    _delete(step, execution)
            left -= end - execution_index
            if end < len(job.executions):
                return Cursor(job_index, end)
            if _is_settled(job, before_ms):
                tags.forget(step, step.naming.job_arn(job.job_id))
                step.apply(JobDeleted(job.job_id, step.now_ms, BY_SERVICE))
        job_index, execution_index = job_index + 1, 0
    return None


def _is_over(execution: Execution, before_ms: int) -> bool:
    if execution.status not in TERMINAL or execution.last_updated_at_ms >= before_ms:
        return False
    # A removal leaves lastUpdatedAt (spec: data plane 4.3), but not the timeline.
    entries = timeline_entries(execution.timeline)
    return not entries or entries[-1][0] < before_ms


def _is_settled(job: Job, before_ms: int) -> bool:
    return job.settled and job.completed_at_ms < before_ms and not any(job.counts.values())


def _delete(step: Step, execution: Execution) -> None:
    step.apply(
        ExecutionDeleted(
            execution.thing_name, execution.job_id, execution.execution_number, step.now_ms, BY_SERVICE
        )
    )
