"""The machine of a job, as a table, and when a job is settled.

A refused pair is (status, input) without a row. CANCELED with force again is allowed while executions still
run (spec: control plane 1.5, CancelJob). COMPLETED and CANCELED never return to IN_PROGRESS.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from thingjobs_broker.core.state import Job
from thingjobs_protocol.status import JobStatus, TargetSelection


class JobInput(Enum):
    """What can happen to a job."""

    CANCEL = "cancel"
    FORCE_CANCEL = "cancel with force"
    COMPLETE = "nothing is left to do"
    UPDATE = "update"
    DELETE = "delete"
    FORCE_DELETE = "delete with force"
    OPEN = "its time has come"
    CLOSE = "its window has closed"


TRANSITIONS: Final[dict[JobStatus, dict[JobInput, JobStatus]]] = {
    JobStatus.SCHEDULED: {
        JobInput.CANCEL: JobStatus.CANCELED,
        JobInput.FORCE_CANCEL: JobStatus.CANCELED,
        JobInput.UPDATE: JobStatus.SCHEDULED,
        JobInput.FORCE_DELETE: JobStatus.DELETION_IN_PROGRESS,
        JobInput.OPEN: JobStatus.IN_PROGRESS,
    },
    JobStatus.IN_PROGRESS: {
        JobInput.CANCEL: JobStatus.CANCELED,
        JobInput.FORCE_CANCEL: JobStatus.CANCELED,
        JobInput.COMPLETE: JobStatus.COMPLETED,
        JobInput.UPDATE: JobStatus.IN_PROGRESS,
        JobInput.FORCE_DELETE: JobStatus.DELETION_IN_PROGRESS,
        JobInput.CLOSE: JobStatus.SCHEDULED,
    },
    JobStatus.COMPLETED: {
        JobInput.DELETE: JobStatus.DELETION_IN_PROGRESS,
        JobInput.FORCE_DELETE: JobStatus.DELETION_IN_PROGRESS,
    },
    JobStatus.CANCELED: {
        JobInput.FORCE_CANCEL: JobStatus.CANCELED,
        JobInput.DELETE: JobStatus.DELETION_IN_PROGRESS,
        JobInput.FORCE_DELETE: JobStatus.DELETION_IN_PROGRESS,
    },
    JobStatus.DELETION_IN_PROGRESS: {},
}


def next_status(job: Job, event: JobInput) -> JobStatus | None:
    """Return the status that `event` leads to, or None where it is refused."""
    status = TRANSITIONS[job.status].get(event)
    if event is JobInput.FORCE_CANCEL and status is job.status and not job.pending_count:
        return None
    return status


def is_complete(job: Job) -> bool:
    """Tell whether a job has reached its end: its rollout is done, its executions are all terminal, and it is
    a SNAPSHOT or its endTime has passed (spec: control plane 2.2).
    """
    return (
        job.status is JobStatus.IN_PROGRESS
        and (job.target_selection is TargetSelection.SNAPSHOT or job.ended)
        and job.rollout is None
        and not job.pending_count
    )
