"""The machine of one job execution, as a table.

Theory of operation. A status and an input give the next status; a pair that is not in the table is refused
and changes nothing. Rules of thumb behind the rows (spec: data plane 4.2): a device may report any of its
four statuses while the execution is pending; only the service cancels, times out and removes; an operator
needs force against a running one; nothing leaves a terminal status; QUEUED never times out because no timer
runs in it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from thingjobs_broker.core.records import ExecutionChanged
from thingjobs_broker.core.state import Execution
from thingjobs_broker.core.timeouts import Changed
from thingjobs_protocol.limits import STEP_TIMEOUT_CANCEL
from thingjobs_protocol.status import JobExecutionStatus as Status

MINUTE_MS: Final = 60_000


class Input(Enum):
    """What can happen to an execution."""

    START_NEXT = "start-next"
    REPORT_IN_PROGRESS = "report IN_PROGRESS"
    REPORT_SUCCEEDED = "report SUCCEEDED"
    REPORT_FAILED = "report FAILED"
    REPORT_REJECTED = "report REJECTED"
    CANCEL = "cancel"
    FORCE_CANCEL = "cancel with force"
    TIME_OUT = "time out"
    REMOVE = "thing left the targets"
    DELETE_THING = "thing left the registry"


REPORTS: Final = {
    Status.IN_PROGRESS: Input.REPORT_IN_PROGRESS,
    Status.SUCCEEDED: Input.REPORT_SUCCEEDED,
    Status.FAILED: Input.REPORT_FAILED,
    Status.REJECTED: Input.REPORT_REJECTED,
}
"""A status that is no key here may be set only by the service."""

TRANSITIONS: Final[dict[Status, dict[Input, Status]]] = {
    Status.QUEUED: {
        Input.START_NEXT: Status.IN_PROGRESS,
        Input.REPORT_IN_PROGRESS: Status.IN_PROGRESS,
        Input.REPORT_SUCCEEDED: Status.SUCCEEDED,
        Input.REPORT_FAILED: Status.FAILED,
        Input.REPORT_REJECTED: Status.REJECTED,
        Input.CANCEL: Status.CANCELED,
        Input.FORCE_CANCEL: Status.CANCELED,
        Input.REMOVE: Status.REMOVED,
        Input.DELETE_THING: Status.REMOVED,
    },
    Status.IN_PROGRESS: {
        Input.REPORT_IN_PROGRESS: Status.IN_PROGRESS,
        Input.REPORT_SUCCEEDED: Status.SUCCEEDED,
        Input.REPORT_FAILED: Status.FAILED,
        Input.REPORT_REJECTED: Status.REJECTED,
        Input.FORCE_CANCEL: Status.CANCELED,
        Input.TIME_OUT: Status.TIMED_OUT,
        Input.DELETE_THING: Status.REMOVED,
    },
    Status.SUCCEEDED: {},
    Status.FAILED: {},
    Status.REJECTED: {},
    Status.TIMED_OUT: {},
    Status.CANCELED: {},
    Status.REMOVED: {},
}


def next_status(status: Status, event: Input) -> Status | None:
    """Return the status that `event` leads to, or None where it is refused."""
    return TRANSITIONS[status].get(event)


def changed(
    execution: Execution,
    status: Status,
    now_ms: int,
    *,
    by: str,
    status_details: dict[str, str] | None = None,
    step_timeout_in_minutes: int | None = None,
    in_progress_timeout_in_minutes: int | None = None,
    cause: str = "",
) -> ExecutionChanged:
    """Return the record of a transition that the table allows.

    `in_progress_timeout_in_minutes` is the job's, used only when the execution enters IN_PROGRESS: the timer
    is never restarted (spec: data plane 6.1). A step timer counts from now and replaces the old one; without
    a value the running one goes on (6.2). A terminal status ends both. A removal keeps the version number
    (4.3).
    """
    in_progress_deadline_ms = step_deadline_ms = 0
    if status is Status.IN_PROGRESS:
        in_progress_deadline_ms = execution.in_progress_deadline_ms
        step_deadline_ms = execution.step_deadline_ms
        if execution.status is Status.QUEUED and in_progress_timeout_in_minutes:
            in_progress_deadline_ms = now_ms + in_progress_timeout_in_minutes * MINUTE_MS
        if step_timeout_in_minutes == STEP_TIMEOUT_CANCEL:
            step_deadline_ms = 0
        elif step_timeout_in_minutes is not None:
            step_deadline_ms = now_ms + step_timeout_in_minutes * MINUTE_MS
    is_start = status is Status.IN_PROGRESS and execution.status is Status.QUEUED
    bump = 0 if status is Status.REMOVED else 1
    return ExecutionChanged(
        execution.thing_name,
        execution.job_id,
        execution.execution_number,
        status,
        execution.version_number + bump,
        now_ms,
        by,
        status_details,
        in_progress_deadline_ms,
        step_deadline_ms,
        cause,
        (in_progress_timeout_in_minutes or 0) if is_start else 0,
    )


def timeout_changed(execution: Execution, decided: Changed, now_ms: int, *, by: str) -> ExecutionChanged:
    """Return the record of a new in-progress timeout of a running execution; its step timer goes on."""
    return ExecutionChanged(
        execution.thing_name,
        execution.job_id,
        execution.execution_number,
        execution.status,
        execution.version_number + 1,
        now_ms,
        by,
        in_progress_deadline_ms=decided.deadline_ms,
        step_deadline_ms=execution.step_deadline_ms,
        timeout_minutes=decided.minutes,
    )


def overdue_timer(execution: Execution, now_ms: int) -> str:
    """Return which timer of a running execution has run out, or an empty text."""
    deadline_ms = execution.deadline_ms
    if not deadline_ms or deadline_ms > now_ms:
        return ""
    return "step timer" if deadline_ms == execution.step_deadline_ms else "in-progress timer"
