"""JOB and JOB_EXECUTION events: their payloads and topics (spec: data plane 8, control plane 2.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.core.outcome import Message
from thingjobs_protocol import topics
from thingjobs_protocol.messages import Wire
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus

if TYPE_CHECKING:
    from thingjobs_broker.core.naming import Naming
    from thingjobs_broker.core.state import Execution, Job

COMPLETED: Final = "completed"
CANCELED: Final = "canceled"
CANCELLATION_IN_PROGRESS: Final = "cancellation_in_progress"
DELETED: Final = "deleted"
DELETION_IN_PROGRESS: Final = "deletion_in_progress"


class JobExecutionEvent(Wire):
    """`$aws/events/jobExecution/{jobId}/{operation}`; `timestamp` in seconds."""

    event_type: str
    event_id: str
    timestamp: int
    operation: str
    job_id: str
    thing_arn: str
    status: str
    status_details: dict[str, str] | None = None


class JobEvent(Wire):
    """`$aws/events/job/{jobId}/{operation}`; `timestamp` in seconds, the job's own times in milliseconds
    (A32).
    """

    event_type: str
    event_id: str
    timestamp: int
    operation: str
    job_id: str
    status: str
    target_selection: str
    targets: list[str]
    created_at: int
    last_updated_at: int
    job_process_details: dict[str, int]
    description: str | None = None
    completed_at: int | None = None
    comment: str | None = None
    reason_code: str | None = None
    force_canceled: bool | None = None


COUNTERS: Final = {
    Status.CANCELED: "numberOfCanceledThings",
    Status.REJECTED: "numberOfRejectedThings",
    Status.FAILED: "numberOfFailedThings",
    Status.REMOVED: "numberOfRemovedThings",
    Status.SUCCEEDED: "numberOfSucceededThings",
    Status.TIMED_OUT: "numberOfTimedOutThings",
    Status.QUEUED: "numberOfQueuedThings",
    Status.IN_PROGRESS: "numberOfInProgressThings",
}
"""The names of the counters of jobProcessDetails (spec: control plane 2.3)."""
_IN_EVENTS: Final = tuple(status for status in COUNTERS if status not in (Status.QUEUED, Status.IN_PROGRESS))


def execution_event(
    execution: Execution, operation: str, now_ms: int, event_id: str, naming: Naming
) -> Message:
    """Return the event of an execution that ended (`operation` = its status) or was deleted."""
    body = JobExecutionEvent(
        "JOB_EXECUTION",
        event_id,
        now_ms // 1000,
        operation,
        execution.job_id,
        naming.thing_arn(execution.thing_name),
        execution.status.value,
        execution.status_details,
    )
    return Message(topics.job_execution_event_topic(execution.job_id, operation, naming.topic_root), body)


def job_event(job: Job, operation: str, now_ms: int, event_id: str, naming: Naming) -> Message:
    """Return the event of a job that completed, or is being, or has been, canceled or deleted."""
    canceled = job.status is JobStatus.CANCELED
    body = JobEvent(
        event_type="JOB",
        event_id=event_id,
        timestamp=now_ms // 1000,
        operation=operation,
        job_id=job.job_id,
        # CANCELLATION_IN_PROGRESS and DELETED exist in events only, never as statuses of the API.
        status=operation.upper(),
        target_selection=job.target_selection.value,
        targets=job.targets,
        created_at=job.created_at_ms,
        last_updated_at=job.last_updated_at_ms,
        job_process_details=_event_counters(job),
        description=job.description or None,
        completed_at=job.completed_at_ms if operation == COMPLETED else None,
        comment=job.comment or None,
        reason_code=job.reason_code or None,
        force_canceled=job.force_canceled if canceled else None,
    )
    return Message(topics.job_event_topic(job.job_id, operation, naming.topic_root), body)


def _event_counters(job: Job) -> dict[str, int]:
    return {COUNTERS[status]: job.counts[status] for status in _IN_EVENTS}


def process_details(job: Job) -> dict[str, Any]:
    """Return `jobProcessDetails` of the control plane: all eight counters (spec: control plane 2.3)."""
    return {name: job.counts[status] for status, name in COUNTERS.items()}
