"""The states of a job and of a job execution, and which of them are terminal or open to devices."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class JobExecutionStatus(StrEnum):
    """The eight states of a job execution (spec: data plane 4.1)."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    TIMED_OUT = "TIMED_OUT"
    CANCELED = "CANCELED"
    REMOVED = "REMOVED"


class JobStatus(StrEnum):
    """The five states of a job (spec: control plane 2.2)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    DELETION_IN_PROGRESS = "DELETION_IN_PROGRESS"


class TargetSelection(StrEnum):
    """How a job follows its targets (spec: control plane 2.5)."""

    SNAPSHOT = "SNAPSHOT"
    CONTINUOUS = "CONTINUOUS"


PENDING: Final = frozenset({JobExecutionStatus.QUEUED, JobExecutionStatus.IN_PROGRESS})
TERMINAL: Final = frozenset(JobExecutionStatus) - PENDING
DEVICE_MAY_SET: Final = frozenset(
    {
        JobExecutionStatus.IN_PROGRESS,
        JobExecutionStatus.SUCCEEDED,
        JobExecutionStatus.FAILED,
        JobExecutionStatus.REJECTED,
    }
)
"""The states that a device may ask for (spec: data plane 2.6)."""
